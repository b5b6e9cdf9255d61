"""docs/recipes.md is followed: its package is written, installed beside kd3d, and used."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

import kd3d
from kd3d.detectors import create_detector, load_detector, save_detector
from kd3d.geometry import BEVGrid
from kd3d.simulate import simulate_dataset
from kd3d.structures import PointBatch

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/recipes.md").read_text()
RANGE = (-7.68, -7.68, -2.0, 7.68, 7.68, 4.0)
WIDTH = dict.fromkeys(("encoder", "backbone_2d", "head"), 0.125)

#: What makes a command of the page a matter of seconds.
SMALL = (
    "scale=smoke",
    "data.root=data/demo",
    "trainer.max_steps=1",
    "callbacks={}",
    f"student.point_cloud_range={list(RANGE)}",
    "run.plain=false",
    "run.initialised=false",
)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def files():
    """The blocks that are files, by the path in their first line."""
    named = (re.match(r"# (\S+\.\w+)(?:, at its end)?\n", block) for block in every_block())
    return {found[1]: found.string for found in named if found}


def every_block():
    return [block for language in ("toml", "python", "yaml") for block in blocks(language)]


def scripts():
    """The blocks of Python that are run as they are."""
    return [block for block in blocks("python") if not re.match(r"# \S+\.py", block)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of the page, its package installed into a folder beside it, and records."""
    folder = tmp_path_factory.mktemp("my_project")
    for path, text in files().items():
        if not path.startswith("tests/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    (folder / "my_package/__init__.py").touch()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", "installed", "."], cwd=folder, check=True)
    shutil.rmtree(folder / "my_package")  # whatever works now, works from the installed package
    simulate_dataset(
        folder / "data/demo",
        scenes=2,
        val_scenes=1,
        frames=2,
        resolution=0.05,
        extent=32.0,
        workers=1,
        progress=False,
    )
    return folder


@pytest.fixture
def here(project, monkeypatch):
    """Inside the folder, as a Python that finds what is installed there."""
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project / "installed")
    monkeypatch.setenv("KD3D_CACHE", str(project / "cache"))
    yield project
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def environment(project):
    return {
        **os.environ,
        "PYTHONPATH": str(project / "installed"),
        "KD3D_CACHE": str(project / "cache"),
    }


def run(project, words):
    """Run a command of the page, small; give what it printed."""
    command, *options = words
    if command == "kd3d-train":
        options = [word for word in options if word != "scale=demo"] + list(SMALL)
    program = f"from kd3d.cli.{command.removeprefix('kd3d-')} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def commands(name):
    """The command lines of the page that begin with this, as words."""
    lines = "".join(blocks("sh")).splitlines()
    return [line.split() for line in lines if line.startswith(name)]


def last_run(project):
    runs = (project / "logs/train/runs").iterdir()
    return max(runs, key=lambda path: path.stat().st_mtime_ns)


def logged(project, name):
    """The last value of a term in the logs of the last run."""
    head, *rows = (last_run(project) / "student/metrics.csv").read_text().splitlines()
    column = head.split(",").index(name)
    return [float(row.split(",")[column]) for row in rows if row.split(",")[column]][-1]


def test_the_method_trains(project):
    once, sweep = commands("kd3d-train --config-dir conf")[:2]
    printed = run(project, once)
    assert "JensenShannonKD" in printed
    assert logged(project, "kd/jensen_shannon") > 0
    assert set(once) - {"kd=jensen_shannon"} < set(sweep)


def test_the_detector_trains_and_comes_back(here):
    train = commands("kd3d-train experiment")[0]
    assert "SlimPillar" in run(here, train)
    file = last_run(here) / "student/detector.ckpt"
    slim = load_detector(file)
    assert type(slim).__name__ == "SlimPillar"
    assert slim.spec() == type(slim).from_checkpoint(file).spec()
    assert slim.dense_head.shared_conv[0].out_channels == 16  # a quarter, as the scale asks for
    (profile,) = commands("kd3d-profile")
    printed = run(here, [*profile, "latency.repeats=1", "memory=false", "depth=1"])
    assert re.search(r"backbone_2d\s+TwoScales", printed)


def test_the_head_teaches(project):
    train = commands("kd3d-train experiment")[1]
    printed = run(project, train)
    assert re.search(r"label\s.*IoUPillar decode\(\)", printed)
    assert logged(project, "kd/logit") > 0


class Foreign(nn.Module):
    """A network that is no detector of kd3d's, sure of everything."""

    def __init__(self):
        super().__init__()
        self.grid = BEVGrid.from_range(RANGE, (0.64, 0.64))
        sizes = {"score": 3, "box": 7, "overlap": 1}
        self.head = nn.ModuleDict({name: nn.Conv2d(1, size, 1) for name, size in sizes.items()})
        for name in ("score", "overlap"):
            nn.init.constant_(self.head[name].bias, 3.0)

    def forward(self, batch):
        image = torch.rand(len(batch), 1, *self.grid.shape)
        return [layer(image) for layer in self.head.values()]


@pytest.mark.filterwarnings("ignore")
def test_the_code_runs(here, monkeypatch, capsys):
    """Each script by itself; one step, one repeat."""
    shorten(monkeypatch)
    L.seed_everything(0, verbose=False)
    save_detector(small("cp_pillar"), "teacher.ckpt")
    detector, coding = ({"foreign_teacher": Foreign()} for _ in scripts())
    for names, script in zip((detector, coding), scripts(), strict=True):
        exec(compile(script, "docs/recipes.md", "exec"), names)
    assert re.search(r"[\d,]+ parameters, [\d.]+ G multiply", capsys.readouterr().out)
    assert detector["trainer"].callback_metrics["kd/jensen_shannon"] > 0
    assert detector["again"].spec() == detector["detector"].spec()
    trainer = L.Trainer(callbacks=[coding["distil"]])
    data = kd3d.WaymoDataModule("data/demo")
    trainer.fit(kd3d.DetectorModule(small("cp_pillar_v064")), data)
    assert trainer.callback_metrics["kd/logit"] > 0
    assert trainer.callback_metrics["kd/teacher_boxes"] > 0


def shorten(monkeypatch):
    trainer, profile = L.Trainer, kd3d.profile
    monkeypatch.setattr(
        kd3d, "profile", lambda *args: profile(*args, repeats=1, warmup=0), raising=False
    )
    monkeypatch.setattr(
        L, "Trainer", lambda **kw: trainer(**{**kw, "accelerator": "cpu", "fast_dev_run": True})
    )


def small(name, **changes):
    return create_detector(name, point_cloud_range=RANGE, width=WIDTH, depth=(1, 1, 1), **changes)


def test_the_head_learns_and_rescores(here):
    torch.manual_seed(0)
    detector = create_detector(
        "iou_pillar", point_cloud_range=RANGE, cell_size=(0.64, 0.64), width=WIDTH, depth=(1, 1, 1)
    )
    box = torch.tensor([[1.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.3]])
    points = torch.cat((box[:, :3] + torch.rand(200, 3) - 0.5, torch.zeros(200, 2)), dim=1)
    batch = PointBatch.from_points([points], boxes=[box], labels=[torch.tensor([0])])
    targets = detector.assign_targets(batch.boxes, batch.labels)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        terms = detector.loss(detector(batch), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.3 * losses[0]
    assert terms["overlap"] < 0.2
    maps = detector(batch)
    found = detector.decode(maps)[0]
    score, cell = maps.heatmap.sigmoid().amax(dim=1).flatten().max(dim=0)
    expected = (score * maps.extra["overlap"].sigmoid().flatten()[cell]).sqrt()
    assert found.scores[0].item() == pytest.approx(expected.item(), rel=1e-3)
    assert found.boxes.shape[1] == 7


def test_the_method_passes_what_every_method_passes(project, tmp_path):
    """As a contribution: its slow version and its row are all that the tests need."""
    folder = tmp_path / "distill"
    shutil.copytree(ROOT / "tests/distill", folder, ignore=shutil.ignore_patterns("__pycache__"))
    added = {path: text for path, text in files().items() if path.startswith("tests/distill")}
    assert len(added) == 1
    for path, text in added.items():
        text = text.replace("from kd3d.distill import", "from my_package.jensen_shannon import")
        with (folder / Path(path).name).open("a") as file:
            file.write(text)
    options = ["-q", "-p", "no:cacheprovider", "-k", "jensen_shannon or no_two_methods"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_distill_methods_logit.py"],
        cwd=folder,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15


def test_everything_that_is_named_exists():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`((?:src|tests|conf|benchmarks)/[\w/.]+)`", TEXT):
        assert "NAME" in path or (ROOT / path).exists(), path
