"""kd3d-profile as a user types it."""

import json
import sys

import pytest
from matplotlib.image import imread

from kd3d.cli.profile import main
from kd3d.detectors import create_detector, save_detector
from kd3d.simulate import simulate_dataset

RANGE = "[-12.8,-12.8,-2,12.8,12.8,4]"
TINY = [
    "detector=cp_pillar_v064",
    f"detector.point_cloud_range={RANGE}",
    "detector.width.backbone_2d=0.125",
    "latency.repeats=2",
    "latency.warmup=0",
    "device=cpu",
]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; gives the exit code and what it printed."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "140")
        monkeypatch.setattr(sys, "argv", ["kd3d-profile", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_a_simulated_frame_a_table_a_file_and_a_picture(command, tmp_path):
    code, printed = command(*TINY, "out=cost", "convention=paper")
    assert code == 0, printed
    content = json.loads((tmp_path / "cost" / "profile.json").read_text())
    assert content["name"] == (f"cp_pillar_v064 point_cloud_range={RANGE} width.backbone_2d=0.125")
    assert content["convention"] == "paper"
    assert content["paper"]["macs"] > content["true"]["macs"] > 0
    stages = ["voxelise", "encode", "backbone", "head", "decode", "nms", "total"]
    assert list(content["latency_ms"]) == stages
    assert content["memory_bytes"]["method"] == "live tensors"
    for word in (*stages, "frame simulated_0", "deblocks", "MACs true", "FLOPs (2 x MACs)"):
        assert word in printed
    assert f"{content['parameters']:,}" in printed
    assert imread(tmp_path / "cost" / "profile.png").std() > 0.01


def test_a_derived_network_beside_the_named_one(command, tmp_path):
    options = ["compare=[cp_voxel_xxs,cp_voxel_xxs]", "memory=false", "latency.repeats=0"]
    code, printed = command(*TINY, *options, "convention=true", "hydra.run.dir=run")
    assert code == 0, printed
    table = printed[printed.index("Cost of one pass") :]
    assert sum(line.startswith("cp_") for line in table.splitlines()) == 2
    other = json.loads((tmp_path / "run" / "profile_cp_voxel_xxs.json").read_text())
    assert other["parameters"] == 1_012_643
    assert other["memory_bytes"] is None
    assert other["latency_ms"] == {}
    assert (tmp_path / "run" / "profile.json").is_file()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("waymo")
    options = {"resolution": 0.05, "extent": 20.0, "workers": 1, "progress": False}
    simulate_dataset(root, scenes=0, val_scenes=1, frames=2, **options)
    return root


def test_a_checkpoint_on_a_frame_of_a_dataset(command, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    box = (-12.8, -12.8, -2.0, 12.8, 12.8, 4.0)
    detector = create_detector(
        "cp_pillar_v064", point_cloud_range=box, width={"backbone_2d": 0.125}, classes=["Vehicle"]
    )
    save_detector(detector, tmp_path / "detector.ckpt")
    words = [
        "checkpoint=detector.ckpt",
        f"data.root={dataset}",
        "data.val_frame_interval=1",
        "latency.repeats=0",
        "device=cpu",
        "out=cost",
    ]
    code, printed = command(*words, "frame=1")
    assert code == 0, printed
    assert "frame simulated_0_validation_00000/15000000000" in printed
    content = json.loads((tmp_path / "cost" / "profile.json").read_text())
    assert content["parameters"] == sum(one.numel() for one in detector.parameters())
    code, printed = command(*words, "frame=2")
    assert code == 2
    assert "frame: there is no frame 2. The validation set has frames 0 to 1." in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "detector, checkpoint: neither is given. Name one: detector=cp_voxel"),
        (["detector=cp_pillar", "checkpoint=x.ckpt"], "detector, checkpoint: both are given."),
        (["detector=cp_pillar_v064", "device=tpu7"], "device: 'tpu7' is no device"),
        (["detector=cp_pillar_v064", "compare=[cp_vox]"], "no detector 'cp_vox'"),
        ([*TINY, "convention=thop"], "convention: 'thop' is not one of"),
        ([*TINY, "latency.repeats=-1"], "repeats: cannot be -1"),
        (["checkpoint=missing.ckpt"], "missing.ckpt"),
    ],
)
def test_what_cannot_work_is_one_message(command, words, message):
    code, printed = command(*words)
    assert code == 2
    assert message in printed
    assert "Traceback" not in printed
