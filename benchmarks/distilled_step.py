"""Cost of a distilled training step against its parts: the plain step and the teacher's forward.

CP-Pillar teaches CP-Pillar-v0.64 with the paper's objectives and regression distillation. The ratio
of the distilled step to the sum of its parts is to be at most 1.10. Derived small networks (about
20 seconds) unless ``--full`` is given (minutes on a CPU).
"""

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from _scene import full_range_points
from _timing import compare, interleaved_medians, machine
from torch import Tensor, nn

from kd3d import KDCallback, LabelKD, PivotalLogitKD, PointBatch, RegressionKD, create_detector

TARGET = 1.10
BOXES_PER_FRAME = 40


class Student(nn.Module):
    """As much of a LightningModule as the callback needs."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self.device = next(detector.parameters()).device

    def log(self, name: str, value: Tensor, **options: Any) -> None:
        """Drop the value: logging is the trainer's cost."""

    def training_step(self, batch: PointBatch) -> Tensor:
        """Compute the detection loss."""
        truth = batch.targets if batch.targets is not None else batch
        targets = self.detector.assign_targets(truth.boxes, truth.labels)
        return self.detector.loss(self.detector(batch), targets)["loss"]


def main() -> None:
    """Print the three times and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="full range and width")
    parser.add_argument("--batch", type=int, default=2, help="frames per step")
    parser.add_argument("--repeats", type=int, help="timed rounds (15, or 3 with --full)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    device = torch.device(arguments.device)
    student = build("cp_pillar_v064", arguments.full).to(device)
    teacher = build("cp_pillar", arguments.full).to(device).eval()
    batch = make_batch(arguments.batch, arguments.full).to(device)
    plain, distilled = Student(student), Student(student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    callback = KDCallback(
        teacher,
        # An untrained teacher is sure of nothing: 50 boxes per frame are taken all the same.
        [PivotalLogitKD(7.0), RegressionKD(0.2), LabelKD(0.05, max_boxes=50)],
        teacher_check_frames=0,
    )
    callback.on_fit_start(SimpleNamespace(strategy=SimpleNamespace(root_device=device)), distilled)

    def step(module: Student) -> None:
        optimizer.zero_grad()
        module.training_step(batch).backward()
        optimizer.step()
        wait(device)

    @torch.no_grad()
    def teach() -> None:
        teacher(batch)
        wait(device)

    repeats = arguments.repeats or (3 if arguments.full else 15)
    alone, forward, together = interleaved_medians(
        [lambda: step(plain), teach, lambda: step(distilled)], repeats
    )
    where = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    size = "full size" if arguments.full else "derived small networks"
    print(f"{machine()}{where}")
    print(f"batch {arguments.batch}, {size}, medians of {repeats} interleaved rounds")
    print(f"plain step {1e3 * alone:.1f} ms, teacher forward {1e3 * forward:.1f} ms")
    print(f"{'':44} {'ours':>11}   {'comparison':>11}   {'ratio':>6}")
    compare("distilled step / (plain + teacher forward)", together, alone + forward, TARGET)


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
