"""The data card as Markdown."""

from typing import Any

from _card_facts import SIDES
from _markdown import paragraph, table

from kd3d.simulate.sizes import REFERENCES, SIZES, SizeRow
from kd3d.waymo import CLASSES

BEGIN, END = "<!-- card:begin -->", "<!-- card:end -->"

Results = dict[str, Any]


def new_page() -> str:
    """Begin a page that has only the marks."""
    return f"# The simulated benchmark\n\n{BEGIN}\n{END}\n"


def card(results: Results) -> str:
    """Write the whole card."""
    return "\n\n".join(
        (
            "## Data card",
            introduction(results),
            picture("Frames of the test split from above", "sim_frames.png"),
            splits(results),
            "### Objects by class, level and range",
            levels(results),
            "### Points per object",
            points(results),
            picture("Points per object, points and boxes per frame", "sim_points.png"),
            "### Sizes and headings",
            sizes(results),
            references(),
            size_sources(),
            headings(results),
            picture("Histograms of sizes and headings", "sim_sizes.png"),
            "### Beside real sweeps",
            comparison(results),
        )
    )


def picture(what: str, name: str) -> str:
    """Show a picture."""
    return f"![{what}](images/{name})"


def introduction(results: Results) -> str:
    """Say what was counted."""
    return paragraph(
        f"Written by `make data-card` (`docs/make_data_card.py`) from `{results['fingerprint']}`, "
        f"{results['bytes'] / 1e9:.2f} GB; the figures are in "
        "[results/simulated_benchmark.json](results/simulated_benchmark.json). Levels are the "
        "metric's: level 2 are objects with 1 to 5 points, and objects without points do not "
        "count. Rings are by the distance of the centre."
    )


def splits(results: Results) -> str:
    """Count segments and frames."""
    rows = []
    for split, one in results["splits"].items():
        inside, boxes = one["points_per_frame"], one["boxes_per_frame"]
        rows.append(
            [
                split,
                f"{one['segments']:,}",
                f"{one['frames']:,}",
                f"{inside['mean']:,.0f} ({inside['least']:,} to {inside['most']:,})",
                f"{boxes['mean']:.0f} ({boxes['least']} to {boxes['most']})",
                ", ".join(f"{count} {name}" for name, count in one["weather"].items()),
            ]
        )
    heading = [
        "split",
        "segments",
        "frames",
        "points per frame",
        "boxes with points per frame",
        "segments by weather",
    ]
    return table(heading, rows)


def levels(results: Results) -> str:
    """Count objects by split, class, level and ring."""
    rings = results["rings"]
    rows = [
        [
            f"{split}, {name}",
            *(f"{count:,}" for level in ("L1", "L2") for count in counts[level]),
            f"{sum(counts['no points']):,}",
        ]
        for split, one in results["splits"].items()
        for name, counts in one["boxes"].items()
    ]
    columns = [f"{level}, {ring}" for level in ("L1", "L2") for ring in rings]
    return table(["boxes", *columns, "without points"], rows)


def points(results: Results) -> str:
    """Show how many points objects have."""
    rows = [
        [
            f"{name}, {ring}",
            f"{one['objects']:,}",
            percent(one["without_points"]),
            *(f"{value:,.0f}" for value in one["quantiles"] or ["-"] * len(results["quantiles"])),
        ]
        for name, facts in results["classes"].items()
        for ring, one in facts["points"].items()
        if one["objects"]
    ]
    columns = [f"{100 * share:.0f} %" for share in results["quantiles"]]
    told = paragraph(
        "All splits. Of the objects that have points, the stated share has at most so many:"
    )
    return f"{told}\n\n{table(['objects', 'number', 'without points', *columns], rows)}"


def sizes(results: Results) -> str:
    """Show the sizes that came out."""
    rows = []
    for name, facts in results["classes"].items():
        cells = []
        for side in SIDES:
            one = facts["sizes"].get(side)
            if one is None:
                cells += ["-", "-"]
                continue
            low, high = one["quantiles"][0], one["quantiles"][-1]
            cells += [f"{one['mean']:.2f} ± {one['deviation']:.2f}", f"{low:.2f} to {high:.2f}"]
        rows.append([name, *cells])
    columns = [text for side in SIDES for text in (f"{side}, m", "80 % lie in")]
    told = paragraph("Mean and standard deviation over all labelled objects, frame by frame:")
    return f"{told}\n\n{table(['class', *columns], rows)}"


def references() -> str:
    """Show the published means of whole classes."""
    rows = [
        [one.name, *(f"{size:.2f}" for size in one.size), one.source]
        for one in sorted(REFERENCES, key=lambda one: CLASSES.index(one.class_name))
    ]
    told = paragraph("Published means of whole classes, to compare with, in metres:")
    return f"{told}\n\n{table(['class', *SIDES, 'source'], rows)}"


def size_sources() -> str:
    """Show what the sizes are drawn from, kind by kind, with the sources."""
    kinds: dict[tuple[str, str], list[SizeRow]] = {}
    for row in SIZES:
        kinds.setdefault((row.class_name, row.kind), []).append(row)
    rows = []
    for (name, kind), drawn in kinds.items():
        cells = {row.quantity: f"{row.mean:.2f} ± {row.spread:.2f}" for row in drawn}
        height = cells.get("height") or cells.get("stature", "")
        sides = [cells.get("length", ""), cells.get("width", ""), height]
        rows.append([f"{name}, {kind}", *sides, told_once([row.source for row in drawn])])
    told = paragraph(
        "What the sizes of labels are drawn from (`kd3d.simulate.sizes`): mean and spread in "
        "metres, cut at two and a half spreads. The height of people is their stature. Where a "
        "source states only a mean or a single model, the spread is a choice."
    )
    return f"{told}\n\n{table(['kind', *SIDES, 'source'], rows)}"


def told_once(sources: list[str]) -> str:
    """Join sources, leaving out those that another one repeats."""
    different = list(dict.fromkeys(sources))
    return "; ".join(
        one
        for one in different
        if not any(other != one and other.startswith(one) for other in different)
    )


def headings(results: Results) -> str:
    """Show how objects are turned against the recording car."""
    rows = []
    for name, facts in results["classes"].items():
        counts = facts["headings_by_15_degrees"]
        total = max(sum(counts), 1)
        # bin k is from -180 + 15 k to -165 + 15 k degrees
        parts = {
            "ahead": counts[11:13],
            "oncoming": [counts[0], counts[-1]],
            "to the left": counts[17:19],
            "to the right": counts[5:7],
        }
        shares = [sum(part) / total for part in parts.values()]
        rows.append([name, *(percent(share) for share in (*shares, 1 - sum(shares)))])
    columns = ["ahead", "oncoming", "to the left", "to the right", "between"]
    told = paragraph("Headings within 15 degrees of these directions of the recording car:")
    return f"{told}\n\n{table(['class', *columns], rows)}"


def comparison(results: Results) -> str:
    """Compare with real sweeps, if there were any."""
    made, real = results["simulated_sweeps"], results["real_sweeps"]
    strips = picture("Range images", "sim_strips.png")
    both = picture("Points per object and intensity", "sim_real_points.png")
    if real is None:
        note = paragraph("The real sweeps were not there when this page was written.")
        return "\n\n".join((note, both, strips))
    told = paragraph(
        f"{real['sweeps']} real sweeps of one place (Argoverse 2 sensor dataset sample, "
        "CC BY-NC-SA 4.0, re-packed as Waymo records) and single sweeps of "
        f"{made['sweeps']} simulated scenes with the full sensor of `kd3d-sim`, its roof's alone; "
        "objects within 75 m. The sensors differ: the real one is two stacked 32-beam sensors "
        "seen as one, whose 64 rows spread over 49 degrees; the simulated one has Waymo's, 64 "
        "beams over 20 degrees, so that an object of the same distance gets several times the "
        "points. The scales of intensity differ too, and one real place says little about numbers "
        "of objects. How points thin out with distance, how edges fray and which surfaces are "
        "bright can be compared."
    )
    rows = [
        [what, *(f"{one[key]:,}" for one in (made, real))]
        for what, key in (("points per sweep", "points_per_sweep"), ("objects", "objects"))
    ]
    rows.append(["second returns", *(percent(one["second_returns"]) for one in (made, real))])
    rows.append(
        [
            "intensity: 10 %, half, 90 % of the points have at most",
            *(
                f"{q[0]:.3f}, {q[2]:.3f}, {q[4]:.3f}"
                for q in (made["intensity"], real["intensity"])
            ),
        ]
    )
    rows += [
        [f"points, half of {name}, {ring}, have at most", *(cells)]
        for name in made["points"]
        for ring in results["rings"]
        if any(cells := [median(one["points"][name][ring]) for one in (made, real)])
    ]
    return "\n\n".join(
        (
            told,
            picture("A real and a simulated sweep from above", "sim_real_bev.png"),
            table(["", "simulated", "real"], rows),
            both,
            strips,
        )
    )


def median(quantiles: list[float]) -> str:
    """Give the middle one, or nothing."""
    return f"{quantiles[len(quantiles) // 2]:,.0f}" if quantiles else ""


def percent(share: float | None) -> str:
    """Write a share."""
    return "-" if share is None else f"{100 * share:.0f} %"
