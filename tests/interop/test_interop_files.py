"""Files from elsewhere: whole or refused, and never run."""

import os
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd3d.detectors import create_detector, save_detector
from kd3d.errors import CheckpointError, OutputError
from kd3d.interop import export_openpcdet, import_openpcdet, read_openpcdet, save_openpcdet

WEIGHTS = OrderedDict(
    {"conv.weight": torch.arange(12.0).view(3, 4), "norm.num_batches_tracked": torch.tensor(3)}
)


def small():
    return create_detector(
        "cp_voxel_xxs",
        point_cloud_range=(-3.2, -3.2, -2, 3.2, 3.2, 4),
        width={"backbone_3d": 0.25, "backbone_2d": 0.0625, "head": 0.125},
    )


def training_checkpoint(weights):
    """What OpenPCDet writes: its one-cycle schedule leaves numpy numbers in the optimiser."""
    group = {"lr": np.float64(0.003), "betas": (np.float32(0.95), 0.99), "params": [0]}
    return {
        "epoch": 30,
        "it": np.int64(118_560),
        "model_state": weights,
        "optimizer_state": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [group]},
        "version": "pcdet+0.5.2+c9d31d3",
    }


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], expected[key]) for key in expected
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content", [WEIGHTS, {"state_dict": WEIGHTS, "epoch": 1}, training_checkpoint(WEIGHTS)]
)
def test_every_form_is_read(tmp_path, content, zipped):
    path = tmp_path / "x.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert equal(read_openpcdet(path), WEIGHTS)


@pytest.mark.parametrize("package", [b"core", b"_core"])
def test_numbers_of_numpy_1_and_2_are_skipped(tmp_path, package):
    path = tmp_path / "x.pth"
    torch.save(training_checkpoint(WEIGHTS), path, _use_new_zipfile_serialization=False)
    name = re.compile(rb"cnumpy\._?core\.multiarray\nscalar\n")
    content, count = name.subn(b"cnumpy.%b.multiarray\nscalar\n" % package, path.read_bytes())
    assert count
    path.write_bytes(content)
    assert equal(read_openpcdet(path), WEIGHTS)


def test_numpy_is_allowed_nowhere_else(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    path = tmp_path / "x.pth"
    torch.save(training_checkpoint(WEIGHTS), path)
    read_openpcdet(path)
    assert set(torch.serialization.get_safe_globals()) == before
    torch.save({"model_state": {"weight": np.arange(3)}}, path)
    with pytest.raises(CheckpointError, match=r"pickled code \(numpy\..*_reconstruct\)"):
        read_openpcdet(path)
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_numpy_number_is_no_weight(tmp_path):
    torch.save({"model_state": {"weight": np.float64(1)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds no weights, but model_state"):
        read_openpcdet(tmp_path / "x.pth")


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_never_runs(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    content = {"model_state": WEIGHTS, "optimizer_state": Malicious()}
    torch.save(content, "bad.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"bad.pth: .*pickled code \(\w+\.system\)"):
        read_openpcdet("bad.pth")
    assert not (tmp_path / "was_run").exists()


@pytest.fixture(scope="module", params=["zipped", "legacy"])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "x.pth"
    zipped = request.param == "zipped"
    torch.save(training_checkpoint(WEIGHTS), path, _use_new_zipfile_serialization=zipped)
    return path, path.read_bytes()


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused_wherever_it_ends(whole, share):
    path, content = whole
    cut = path.with_name("cut.pth")
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        read_openpcdet(cut)


@settings(max_examples=40)
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_checkpoint_are_refused(whole, content):
    path = whole[0].with_name("noise.pth")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"noise\.pth"):
        read_openpcdet(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds a list, not a dictionary"),
        ({}, "holds no weights, but nothing"),
        ({"model_state": {}}, "holds no weights, but model_state"),
        ({"model_state": None, "epoch": 1}, "holds no weights, but model_state, epoch"),
        ({"model_state": {"a": 1.0}}, "holds no weights"),
        ({"epoch": 1}, "holds no weights, but epoch"),
    ],
)
def test_files_without_weights(tmp_path, content, match):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=match):
        read_openpcdet(tmp_path / "x.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.pth: no such file"):
        read_openpcdet(tmp_path / "none.pth")


def test_our_own_files_are_recognised(tmp_path):
    save_detector(small(), tmp_path / "y.ckpt")
    with pytest.raises(CheckpointError, match=r"checkpoint of kd3d already.*from_checkpoint"):
        read_openpcdet(tmp_path / "y.ckpt")


@pytest.mark.parametrize("layout", ["spconv1", "spconv2"])
def test_a_saved_file_has_openpcdets_form_and_comes_back(tmp_path, layout):
    detector, again = small(), small()
    save_openpcdet(detector, tmp_path / "new" / "x.pth", layout=layout)
    content = torch.load(tmp_path / "new" / "x.pth", weights_only=True)
    assert list(content) == ["epoch", "it", "model_state", "optimizer_state", "version"]
    assert (content["epoch"], content["it"], content["optimizer_state"]) == (0, 0, None)
    assert content["version"].startswith("kd3d+")
    assert equal(content["model_state"], export_openpcdet(detector, layout=layout))
    report = import_openpcdet(read_openpcdet(tmp_path / "new" / "x.pth"), again)
    assert report.layout == layout
    assert equal(again.state_dict(), detector.state_dict())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_openpcdet(small(), tmp_path / "file" / "x.pth")
