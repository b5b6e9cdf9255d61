"""What every distillation objective costs: time and memory, beside the student's own step.

CP-Pillar teaches CP-Pillar-v0.64 at batch 2 (464 x 464 and 232 x 232 cells, full width). Every
objective of every file in ``conf/kd`` runs by itself, forward and backward to the student's maps or
features. A few minutes on a CPU; with ``--small``, derived small
networks, seconds.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _timing import interleaved_medians, machine
from distilled_step import Student, build, make_batch, wait
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from kd3d import PointBatch, RegressionKD
from kd3d.distill import BatchView, Objective, Outputs, StepContext, Teacher
from kd3d.distill.taps import Taps
from kd3d.profiling.memory import measure_peak

MOST = 0.05
SETTINGS = Path(__file__).parents[1] / "conf" / "kd"
#: Further kinds of an objective, by file: an option and its values.
KINDS = {
    "pp_logit": ("pivots", ("foreground", "confidence", "rank")),
    "mimic": ("rois", ("teacher", "student")),
    "fg": ("mask", ("soft",)),
    "label": ("select_by", ("iou",)),
}


def main() -> None:
    """Print one row per objective."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a quarter as wide, on ±20.48 m")
    parser.add_argument("--repeats", type=int, help="timed rounds (5, or 21 with --small)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--cpu-time", action="store_true", help="seconds of all threads, for a busy machine"
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of files in conf/kd")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    device = torch.device(arguments.device)
    full = not arguments.small
    repeats = arguments.repeats or (5 if full else 21)
    student = build("cp_pillar_v064", full).to(device)
    batch = make_batch(2, full).to(device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    module = Student(student)

    def step() -> None:
        optimizer.zero_grad()
        module.training_step(batch).backward()
        optimizer.step()
        wait(device)

    clock = time.process_time if arguments.cpu_time else time.perf_counter
    (alone,) = interleaved_medians([step], max(3, repeats // 2), clock)
    optimizer.zero_grad(set_to_none=True)
    own = measure_peak(student, step, device)
    optimizer.zero_grad(set_to_none=True)
    gc.collect()

    where = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    size = "full size" if full else "derived small networks"
    print(f"{machine()}{where}")
    print(f"batch 2, {size}, medians of {repeats} rounds; peak memory: {own.method}")
    print(f"{'objective':34} {'forward':>10} {'backward':>10} {'of the step':>11} {'peak':>10}")
    own_step = "(the student's own step)"
    print(f"{own_step:34} {1e3 * alone:18.1f} ms {'':13} {mib(own.activations)}")
    bench = Bench(student, batch, full)
    for name, objective in listed(arguments.only):
        forward, total, peak = bench.measure(objective, repeats, clock)
        share = total / alone
        print(
            f"{name:34} {1e3 * forward:7.1f} ms {1e3 * (total - forward):7.1f} ms "
            f"{share:11.1%} {mib(peak)}{'' if share <= MOST else f'   above {MOST:.0%}'}"
        )


class Bench:
    """Runs single objectives on what both networks gave once.

    Args:
        student: the student.
        batch: what both ran on.
        full: whether networks are of full size.
    """

    def __init__(self, student: Any, batch: PointBatch, full: bool) -> None:
        self.student = student
        self.batch = batch
        device = next(student.parameters()).device
        self.device = device
        taps = ("backbone_2d",)
        self.teacher = Teacher(build("cp_pillar", full).to(device).eval(), taps=taps)
        self.taught = self.teacher.teach(batch)
        listener = Taps(student, taps, "student")
        listener.attach()
        listener.listen()
        with torch.no_grad():
            maps = student(batch)
        captured = listener.collect()
        listener.detach()
        self.outputs = Outputs(maps, captured, "student")
        names = ("heatmap", "center", "center_z", "dim", "rot")
        self.leaves = [getattr(maps, name).requires_grad_() for name in names]
        self.leaves += [feature.requires_grad_() for feature in captured.values()]

    def measure(
        self, objective: Objective, repeats: int, clock: Callable[[], float]
    ) -> tuple[float, float, int]:
        """Give seconds of the forward pass and in all, and the bytes of the peak."""

        def term() -> Tensor | None:
            context = StepContext(
                self.batch,
                self.teacher,
                self.taught,
                BatchView(),
                classes=self.student.classes,
                student_grid=self.student.grid,
            )
            objective.amend(context, self.batch)
            value = objective(self.outputs, self.taught, context) if objective.has_loss else None
            wait(self.device)
            return value

        def both() -> None:
            value = term()
            if value is not None:
                torch.autograd.grad(value, self.leaves, allow_unused=True)
            wait(self.device)

        forward, total = interleaved_medians([term, both], repeats, clock)
        peak = measure_peak(self.student, both, self.device).activations
        return forward, max(total, forward), peak


def listed(only: list[str]) -> Iterator[tuple[str, Objective]]:
    """Build every objective that the settings name, and their kinds; each setting once."""
    seen: list[object] = []
    for path in sorted(SETTINGS.glob("*.yaml")):
        if only and path.stem not in only:
            continue
        objectives = OmegaConf.load(path).get("objectives") or {}
        for name, node in objectives.items():
            if node is None or str(node["_target_"]).startswith("kd3d.Anchor"):
                continue  # switched off, or of heads that these networks do not have
            option, kinds = KINDS.get(path.stem, ("", ()))
            for kind in (None, *kinds):
                if kind is not None:
                    node[option] = kind
                plain = OmegaConf.to_container(node)
                if plain not in seen:
                    seen.append(plain)
                    named = f"{path.stem}: {name}" + (f", {kind}" if kind else "")
                    yield named, instantiate(node)
    if not only:
        yield "regression", RegressionKD(0.2)  # off in the settings of pillars


def mib(size: int) -> str:
    """Write bytes as MiB."""
    return f"{size / 2**20:6.0f} MiB"


if __name__ == "__main__":
    main()
