"""Full-size frames from files to a training step, over two ranks with two workers each."""

from datetime import timedelta
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from kd3d import DetectorModule, FolderDataModule, WaymoDataModule
from kd3d.data import (
    FolderFrames,
    ObjectPaste,
    SweptFrames,
    WaymoFrames,
    WorldAugmentation,
    build_index,
    build_objects,
)
from kd3d.detectors import create_detector
from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.waymo import CLASSES, RecordWriter, decode_frame, encode_frame, iterate_records, schema

SEGMENTS, FRAMES, RANKS, WORKERS, SWEEPS = 2, 3, 2, 2, 2
RANGE = (-71.68, -71.68, -2, 71.68, 71.68, 4)
#: ranks that lost each other say so after this, instead of half an hour
PATIENCE = timedelta(minutes=5)
#: a full-size frame has more points than this from the roof alone
FULL_SIZE = 100_000


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "frames" / "full_frame.tfrecord"


def full_size_record():
    """A record with all lasers and both returns: the shared one, or one that is simulated."""
    if SHARED.is_file():
        return next(iterate_records(SHARED))
    scene = sample_scene(np.random.default_rng(0), duration=0.1, extent=75.0)
    [frame] = render_frames(scene, default_sensors(), frames=1, name="made", seed=(0,))
    return encode_frame(frame)


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """A root of several segments, and the content of its training frames."""
    root = tmp_path_factory.mktemp("full")
    payload = full_size_record()
    contents = []
    for segment in range(SEGMENTS):
        with RecordWriter(root / "training" / f"segment-{segment}.tfrecord") as writer:
            for number in range(FRAMES):
                message = schema.Frame.FromString(payload)
                # The first frame has one half of the objects and all others have the other half,
                # so that objects of the first fit into the others.
                del message.laser_labels[int((segment, number) == (0, 0)) :: 2]
                message.context.name = f"segment-{segment}".encode()
                message.timestamp_micros = 1_000_000 + 100_000 * number
                contents.append((segment, number, message.SerializeToString()))
                writer.write(contents[-1][2])
    return root, contents


@pytest.fixture(scope="module")
def folder(segments, tmp_path_factory):
    """The same frames as a folder of scans."""
    root = tmp_path_factory.mktemp("scans")
    for segment, number, payload in segments[1]:
        frame = decode_frame(payload, "record")
        kept = frame.labels >= 0
        path = root / "train" / f"drive-{segment}" / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            points=frame.points,
            boxes=frame.boxes[kept],
            labels=frame.labels[kept],
            pose=frame.pose,
            time=frame.timestamp_micros * 1e-6,
        )
    return root


class Witness(L.Callback):
    """Writes what its rank trained on, and the weights it ended with."""

    def __init__(self, folder):
        self.folder = folder
        self.batches = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        points = batch.points.double().sum(dim=0)
        self.batches.append((batch.frame_ids, len(batch.points), points, loss.item()))

    def on_train_end(self, trainer, module):
        weights = torch.cat([weight.detach().flatten() for weight in module.parameters()])
        seen = {"batches": self.batches, "weights": weights}
        torch.save(seen, self.folder / f"{trainer.global_rank}.pt")


def tiny_module():
    torch.manual_seed(0)
    detector = create_detector(
        "cp_pillar_v064",
        point_cloud_range=RANGE,
        cell_size=(1.28, 1.28),
        classes=CLASSES,
        point_features=6,
        width={"encoder": 0.125, "backbone_2d": 0.125, "head": 0.125},
        depth=(1, 1, 1),
    )
    return DetectorModule(detector, total_steps=10)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["tfrecords", "FolderFrames"])
def test_full_size_frames_reach_a_training_step(kind, segments, tmp_path, monkeypatch, request):
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    if kind == "tfrecords":
        root, module = segments[0], WaymoDataModule
        source = WaymoFrames(build_index(root, "training/*.tfrecord"))
        options = {"root": root, "val": "training/*.tfrecord", "decode_on": "device"}
    else:
        root, module = request.getfixturevalue("folder"), FolderDataModule
        source = FolderFrames.open(root, CLASSES)
        options = {"root": root, "val": "train", "classes": CLASSES}
    build_objects(
        SweptFrames(source, SWEEPS),
        tmp_path / "objects",
        workers=1,
        progress=False,
        intervals=dict.fromkeys(CLASSES, FRAMES),
    )
    data = module(
        **options,
        batch_size=1,
        sweeps=SWEEPS,
        augmentation=WorldAugmentation(),
        paste=ObjectPaste(tmp_path / "objects", dict.fromkeys(CLASSES, 100), min_points=1),
        point_range=RANGE,
        shuffle="segment_blocks",
        block_frames=2,
        num_workers=WORKERS,
    )
    before = torch.cat([weight.detach().flatten() for weight in tiny_module().parameters()])
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=RANKS,
        strategy=DDPStrategy(start_method="fork", process_group_backend="gloo", timeout=PATIENCE),
        limit_val_batches=0,
        callbacks=[Witness(tmp_path)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(tiny_module(), datamodule=data)

    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    batches = [batch for rank in ranks for batch in rank["batches"]]
    assert [len(rank["batches"]) for rank in ranks] == [SEGMENTS * FRAMES // RANKS] * RANKS
    names = [name for frame_ids, *_ in batches for name in frame_ids]
    assert sorted(names) == sorted(source.frame_id(number) for number in range(len(source)))
    assert min(count for _, count, *_ in batches) > FULL_SIZE
    assert all(np.isfinite(loss) for *_, loss in batches)
    assert torch.equal(ranks[0]["weights"], ranks[1]["weights"])
    assert not torch.equal(ranks[0]["weights"], before)

    # What a rank's worker made is what this process makes of the same frame.
    frames = data.train_frames
    frames.decode_on = "worker"
    assert (frames[0, 1].pasted >= 0).any()
    for number in (0, 1):
        sample = frames[0, number]
        [found] = [batch for batch in batches if batch[0] == (sample.frame_id,)]
        assert found[1] == len(sample.points)
        assert torch.allclose(found[2], sample.points.double().sum(dim=0), rtol=1e-6, atol=0.5)
