"""kd3d-convert: other people's checkpoints in, ours out, and back."""

import io
import os

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console

from kd3d.cli.convert import main, print_counts
from kd3d.cli.teachers import load_teacher
from kd3d.detectors import Detector, create_detector, list_detectors, save_detector
from kd3d.interop import ImportReport, read_openpcdet, save_openpcdet

SMALL = {
    "point_cloud_range": (-3.2, -3.2, -2, 3.2, 3.2, 4),
    "width": {"backbone_3d": 0.25, "backbone_2d": 0.0625, "head": 0.125},
}
WORDS = (
    "detector=cp_voxel",
    "detector.point_cloud_range=[-3.2,-3.2,-2,3.2,3.2,4]",
    "detector.width.backbone_3d=0.25",
    "detector.width.backbone_2d=0.0625",
    "detector.width.head=0.125",
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Type words after kd3d-convert in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def typed(*words):
        monkeypatch.setattr("sys.argv", ["kd3d-convert", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        out, errors = capsys.readouterr()
        return code, out, errors

    return typed


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint of OpenPCDet, as spconv 1 wrote it, and the detector it was made of."""
    detector = create_detector("cp_voxel", **SMALL)
    save_openpcdet(detector, tmp_path / "x.pth", layout="spconv1")
    return detector


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_checkpoint_comes_in_and_goes_back(run, theirs, tmp_path):
    code, out, errors = run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS)
    assert (code, errors) == (0, "")
    assert "transposed from spconv1" in out
    assert "written: y.ckpt" in out
    ours = Detector.from_checkpoint("y.ckpt")
    assert ours.spec() == theirs.spec()
    assert equal(ours.state_dict(), theirs.state_dict())

    code, out, _ = run(
        "source=kd3d", "target=openpcdet", "in=y.ckpt", "out=back/z.pth", "layout=spconv1"
    )
    assert code == 0
    assert equal(read_openpcdet("back/z.pth"), read_openpcdet("x.pth"))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    reports = {"y.ckpt.report.txt", "back/z.pth.report.txt"}
    assert written == {"x.pth", "y.ckpt", "back/z.pth", *reports}


def test_a_converted_checkpoint_can_teach(run, theirs):
    assert run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS)[0] == 0
    wider = [-6.4, -6.4, -2.0, 6.4, 6.4, 4.0]
    teacher = {"checkpoint": "y.ckpt", "name": "cp_voxel"}
    config = OmegaConf.create({"teacher": teacher, "student": {"point_cloud_range": wider}})
    found = load_teacher(config)
    assert equal(found.state_dict(), theirs.state_dict())
    assert found.point_cloud_range == tuple(wider)


def test_the_way_back_writes_the_layout_of_today(run, theirs):
    save_detector(theirs, "y.ckpt")
    assert run("source=kd3d", "in=y.ckpt", "out=z.pth")[0] == 0
    shape = read_openpcdet("z.pth")["backbone_3d.conv_input.0.weight"].shape
    assert shape == (4, 3, 3, 3, 5)


def test_the_report_names_every_tensor(run, theirs, tmp_path):
    run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS)
    lines = (tmp_path / "y.ckpt.report.txt").read_text().splitlines()
    assert lines[0] == "x.pth: openpcdet, cp_voxel"
    weights = read_openpcdet("x.pth")
    text = "\n".join(lines)
    assert all(f"{key} -> " in text for key in weights if key != "global_step")
    assert "ignored: global_step" in lines
    key = "backbone_3d.conv_input.0.weight"
    assert f"taken, transposed (4, 0, 1, 2, 3): {key} -> {key}" in lines


def test_the_detector_s_arguments_are_the_user_s(run, tmp_path):
    detector = create_detector(
        "cp_pillar_v064",
        point_cloud_range=(-5.12, -5.12, -2, 5.12, 5.12, 4),
        width={"encoder": 0.25, "backbone_2d": 0.125, "head": 0.125},
        classes=("Car", "Cyclist"),
        point_features=4,
        intensity="as_is",
    )
    save_openpcdet(detector, "x.pth")
    code, *_ = run(
        "source=openpcdet",
        "in=x.pth",
        "out=y.ckpt",
        "detector=cp_pillar_v064",
        "detector.point_cloud_range=[-5.12,-5.12,-2,5.12,5.12,4]",
        "detector.width={encoder:0.25,backbone_2d:0.125,head:0.125}",
        "detector.intensity=as_is",
        "+detector.point_features=4",
        "classes=[Car,Cyclist]",
    )
    assert code == 0
    assert Detector.from_checkpoint("y.ckpt").spec() == detector.spec()


def test_another_network_is_refused_with_a_report_and_nothing_else(run, theirs, tmp_path):
    code, _, errors = run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS[:-1])
    assert code == 2
    assert "error: CheckpointError: x.pth: the weights are not those of cp_voxel" in errors
    assert "dense_head.shared_conv.0.weight is (8, 32, 3, 3), the detector has (64, " in errors
    assert "The nearest of kd3d's detectors is" in errors
    assert not (tmp_path / "y.ckpt").exists()
    assert "shape mismatch: dense_head" in (tmp_path / "y.ckpt.report.txt").read_text()


def test_not_strict_takes_what_fits_and_says_what_does_not(run, theirs):
    code, out, _ = run("source=openpcdet", "in=x.pth", "out=y.ckpt", "strict=false", *WORDS[:-1])
    assert code == 0
    assert "shape mismatch: dense_head.shared_conv.0.weight is" in out
    ours = Detector.from_checkpoint("y.ckpt").state_dict()
    key = "backbone_3d.conv_input.0.weight"
    assert torch.equal(ours[key], theirs.state_dict()[key])


def test_without_a_detector_the_message_says_which(run):
    save_openpcdet(create_detector("cp_voxel_xxs"), "x.pth")
    code, _, errors = run("source=openpcdet", "in=x.pth", "out=y.ckpt")
    assert code == 2
    assert "detector: is not given" in errors
    assert "The weights fit cp_voxel_xxs with 3 classes and point_features=5." in errors


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_run",)


def test_pickled_code_is_refused(run, tmp_path):
    torch.save({"model_state": {}, "it": Malicious()}, "x.pth")
    code, _, errors = run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS)
    assert code == 2
    assert "pickled code" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_truncated_file_is_refused(run, theirs, tmp_path):
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
    code, _, errors = run("source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS)
    assert code == 2
    assert "x.pth: cannot be read" in errors
    assert "truncated" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in=x.pth", "out=y"], "source: is not given. Say source=openpcdet or source=kd3d"),
        (["source=pcdet", "in=x.pth", "out=y"], "no format 'pcdet'. Say source=openpcdet"),
        (["source=kd3d", "target=onnx", "in=x.pth", "out=y"], "target: no format 'onnx'"),
        (["source=kd3d", "target=kd3d", "in=x", "out=y"], "target: is kd3d, as is the source"),
        (["source=kd3d", "out=y"], "in: no file is named"),
        (["source=kd3d", "in=x.pth"], "out: no file is named"),
        (["source=openpcdet", "in=none.pth", "out=y", *WORDS], "none.pth: no such file"),
        (["source=kd3d", "in=none.ckpt", "out=y"], "none.ckpt: no such file"),
        (["source=openpcdet", "in=x.pth", "out=y", "layout=3", *WORDS], "no layout 3"),
        (["source=kd3d", "in=x.pth", "out=y", *WORDS], "detector: a checkpoint of kd3d describes"),
        (["source=kd3d", "in=x.pth", "out=y"], "holds no detector"),
        (["source=openpcdet", "in=x.pth", "out=x.pth", *WORDS], "is there already"),
        (
            ["source=openpcdet", "in=x.pth", "out=./x.pth", "overwrite=true", *WORDS],
            "is the checkpoint to read",
        ),
        (["source=openpcdet", "in=x.pth", "out=x.pth/y", *WORDS], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(run, theirs, words, message):
    code, _, errors = run(*words)
    assert code == 2
    assert message in errors


def test_a_file_that_is_there_stays_unless_told_otherwise(run, theirs, tmp_path):
    (tmp_path / "y.ckpt").write_text("precious")
    words = ["source=openpcdet", "in=x.pth", "out=y.ckpt", *WORDS]
    code, _, errors = run(*words)
    assert code == 2
    assert "y.ckpt: is there already" in errors
    assert (tmp_path / "y.ckpt").read_text() == "precious"
    assert run(*words, "overwrite=true")[0] == 0
    assert Detector.from_checkpoint("y.ckpt").name == "cp_voxel"


@pytest.mark.parametrize("name", list_detectors())
def test_every_detector_can_be_named(name):
    with initialize_config_module("kd3d.conf", version_base="1.3"):
        config = compose("convert", overrides=[f"detector={name}", "classes=[Cyclist]"])
    with torch.device("meta"):
        detector = instantiate(config.detector, _convert_="all")
    assert detector.spec() == create_detector(name, classes=["Cyclist"]).spec()


def test_help_starts_with_examples(run):
    code, out, _ = run("--help")
    assert code in (0, None)
    assert out.startswith("kd3d-convert: ")
    assert "kd3d-convert source=openpcdet in=x.pth out=y.ckpt detector=cp_voxel" in out
    assert "cp_voxel_xxs" in out


def test_the_table_counts_every_kind():
    report = ImportReport(
        taken={"a": "a", "b": "b"},
        missing=("c",),
        unexpected=(),
        mismatched={},
        ignored=("global_step",),
        transposed={"b": (4, 0, 1, 2, 3)},
        zeroed=("d", "e", "f"),
        layout="spconv1",
    )
    text = io.StringIO()
    print_counts(report, Console(file=text, width=80))
    rows = [line.split() for line in text.getvalue().splitlines()[2:]]
    assert {" ".join(row[:-1]): int(row[-1]) for row in rows} == {
        "taken": 2,
        "transposed from spconv1": 1,
        "set to zero": 3,
        "ignored": 1,
        "missing": 1,
        "unexpected": 0,
        "shape mismatch": 0,
    }
