"""The table of smaller students in docs/cost.md: cost from here, accuracy from stored results."""

from typing import Any

from _markdown import paragraph, table

from kd3d.detectors import create_detector
from kd3d.profiling import cost_performance, profile, simulated_frame

GIGA, MEGA = 1e9, 1e6


def student_table(results: dict[str, Any]) -> str:
    """Show students of other widths, depths and cells: cost from here, accuracy from the results.

    `results` holds ``command`` and ``machine`` (text), ``frame`` (arguments of
    `kd3d.profiling.simulated_frame`), ``teachers`` (family to student) and ``students``. A student
    has ``name``, ``family``, ``detector`` (of `kd3d.list_detectors`), ``changes`` (arguments of
    `kd3d.create_detector`), ``l2_maph`` (percent, mean over its seeds), ``seeds`` and ``steps``.
    """
    frame = simulated_frame(**results.get("frame", {}))
    options: dict[str, Any] = {"repeats": 0, "memory": False}
    parts = [
        "## Which student?",
        paragraph(
            "Students that differ from their teacher in width, depth or size of cells, by "
            f"`{results['command']}` on {results['machine']}. Short runs on simulated data: they "
            "rank what learns fast on this benchmark, not what ends best on Waymo: deep and fine "
            "networks are far from done after so few steps, and one seed decides nothing. CPR: "
            "`kd3d.cost_performance`, a reconstruction of the paper's ratio of cost and "
            "performance; higher is better. It is left out where a student beats its unfinished "
            "teacher by more than half, since it then says nothing."
        ),
    ]
    for family, teacher in results["teachers"].items():
        members = [one for one in results["students"] if one["family"] == family]
        costs = [
            profile(create_detector(one["detector"], **one["changes"]), frame, **options)
            for one in (teacher, *members)
        ]
        rows = []
        finished = max(one["l2_maph"] for one in members) <= 1.5 * teacher["l2_maph"]
        for one, cost in zip((teacher, *members), costs, strict=True):
            ratio = cost_performance(
                one["l2_maph"], teacher["l2_maph"], cost.activations, costs[0].activations
            )
            rows.append(
                [
                    one["name"],
                    f"`{one['detector']}`",
                    f"{cost.parameters:,}",
                    f"{cost.root.cost.true.macs / GIGA:.3f}",
                    f"{cost.root.cost.paper.macs / GIGA:.3f}",
                    f"{cost.activations / MEGA:.3f}",
                    f"{one['l2_maph']:.2f}",
                    f"{len(one['seeds'])} x {one['steps']:,}",
                    f"{ratio:.3f}" if finished else "",
                ]
            )
        heading = [
            family,
            "from",
            "parameters",
            "MACs G, true",
            "paper's count",
            "activations M",
            "L2 mAPH",
            "seeds x steps",
            "CPR",
        ]
        parts.append(table(heading, rows))
    return "\n\n".join(parts)
