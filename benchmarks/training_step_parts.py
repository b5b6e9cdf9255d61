"""Where the time of a training step goes, at the size of the gain study.

CP-Pillar teaches CP-Pillar-v0.64, both a quarter as wide, on simulated frames of the study's kind,
batch 2. Plain and distilled steps take turns with their parts, so that all meet the same noise:
reading and augmenting a batch, the teacher's forward pass, the student (forward, backward, update),
and the losses (targets, detection loss and, when distilled, the terms of SparseKD). Then the
training steps per second of each small network. Processor seconds of one thread; about a minute.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _timing import interleaved_medians, machine
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from kd3d import PointBatch, WaymoDataModule
from kd3d.cli.resume import compose_train
from kd3d.cli.teachers import teacher_network
from kd3d.detectors import list_detectors
from kd3d.simulate import preset, simulate_dataset

SCENES = 8
#: Half a range in y that holds a whole number of a network's cells, where the study's does not.
OTHER_Y = {"cp_pillar_v048": 13.44}


class Student(nn.Module):
    """As much of a LightningModule as the callback needs."""

    current_epoch = 0
    global_step = 0

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self.device = torch.device("cpu")

    def log(self, name: str, value: Tensor, **options: Any) -> None:
        """Drop the value: logging is the trainer's cost."""

    def print(self, *words: object) -> None:
        """Drop the table of what is connected."""

    def training_step(self, batch: PointBatch) -> Tensor:
        """Compute the detection loss."""
        return self.loss(self.detector(batch), batch)

    def loss(self, maps: Any, batch: PointBatch) -> Tensor:
        """Assign targets and compute the loss of given maps."""
        truth = batch if batch.targets is None else batch.targets
        targets = self.detector.assign_targets(truth.boxes, truth.labels)
        return self.detector.loss(maps, targets)["loss"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds")
    parser.add_argument("--root", type=Path, help="a simulated dataset; a small one by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or simulate(Path(folder))
        config = compose_train(["experiment=gain_study", f"data.root={root}", "simulate=null"])
        batches = endless(instantiate(config.data, _convert_="all"))
        print(f"{machine()}; batch {config.data.batch_size}, {arguments.repeats} rounds")
        print_parts(config, batches, arguments.repeats)
        print_networks(str(root), next(batches), arguments.repeats)


def print_parts(config: DictConfig, batches: Iterator[PointBatch], repeats: int) -> None:
    """Time both kinds of step and their parts."""
    teacher = teacher_network(config).eval()
    student = instantiate(config.student, _convert_="all")
    plain, distilled = Student(student), Student(student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    callback = instantiate(config.kd, _partial_=True, _convert_="all")(teacher=teacher)
    callback.teacher_check_frames = 0
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        optimizers=[optimizer],
        callbacks=[callback],
    )
    callback.on_fit_start(trainer, distilled)
    batch = next(batches)
    maps = student(batch).detach()

    def step(module: Student) -> None:
        optimizer.zero_grad()
        module.training_step(batch).backward()
        optimizer.step()

    @torch.no_grad()
    def teach() -> None:
        teacher(batch)

    tasks = [
        lambda: next(batches),
        teach,
        lambda: plain.loss(maps, batch),
        lambda: step(plain),
        lambda: step(distilled),
    ]
    data, taught, loss, alone, both = interleaved_medians(tasks, repeats, time.process_time)
    body = alone - loss
    rows = {
        "data": (data, data),
        "teacher": (0.0, taught),
        "student": (body, body),
        "loss": (loss, both - taught - body),
        "all": (data + alone, data + both),
    }
    print(f"\n{'ms of one thread':20} {'plain':>12} {'distilled':>12}")
    for name, (without, with_teacher) in rows.items():
        print(f"{name:20} {1e3 * without:12.1f} {1e3 * with_teacher:12.1f}")
    print(f"{'steps per second':20} {1 / rows['all'][0]:12.2f} {1 / rows['all'][1]:12.2f}")


def print_networks(root: str, batch: PointBatch, repeats: int) -> None:
    """Time the plain training step of every network at the study's width and range."""
    print(f"\n{'small network':20} {'parameters':>12} {'steps/s':>12}")
    for name in list_detectors():
        words = [f"student={name}", "experiment=gain_study", f"data.root={root}"]
        if name in OTHER_Y:
            y = OTHER_Y[name]
            words.append(f"student.point_cloud_range=[-38.4,{-y},-2.0,38.4,{y},4.0]")
        module = Student(instantiate(compose_train(words).student, _convert_="all"))
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)

        def step(module: Student = module, optimizer: torch.optim.AdamW = optimizer) -> None:
            optimizer.zero_grad()
            module.training_step(batch).backward()
            optimizer.step()

        (seconds,) = interleaved_medians([step], max(3, repeats // 3), time.process_time)
        count = sum(parameter.numel() for parameter in module.parameters())
        print(f"{name:20} {count:12,} {1 / seconds:12.2f}")


def simulate(root: Path) -> Path:
    """Make a few scenes of the study's benchmark."""
    like = preset("kd3d-sim-small")
    simulate_dataset(
        root,
        scenes=SCENES,
        val_scenes=1,
        frames=like.frames,
        interval=like.interval,
        resolution=like.resolution,
        extent=like.extent,
        progress=False,
    )
    return root


def endless(data: WaymoDataModule) -> Iterator[PointBatch]:
    """Give training batches, epoch after epoch."""
    while True:
        yield from data.train_dataloader()


if __name__ == "__main__":
    main()
