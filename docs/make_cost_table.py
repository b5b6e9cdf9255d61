"""Write docs/cost.md: ``python docs/make_cost_table.py``, or ``make cost-table``.

All networks are profiled on one simulated frame, with new weights. The last part of the page, on
smaller students, is written if docs/results/which_student.json is there (see `student_table`).
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _markdown import paragraph, table
from _student_table import student_table
from torch import nn

from kd3d.cli.environment import describe_machine
from kd3d.detectors import BEVDetector, create_detector
from kd3d.files import write_text
from kd3d.profiling import Cost, Profile, profile, simulated_frame
from kd3d.structures import PointBatch

PAGE = Path(__file__).parent / "cost.md"
STUDENTS = Path(__file__).parent / "results" / "which_student.json"
GIGA, MEGA, MIB = 1e9, 1e6, 2**20


@dataclass(frozen=True)
class Published:
    """A row of the authors' tables: parameters in M, "Flops" (MACs) in G, activations in M."""

    parameters: float
    flops: float
    activations: float


# SparseKD (Yang et al., NeurIPS 2022): the cost columns of its model tables.
PUBLISHED = {
    "cp_voxel": Published(7.759, 114.8, 101.9),
    "cp_voxel_s": Published(4.038, 47.8, 65.7),
    "cp_voxel_xs": Published(2.823, 36.9, 58.4),
    "cp_voxel_xxs": Published(1.013, 12.0, 33.1),
    "cp_pillar": Published(5.224, 333.9, 303.0),
    "cp_pillar_v040": Published(5.224, 212.9, 197.7),
    "cp_pillar_v048": Published(5.224, 149.4, 142.3),
    "cp_pillar_v064": Published(5.224, 85.1, 88.0),
}
#: They compare with these, but do not give their cost.
ANCHOR_DETECTORS = ("second", "pointpillar")
NETWORKS = (*PUBLISHED, *ANCHOR_DETECTORS)
VOXELS = [name for name in PUBLISHED if "voxel" in name]
PILLARS = [name for name in PUBLISHED if "pillar" in name]
#: Half ranges in metres under which the published rows of pillars are looked at.
OTHER_RANGES = {"cp_pillar_v048": 73.92}


def main() -> None:
    """Profile the networks and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed passes of each network")
    parser.add_argument("--page", type=Path, default=PAGE, help="the file to write")
    parser.add_argument("--students", type=Path, default=STUDENTS, help="results of students")
    arguments = parser.parse_args()
    frame = simulated_frame(seed=0)
    profiles = {}
    for name in NETWORKS:
        profiles[name] = profile(create_detector(name), frame, repeats=arguments.repeats)
        print(profiles[name].name, f"{profiles[name].macs / GIGA:.3f} GMACs")
    dense = {name: dense_cost(name) for name in NETWORKS}
    sections = [
        introduction(frame),
        main_table(profiles),
        counting(dense, profiles),
        pillar_rows(dense, profiles["cp_pillar"]["vfe"].cost),
        voxel_rows(dense),
    ]
    if arguments.students.is_file():
        sections.append(student_table(json.loads(arguments.students.read_text(encoding="utf-8"))))
    write_text(arguments.page, "\n\n".join(sections) + "\n")
    print(f"written: {arguments.page}")


def dense_cost(name: str, **changes: Any) -> Cost:  # noqa: ANN401 - arguments of the detector
    """Count 2D backbone and head on the whole grid, without running them: on the meta device."""
    detector = create_detector(name, **changes).to("meta")
    assert isinstance(detector, BEVDetector)
    weight = next(detector.backbone_2d.parameters())
    features = torch.empty(1, weight.shape[1], *detector.grid.shape, device="meta")
    dense = profile(
        nn.ModuleList((detector.backbone_2d, detector.dense_head)),
        features,
        call=lambda parts, maps: parts[1](parts[0](maps), detector.grid),
        repeats=0,
        memory=False,
    )
    return dense.root.cost


def introduction(frame: PointBatch) -> str:
    """Say what was run, and where."""
    where = "" if frame.device.type == "cuda" else " They are times of the CPU."
    return "\n\n".join(
        (
            "# What the networks cost",
            paragraph(
                "Written by `make cost-table` (`docs/make_cost_table.py`). Every network runs, "
                "with new weights, on the same simulated full-range frame of "
                f"{len(frame.points):,} points (seed 0). The same for any "
                "network and data: `kd3d-profile`, or `kd3d.profile` from Python."
            ),
            paragraph(
                f"Machine of the times: {describe_machine()}; torch {torch.__version__}, "
                f"threads: {torch.get_num_threads()}.{where}"
            ),
        )
    )


def main_table(profiles: dict[str, Profile]) -> str:
    """Compare our counts on the simulated frame with the published ones."""
    rows = []
    for name, one in profiles.items():
        true, paper, published = one.root.cost.true, one.root.cost.paper, PUBLISHED.get(name)
        assert one.memory is not None
        assert one.latency_ms is not None
        rows.append(
            [
                f"`{name}`",
                f"{one.parameters:,}",
                f"{published.parameters:.3f} M" if published else "",
                f"{true.macs / GIGA:.1f}",
                f"{paper.macs / GIGA:.1f}",
                f"{published.flops:.1f}" if published else "",
                f"{true.activations / MEGA:.1f}",
                f"{paper.activations / MEGA:.1f}",
                f"{published.activations:.1f}" if published else "",
                f"{one.latency_ms:,.0f}",
                f"{one.memory.total / MIB:,.0f}",
            ]
        )
    heading = [
        "network",
        "parameters",
        "published",
        "MACs G, true",
        "paper's count",
        'published "Flops"',
        "activations M, true",
        "paper's count",
        "published",
        "ms",
        "MiB",
    ]
    return "\n\n".join(
        (
            "## Ten networks, one frame",
            table(heading, rows),
            paragraph(
                '"Published": the authors\' tables, which leave out the cost of the two anchor '
                "detectors; what they call Flops are multiply-accumulates (MACs). FLOPs are twice "
                "the MACs. ms: median from raw points to boxes after suppression. MiB: weights and "
                "the most that live tensors hold at once. The published values are means over a "
                "Waymo sequence; what depends on the frame (pillar encoder, 3D backbone) differs "
                "here, and the rest is compared below to the "
                "digit."
            ),
        )
    )


def counting(dense: dict[str, Cost], profiles: dict[str, Profile]) -> str:
    """Show the two conventions on what does not depend on the frame."""
    rows = []
    for name, cost in dense.items():
        transposed = [module for module in profiles[name].root.walk() if module.transposed]
        true = sum(module.cost.true.macs for module in transposed)
        paper = sum(module.cost.paper.macs for module in transposed)
        rows.append(
            [
                f"`{name}`",
                f"{cost.true.macs / GIGA:.3f}",
                f"{true / GIGA:.3f}",
                f"{cost.paper.macs / GIGA:.3f}",
                f"{paper / GIGA:.3f}",
                f"{cost.paper.macs / cost.true.macs:.2f}",
                f"{cost.true.activations / MEGA:.3f}",
            ]
        )
    heading = [
        "network",
        "MACs G, true",
        "of them transposed",
        "paper's count",
        "of it transposed",
        "ratio",
        "activations M",
    ]
    return "\n\n".join(
        (
            "## Two ways of counting",
            "2D backbone and head, which cost the same on every frame:",
            table(heading, rows),
            paragraph(
                "The counter behind the published tables takes a transposed convolution for a "
                "convolution: output elements x input channels x kernel area. An output element of "
                "a transposed convolution whose kernel equals its stride s comes from one input "
                "element only, so this is s x s times too much: 4 times at stride 2, 16 times at "
                "stride 4. Smaller differences: it adds one for a bias and two per element for a "
                "norm, and it counts the rows that pad every pillar to its most points, which kd3d "
                "does not compute. Within one family the ratios of networks hardly change; between "
                "pillars and voxels they do. `convention=true` (default) and `convention=paper` "
                "choose which of the two is called a network's MACs; both are always shown."
            ),
        )
    )


def pillar_rows(dense: dict[str, Cost], encoder: Cost) -> str:
    """Predict the published Flops of pillars from their published activations."""
    per_activation = encoder.paper.macs / encoder.paper.activations
    rows = []
    for name in PILLARS:
        rows.append(pillar_row(name, dense[name], per_activation))
        if name in OTHER_RANGES:
            bound = OTHER_RANGES[name]
            changes = {"point_cloud_range": (-bound, -bound, -2.0, bound, bound, 4.0)}
            other = dense_cost(name, **changes)
            rows.append(pillar_row(name, other, per_activation, **changes))
    heading = [
        "network",
        "range",
        "cells",
        "activations left for the encoder, M",
        "predicted, G",
        "published, G",
        "",
    ]
    cells = solved_cells(dense["cp_pillar"], per_activation)
    return "\n\n".join(
        (
            "## Published rows on other grids",
            paragraph(
                "The cost of the pillar encoder depends on the frame, but its MACs and its "
                f"activations are in a fixed ratio ({per_activation:.3f} in the paper's count). So "
                "the published activations, less those of the dense part, predict the published "
                "Flops:"
            ),
            table(heading, rows),
            paragraph(
                "The row of `cp_pillar_v048` belongs to a range of ±73.92 m, not to the configured "
                "±74.88 m: with it the prediction agrees to the digit. The row of `cp_pillar` "
                "belongs to no grid: its Flops and activations agree with each other only at "
                f"{cells:.2f} x {cells:.2f} cells, which the network cannot have (its strides need "
                "a multiple of 4)."
            ),
        )
    )


def pillar_row(
    name: str,
    dense: Cost,
    per_activation: float,
    **changes: Any,  # noqa: ANN401 - arguments of the detector
) -> list[str]:
    """Give one prediction."""
    published, grid = PUBLISHED[name], create_detector(name, **changes).grid
    left = published.activations - dense.paper.activations / MEGA
    predicted = dense.paper.macs / GIGA + left * per_activation / (GIGA / MEGA)
    # half a unit of the last printed digit of both numbers
    slack = 0.05 + 0.05 * per_activation / (GIGA / MEGA)
    return [
        f"`{name}`",
        f"±{-grid.x_min:.2f} m",
        f"{grid.width} x {grid.height}",
        f"{left:.2f}",
        f"{predicted:.2f}",
        f"{published.flops:.1f}",
        "reproduced" if abs(predicted - published.flops) <= slack else "not reproduced",
    ]


def solved_cells(dense: Cost, per_activation: float) -> float:
    """Give the cells per side at which both published numbers of CP-Pillar hold.

    Every term of the dense part is proportional to the number of cells.
    """
    grid = create_detector("cp_pillar").grid
    cells = grid.width * grid.height
    published = PUBLISHED["cp_pillar"]
    left = published.flops * GIGA - per_activation * published.activations * MEGA
    per_cell = (dense.paper.macs - per_activation * dense.paper.activations) / cells
    return float((left / per_cell) ** 0.5)


def voxel_rows(dense: dict[str, Cost]) -> str:
    """Show that the published voxel rows hold only in the paper's convention."""
    rows = []
    for name in VOXELS:
        flops = PUBLISHED[name].flops
        factor = create_detector(name).spec()["arguments"]["width"]["backbone_3d"]
        rows.append(
            [
                f"`{name}`",
                f"{factor:g}",
                f"{flops - dense[name].paper.macs / GIGA:.2f}",
                f"{flops - dense[name].true.macs / GIGA:.2f}",
            ]
        )
    heading = ["network", "width of the 3D backbone", "left, paper's count G", "left, true G"]
    return "\n\n".join(
        (
            paragraph(
                "What the dense part leaves of the published Flops of voxel networks belongs to "
                "their 3D backbones. `cp_voxel` and `cp_voxel_s` have the same one, and the others "
                "cost the square of their width. In the paper's count this holds; in the true one "
                "it does not, which settles how the published numbers were counted:"
            ),
            table(heading, rows),
        )
    )


if __name__ == "__main__":
    main()
