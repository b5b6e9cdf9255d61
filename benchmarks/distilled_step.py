"""Cost of a distilled training step against its parts, in time and in memory.

CP-Pillar teaches CP-Pillar-v0.64 at batch 2 with the paper's objectives and regression
distillation. The distilled step is compared with the plain step plus the teacher's forward pass,
all three in turns; each objective is timed by itself, forward and backward to the student's maps.
About two minutes on a CPU; with ``--small``, derived small networks, half a minute.
"""

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from _scene import full_range_points
from _timing import compare, interleaved_medians, machine
from torch import Tensor, nn

from kd3d import (
    KDCallback,
    LabelKD,
    PivotalLogitKD,
    PointBatch,
    RegressionKD,
    create_detector,
)
from kd3d.distill import BatchView, Objective, Outputs, StepContext, Teacher
from kd3d.profiling.memory import measure_peak

MOST = 1.05
BOXES_PER_FRAME = 40


class Student(nn.Module):
    """As much of a LightningModule as the callback needs."""

    current_epoch = 0
    global_step = 0

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self.device = next(detector.parameters()).device

    def log(self, name: str, value: Tensor, **options: Any) -> None:
        """Drop the value: logging is the trainer's cost."""

    def print(self, *words: object) -> None:
        """Drop the table of what is connected."""

    def training_step(self, batch: PointBatch) -> Tensor:
        """Compute the detection loss."""
        truth = batch.targets if batch.targets is not None else batch
        targets = self.detector.assign_targets(truth.boxes, truth.labels)
        return self.detector.loss(self.detector(batch), targets)["loss"]


def main() -> None:
    """Print the times, the ratio, the objectives' own costs, and the memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a quarter as wide, on ±20.48 m")
    parser.add_argument("--batch", type=int, default=2, help="frames per step")
    parser.add_argument("--repeats", type=int, help="timed rounds (3, or 21 with --small)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    device = torch.device(arguments.device)
    full = not arguments.small
    student = build("cp_pillar_v064", full).to(device)
    teacher = build("cp_pillar", full).to(device).eval()
    batch = make_batch(arguments.batch, full).to(device)
    plain, distilled = Student(student), Student(student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    # An untrained teacher is sure of nothing: 50 boxes per frame are taken all the same.
    objectives = [PivotalLogitKD(7.0), RegressionKD(0.2), LabelKD(0.05, max_boxes=50)]
    callback = KDCallback(teacher, objectives, teacher_check_frames=0, watch_every_n_steps=0)
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device), optimizers=[optimizer], callbacks=[callback]
    )
    callback.on_fit_start(trainer, distilled)

    def step(module: Student) -> None:
        optimizer.zero_grad()
        module.training_step(batch).backward()
        optimizer.step()
        wait(device)

    @torch.no_grad()
    def teach() -> None:
        teacher(batch)
        wait(device)

    def plain_step() -> None:
        step(plain)

    def distilled_step() -> None:
        step(distilled)

    repeats = arguments.repeats or (3 if full else 21)
    alone, forward, together = interleaved_medians([plain_step, teach, distilled_step], repeats)
    where = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    size = "full size" if full else "derived small networks"
    print(f"{machine()}{where}")
    print(f"batch {arguments.batch}, {size}, medians of {repeats} interleaved rounds")
    print(f"plain step {1e3 * alone:.1f} ms, teacher forward {1e3 * forward:.1f} ms")
    print(f"{'':44} {'ours':>11}   {'comparison':>11}   {'ratio':>6}")
    compare("distilled step / (plain + teacher forward)", together, alone + forward, MOST)
    for objective in objectives:
        cost = time_objective(objective, student, teacher, batch, repeats)
        print(
            f"{type(objective).__name__:44} {1e3 * cost:8.2f} ms   {cost / alone:10.1%} of a step"
        )

    optimizer.zero_grad(set_to_none=True)
    peaks = [measure_peak(student, run, device) for run in (plain_step, teach, distilled_step)]
    own, taught, both = (peak.activations / 2**20 for peak in peaks)
    print(f"peak memory beyond weights ({peaks[0].method}): plain step {own:.0f} MiB,")
    print(
        f"teacher forward {taught:.0f} MiB, distilled step {both:.0f} MiB "
        f"(at most {own + taught:.0f})"
    )


def time_objective(
    objective: Objective, student: Any, teacher: Any, batch: PointBatch, repeats: int
) -> float:
    """Give the seconds of one objective, with the gradient of the student's maps."""
    view = BatchView()
    teaching = Teacher(teacher)
    taught = teaching.teach(batch)
    teaching.viewed.taps.detach()
    maps = student(batch).detach()
    names = ("heatmap", "center", "center_z", "dim", "rot")
    leaves = [getattr(maps, name).requires_grad_() for name in names]
    outputs = Outputs(maps, {})

    def run() -> None:
        context = StepContext(
            batch, teaching, taught, view, classes=student.classes, student_grid=student.grid
        )
        objective.amend(context, batch)
        if objective.has_loss:
            term = objective(outputs, taught, context)
            torch.autograd.grad(term, leaves, allow_unused=True)
        wait(maps.heatmap.device)

    (seconds,) = interleaved_medians([run], repeats)
    return seconds


def build(name: str, full: bool) -> Any:
    """Build a detector, a quarter as wide and on ±20.48 m unless in full."""
    if full:
        return create_detector(name)
    narrow = dict.fromkeys(("encoder", "backbone_2d", "head"), 0.25)
    bounds = (-20.48, -20.48, -2.0, 20.48, 20.48, 4.0)
    return create_detector(name, point_cloud_range=bounds, width=narrow)


def make_batch(frames: int, full: bool) -> PointBatch:
    """Draw frames of LiDAR points, with boxes anywhere."""
    points, half = (160_000, 74.0) if full else (30_000, 20.0)
    clouds = [full_range_points(160_000, seed=frame) for frame in range(frames)]
    if not full:
        clouds = [cloud[(cloud[:, :2].abs() < half).all(dim=1)][:points] for cloud in clouds]
    least = torch.tensor([0.0, 0.0, 0.0, 3.5, 1.5, 1.0, 0.0])
    boxes = [torch.rand(BOXES_PER_FRAME, 7) + least for _ in range(frames)]
    for box in boxes:
        box[:, :2] = (torch.rand(BOXES_PER_FRAME, 2) * 2 - 1) * half
    labels = [torch.arange(BOXES_PER_FRAME) % 3 for _ in range(frames)]
    return PointBatch.from_points(clouds, boxes=boxes, labels=labels)


def wait(device: torch.device) -> None:
    """Let the device finish, so that the clock sees all of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
