"""Pictures while a detector learns: what is drawn, where it goes, and that nothing else changes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from torch import nn
from torch.utils.data import DataLoader

from kd3d.distill import BatchView, KDCallback, PivotalLogitKD
from kd3d.errors import ConfigError
from kd3d.geometry import BEVGrid
from kd3d.structures import Detections, HeadMaps, PointBatch
from kd3d.training import DetectionPictures
from kd3d.training.picture_loggers import give_picture

pytestmark = pytest.mark.filterwarnings("ignore")

HALF = 8.0
GRID = BEVGrid(-HALF, -HALF, 1.0, 1.0, 16, 16)


class Spots(nn.Module):
    """Predicts a heatmap from counts of points, and a fixed box wherever it is hot."""

    classes = ("Vehicle", "Pedestrian", "Cyclist")
    point_cloud_range = (-HALF, -HALF, -2.0, HALF, HALF, 4.0)
    grid = GRID

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.3)
        nn.init.constant_(self.norm.bias, bias)

    def forward(self, batch: PointBatch) -> HeadMaps:
        cells = GRID.to_cells(batch.points[:, :2]).long().clamp(0, 15)
        flat = (batch.batch_index * 16 + cells[:, 1]) * 16 + cells[:, 0]
        counts = torch.bincount(flat, minlength=len(batch) * 256).view(-1, 1, 16, 16).float()
        heat = self.drop(self.norm(self.head(counts)))
        empty = heat.new_zeros(len(batch), 8, 16, 16).split((2, 1, 3, 2), dim=1)
        return HeadMaps(heat, *empty, GRID)

    def decode(self, maps: HeadMaps, *, nms: bool = True) -> list[Detections]:
        scores, best = maps.heatmap.float().sigmoid().flatten(1).topk(5, dim=1)
        centers = GRID.centers().view(-1, 2)[best % 256]
        rest = centers.new_tensor([0.5, 3.0, 1.5, 1.5, 0.7]).expand(len(best), 5, 5)
        boxes = torch.cat((centers, rest), dim=-1)
        return [Detections(*frame) for frame in zip(boxes, scores, best // 256, strict=True)]


class Module(LightningModule):
    def __init__(self, detector: nn.Module | None = None) -> None:
        super().__init__()
        self.detector = detector if detector is not None else Spots()
        self.calls = 0

    def forward(self, batch: PointBatch) -> list[Detections]:
        self.calls += 1
        return self.detector.decode(self.detector(batch))

    def training_step(self, batch: PointBatch, batch_idx: int) -> torch.Tensor:
        loss = self.detector(batch).heatmap.square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: PointBatch, batch_idx: int) -> None:
        self.log("val/heat", self.detector(batch).heatmap.mean(), batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_batch(first: int, frames: int = 2) -> PointBatch:
    random = torch.Generator().manual_seed(first)
    boxes = torch.tensor(
        [[2.0, 3.0, 0.5, 4.0, 2.0, 1.5, 0.5], [-4.0, 1.0, 0.5, 1.0, 1.0, 1.7, 2.0]]
    )
    return PointBatch.from_points(
        [(torch.rand(300, 5, generator=random) - 0.5) * 2 * HALF for _ in range(frames)],
        boxes=[boxes] * frames,
        labels=[torch.tensor([0, 1])] * frames,
        frame_ids=[f"segment-{first}-{place}" for place in range(frames)],
    )


def loader(batches=3, *, shuffle=False, frames=2) -> DataLoader:
    data = [make_batch(place, frames) for place in range(batches)]
    return DataLoader(data, batch_size=None, shuffle=shuffle)


def fit(*callbacks, module=None, val=None, folder=None, **options):
    torch.manual_seed(0)
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
        "default_root_dir": folder,
    }
    trainer = Trainer(**{**settings, **options})
    module = module if module is not None else Module()
    trainer.fit(module, loader(2), val if val is not None else loader())
    return trainer, module


@pytest.fixture
def drawn(monkeypatch):
    """What was to be drawn, without drawing it: (title, panels, ground truth) of each picture."""
    calls = []

    def note(path, points, panels, *, title, ground_truth, point_cloud_range, classes, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        calls.append((title, dict(panels), ground_truth, tuple(point_cloud_range), tuple(classes)))

    monkeypatch.setattr("kd3d.training.pictures.save_bev", note)
    return calls


def make_teacher_callback(seed=1):
    torch.manual_seed(seed)
    teacher = Spots(bias=1.0)
    return KDCallback(
        teacher, [PivotalLogitKD(1.0, pivots="rank")], teacher_check_frames=0
    ), teacher


def test_pictures_show_truth_teacher_and_student(tmp_path):
    callback, _ = make_teacher_callback()
    fit(callback, DetectionPictures(frames=3), folder=tmp_path)
    files = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in files] == [f"step_0000002_frame_{i}.png" for i in range(3)]
    for path in files:
        picture = imread(path)
        assert picture.shape[1] > 2.5 * picture.shape[0]  # three panels side by side
        assert picture.std() > 0.02


def test_what_is_drawn(drawn, tmp_path):
    callback, teacher = make_teacher_callback()
    _, module = fit(callback, DetectionPictures(frames=2, min_score=0.6), folder=tmp_path)
    assert [title for title, *_ in drawn] == ["segment-0-0, step 2", "segment-0-1, step 2"]
    batch = make_batch(0)
    with torch.no_grad():
        theirs = teacher.eval().decode(teacher(batch))
        mine = module.eval()(batch)
    for place, (_, panels, truth, bounds, classes) in enumerate(drawn):
        assert list(panels) == ["teacher", "student"]
        assert torch.equal(truth.boxes, batch.boxes[place])
        for name, found in (("teacher", theirs[place]), ("student", mine[place])):
            sure = found.scores >= 0.6
            assert torch.allclose(panels[name].boxes, found.boxes[sure], atol=1e-5)
        assert bounds == Spots.point_cloud_range
        assert classes == Spots.classes


def test_without_a_teacher_there_is_one_detector(drawn, tmp_path):
    fit(DetectionPictures(frames=1), folder=tmp_path)
    assert [list(panels) for _, panels, *_ in drawn] == [["detector"]]


def test_two_teachers_have_a_panel_each(drawn, tmp_path):
    callbacks = [make_teacher_callback(seed)[0] for seed in (1, 2)]
    fit(*callbacks, DetectionPictures(frames=1), folder=tmp_path)
    assert list(drawn[0][1]) == ["teacher", "teacher 2", "student"]


def test_a_teacher_finds_its_boxes_once_and_frames_stay_the_same(drawn, tmp_path):
    callback, teacher = make_teacher_callback()
    runs = []
    teacher.register_forward_hook(lambda *arguments: runs.append(1))
    fit(
        callback, DetectionPictures(frames=3), val=loader(4, shuffle=True), folder=tmp_path,
        max_epochs=3,
    )  # fmt: skip
    names = [title.partition(",")[0] for title, *_ in drawn]
    assert len(names) == 9
    assert names[:3] == names[3:6] == names[6:]
    assert len(runs) == 3 * 2 + 2  # every training step, and the two batches once


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every_n_epochs": 1}, [2, 4, 6, 8]),
        ({"every_n_epochs": 3}, [2, 8]),
        ({"every_n_validations": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"every_n_validations": 3}, [1, 4, 7]),
    ],
)
def test_how_often(drawn, tmp_path, options, steps):
    interval = 1 if "every_n_validations" in options else 2
    fit(
        DetectionPictures(frames=1, **options), folder=tmp_path, max_epochs=4,
        val_check_interval=interval,
    )  # fmt: skip
    assert [int(title.rpartition(" ")[2]) for title, *_ in drawn] == steps


def test_nothing_is_drawn_in_the_sanity_check(drawn, tmp_path):
    fit(
        DetectionPictures(),
        folder=tmp_path,
        num_sanity_val_steps=2,
        limit_val_batches=1,
        max_steps=1,
    )
    assert {title.rpartition(" ")[2] for title, *_ in drawn} <= {"1"}
    fit(DetectionPictures(), folder=tmp_path, num_sanity_val_steps=2, max_epochs=0)
    assert {title.rpartition(" ")[2] for title, *_ in drawn} <= {"1"}


def test_validating_the_fitted_weights_draws_no_second_time(drawn, tmp_path):
    trainer, module = fit(DetectionPictures(frames=1), folder=tmp_path)
    trainer.validate(module, loader(), verbose=False)
    assert len(drawn) == 1
    alone = Trainer(
        accelerator="cpu", logger=False, callbacks=[DetectionPictures(frames=1)],
        enable_progress_bar=False, default_root_dir=tmp_path,
    )  # fmt: skip
    alone.validate(module, loader(), verbose=False)
    assert [title for title, *_ in drawn[1:]] == ["segment-0-0, step 0"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_pictures_change_no_run(tmp_path, precision):
    def trained(*pictures):
        torch.manual_seed(3)
        module = Module(Spots())
        callback, _ = make_teacher_callback()
        trainer, _ = fit(
            callback, *pictures, module=module, val=loader(shuffle=True), folder=tmp_path,
            max_epochs=2, precision=precision,
        )  # fmt: skip
        state = {name: value.clone() for name, value in module.state_dict().items()}
        return state, dict(trainer.callback_metrics), torch.rand(3)

    plain, metrics, random = trained()
    state, seen, later = trained(DetectionPictures(frames=1, recording=True))
    assert torch.equal(random, later)
    assert metrics == seen
    for name, value in plain.items():
        assert torch.equal(value, state[name]), name


def test_averaged_weights_are_drawn_where_they_are_validated(drawn, tmp_path):
    class Check(Callback):
        found = None

        def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, *rest):
            if batch_idx == 0:
                Check.found = module.detector.decode(module.detector(batch))[0]

    fit(WeightAveraging(), DetectionPictures(frames=1, min_score=0), Check(), folder=tmp_path)
    assert torch.equal(drawn[0][1]["detector"].boxes, Check.found.boxes)
    assert torch.equal(drawn[0][1]["detector"].scores, Check.found.scores)


def test_frames_are_let_go_after_the_fit(drawn, tmp_path):
    pictures = DetectionPictures(frames=1)
    fit(pictures, folder=tmp_path)
    assert pictures._batches == []
    assert pictures._teachers == []


# --- foreign modules and batches


class Foreign(LightningModule):
    """Takes tuples of points [B, N, 3], boxes and labels; its forward gives no boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def tuples() -> DataLoader:
    batch = make_batch(0)
    points = torch.stack([batch.points_of(frame)[:, :3] for frame in range(2)])
    return DataLoader([(points, batch.boxes, batch.labels)] * 2, batch_size=None)


def predict(module, batch):
    boxes = batch[1][:, :1]
    return [Detections(box, torch.tensor([0.9]), torch.tensor([0])) for box in boxes]


def test_a_module_and_batches_of_one_s_own(drawn, tmp_path):
    pictures = DetectionPictures(
        predict=predict,
        points=lambda batch: list(batch[0]),
        batch_view=BatchView(truth=lambda batch: (batch[1], batch[2])),
    )
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[pictures],
        enable_checkpointing=False, enable_progress_bar=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Foreign(), tuples(), tuples())
    assert [title for title, *_ in drawn] == ["frame 0, step 2", "frame 1, step 2"]
    _, panels, truth, bounds, classes = drawn[0]
    assert len(panels["detector"]) == 1
    assert len(truth) == 2
    assert bounds == (-10, -10, -5, 10, 10, 5)  # around the points
    assert classes == ()


@pytest.mark.parametrize("kind", ["list", "tensor", "mapping"])
def test_points_of_other_batches(kind):
    from kd3d.training.picture_frames import read_frames

    batch = make_batch(0)
    clouds = [batch.points_of(0), batch.points_of(1)]
    points = clouds if kind == "list" else torch.stack(clouds)
    fields = {"points": points, "boxes": batch.boxes, "labels": batch.labels}
    other = fields if kind == "mapping" else type("Batch", (), fields)()
    scenes = read_frames(other, BatchView(), None)
    assert [torch.equal(scene.points, cloud) for scene, cloud in zip(scenes, clouds, strict=True)]
    assert [scene.name for scene in scenes] == ["frame 0", "frame 1"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predict": lambda module, batch: None}, "forward pass of Module: gives NoneType for 2"),
        ({"predict": lambda module, batch: []}, "gives 0 items for 2 frames"),
        ({"predict": lambda module, batch: 1 / 0}, "ZeroDivisionError"),
        ({"points": lambda batch: [torch.zeros(1, 3)]}, "points of 1 frames for boxes of 2"),
        ({"batch_view": BatchView(truth=lambda batch: (0, 0))}, r"must be \[B, M, 7 or more\]"),
        ({"folder": "/dev/null/nowhere"}, "pictures cannot be kept in .*OutputError"),
        ({"point_cloud_range": (0, 0, 0, 0, 0, 0)}, "pictures cannot be kept .*point_cloud_range"),
    ],
)
def test_what_goes_wrong_is_said_once_and_training_goes_on(tmp_path, options, message):
    with pytest.warns(UserWarning, match=message) as said:
        trainer, _ = fit(DetectionPictures(**options), folder=tmp_path, max_epochs=3)
    assert trainer.global_step == 6
    assert len([item for item in said if "kd3d:" in str(item.message)]) == 1


@pytest.mark.filterwarnings("default")
def test_a_teacher_that_cannot_be_drawn_leaves_the_student(drawn, tmp_path):
    callback, teacher = make_teacher_callback()
    teacher.decode = lambda maps, nms=True: 1 / 0
    with pytest.warns(UserWarning, match="teacher's boxes cannot be drawn. ZeroDivisionError"):
        fit(callback, DetectionPictures(frames=1), folder=tmp_path)
    assert list(drawn[0][1]) == ["detector"]


@pytest.mark.parametrize(
    "options",
    [{"frames": 0}, {"every_n_epochs": 0}, {"every_n_validations": 0}, {"min_score": 1.5}],
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DetectionPictures(**options)


def test_the_documentation_s_picture_can_be_drawn_again(tmp_path):
    path = Path(__file__).resolve().parents[2] / "docs" / "make_training_pictures.py"
    spec = importlib.util.spec_from_file_location("make_training_pictures", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.IMAGES = tmp_path
    script.main(steps=2, scenes=1)
    (drawn,) = tmp_path.iterdir()
    assert imread(drawn).std() > 0.02


# --- loggers


@pytest.fixture
def one_picture():
    return DetectionPictures(frames=1, every_n_epochs=1)


def test_the_files_go_where_the_logger_writes(one_picture, tmp_path, drawn):
    fit(one_picture, logger=CSVLogger(tmp_path, name="runs", version="a"))
    assert [path.name for path in (tmp_path / "runs" / "a" / "pictures").iterdir()] == [
        "step_0000002_frame_0.png"
    ]


def test_tensorboard_gets_pictures(one_picture, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(one_picture, logger=TensorBoardLogger(tmp_path, name="", version=""))
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("pictures/frame_0")
    (path,) = (tmp_path / "pictures").iterdir()
    drawn = imread(path)
    assert (image.step, image.height, image.width) == (2, *drawn.shape[:2])
    (tmp_path / "logged.png").write_bytes(image.encoded_image_string)
    assert np.abs(imread(tmp_path / "logged.png")[..., :3] - drawn[..., :3]).max() < 0.01


def test_mlflow_keeps_the_file(one_picture, tmp_path, drawn, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger("kd3d", tracking_uri=f"file:{tmp_path}/mlruns")
    fit(one_picture, logger=logger, folder=tmp_path)
    names = [item.path for item in logger.experiment.list_artifacts(logger.run_id, "pictures")]
    assert names == ["pictures/step_0000002_frame_0.png"]


def test_wandb_gets_pictures_and_scenes(one_picture, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    callback, _ = make_teacher_callback()
    try:
        fit(callback, one_picture, logger=WandbLogger(save_dir=tmp_path, offline=True))
        wandb.finish()
    finally:
        wandb.teardown()
    media = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*media/**/*.*")}
    assert len([name for name in media if "images/pictures/frame_0" in name]) == 1
    (scene,) = [name for name in media if "object3D/scenes/frame_0" in name]
    labels = (tmp_path / scene).read_text()
    for source in ("ground truth: Vehicle", "teacher: ", "student: "):
        assert source in labels


class Fake:
    """A logger that takes whatever its name says, or fails."""

    def __init__(self, fails=False):
        self.images = []
        self.fails = fails

    def log_image(self, key, images, step):
        if self.fails:
            raise ConnectionError("no network")
        self.images.append((key, images, step))


def test_loggers_are_told_by_what_they_can_do(tmp_path):
    fake = Fake()
    assert give_picture(fake, "pictures/frame_0", tmp_path / "a.png", 7)
    assert fake.images == [("pictures/frame_0", [str(tmp_path / "a.png")], 7)]
    assert not give_picture(CSVLogger(tmp_path), "pictures/frame_0", tmp_path / "a.png", 7)
    assert not give_picture(object(), "pictures/frame_0", tmp_path / "a.png", 7)


@pytest.mark.filterwarnings("default")
def test_a_logger_that_fails_is_said_once_and_others_go_on(drawn, tmp_path):
    class Broken(Fake, CSVLogger):
        def __init__(self, folder, fails):
            CSVLogger.__init__(self, folder)
            Fake.__init__(self, fails)

    loggers = [Broken(tmp_path / "a", True), Broken(tmp_path / "b", False)]
    with pytest.warns(UserWarning, match="Broken does not take the pictures.*no network") as said:
        fit(DetectionPictures(frames=2), logger=loggers, max_epochs=2)
    assert len([item for item in said if "does not take" in str(item.message)]) == 1
    assert len(loggers[1].images) == 4


def test_a_recording_for_rerun(one_picture, tmp_path):
    fit(DetectionPictures(frames=2, recording=True), folder=tmp_path)
    (recording,) = (tmp_path / "pictures").glob("*.rrd")
    assert recording.name == "step_0000002.rrd"
    assert recording.stat().st_size > 1000
