"""The options of `DetectorModule` for the dense part: layout, compilation, bfloat16.

A training step (forward, loss, backward) of one detector with each option, interleaved, and how far
the loss moves from that of the plain layout in float32.
"""

import argparse
import time
from collections.abc import Callable

import torch
from _scene import full_range_points
from _timing import interleaved_medians, machine

from kd3d import DetectorModule, PointBatch, create_detector
from kd3d.training.dense import arrange_dense

OPTIONS: dict[str, dict[str, bool]] = {
    "contiguous": {"channels_last": False},
    "channels_last (default)": {},
    "channels_last, compile": {"compile": True},
    "channels_last, autocast": {"autocast": True},
    "channels_last, compile, autocast": {"compile": True, "autocast": True},
}


def main() -> None:
    """Print one row per set of options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="cp_pillar_v064")
    parser.add_argument("--small", action="store_true", help="a quarter as wide, on ±20.48 m")
    parser.add_argument("--batch", type=int, default=1, help="frames per step")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved steps of each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)

    changes = {}
    if arguments.small:
        parts = create_detector(arguments.detector).spec()["arguments"]["width"]
        changes["width"] = dict.fromkeys(parts, 0.25)
        changes["point_cloud_range"] = (-20.48, -20.48, -2.0, 20.48, 20.48, 4.0)
    half = 20.0 if arguments.small else 70.0
    clouds = [full_range_points(160_000, seed=frame) for frame in range(arguments.batch)]
    boxes = [torch.rand(40, 7) * torch.tensor([2 * half, 2 * half, 1, 4, 2, 2, 3]) for _ in clouds]
    for box in boxes:
        box[:, :2] -= half
    labels = [torch.arange(40) % 3 for _ in clouds]
    batch = PointBatch.from_points(clouds, boxes=boxes, labels=labels).to(device)

    steps: list[Callable[[], float]] = []
    for options in OPTIONS.values():
        torch.manual_seed(0)
        module = DetectorModule(create_detector(arguments.detector, **changes), **options)
        arrange_dense(
            module.detector,
            channels_last=module.channels_last,
            compiled=module.compile_dense,
        )
        steps.append(make_step(module.to(device), batch))

    print(machine() + (f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""))
    size = "a quarter as wide, ±20.48 m" if arguments.small else "full size"
    print(f"{arguments.detector}, {size}, batch {arguments.batch}: forward, loss and backward")
    first = []
    losses = []
    for step in steps:
        start = time.perf_counter()
        losses.append(step())
        first.append(time.perf_counter() - start)
    medians = interleaved_medians(list(steps), arguments.repeats)
    print(f"{'':36} {'step':>11} {'ratio':>7} {'first step':>12} {'loss moved':>12}")
    for name, median, once, loss in zip(OPTIONS, medians, first, losses, strict=True):
        moved = abs(loss - losses[0]) / losses[0]
        print(
            f"{name:36} {1e3 * median:8.1f} ms {median / medians[0]:7.3f} {once:10.1f} s "
            f"{moved:12.1e}"
        )


def make_step(module: DetectorModule, batch: PointBatch) -> Callable[[], float]:
    """Make a function that runs one step and gives the loss."""
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]

    def step() -> float:
        module.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    main()
