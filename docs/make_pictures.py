"""Draw the pictures of the documentation: ``python docs/make_pictures.py``."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Arc, FancyArrowPatch, Polygon, Rectangle

from kd3d.geometry import BEVGrid, corners_bev
from kd3d.visualize.figures import new_figure, save_figure
from kd3d.visualize.palette import CLASS_COLOURS, GUIDE, INK, POINT_RAMP

IMAGES = Path(__file__).parent / "images"
BLUE, VERMILION, GREEN = CLASS_COLOURS[:3]
QUIET = POINT_RAMP[-1]
#: x, y, z, length, width, height, heading.
BOX = (6.0, 3.4, 0.8, 4.6, 2.0, 1.6, 0.55)


def main() -> None:
    """Draw frames, a box from two sides, headings, corners, and the bird's-eye-view grid."""
    figure = new_figure(13.2, 8.4)
    (frames, above, side), (headings, corners, grid) = figure.subplots(2, 3)
    draw_frames(frames)
    draw_from_above(above)
    draw_from_the_side(side)
    draw_headings(headings)
    draw_corners(corners)
    draw_grid(grid)
    save_figure(figure, IMAGES / "coordinates.png")


def draw_frames(axes: Axes) -> None:
    """Draw the global frame, the vehicle in it, and a sensor on the vehicle."""
    prepare(axes, "Frames, from above", (-1.6, 12.4), (-1.4, 10.6))
    draw_cross(axes, (0, 0), 0.0, 2.2, QUIET)
    label(axes, 0.1, -0.75, "global: fixed to the map", QUIET, ha="left")
    pose = (6.2, 3.6, 0.6)
    body = torch.tensor([[pose[0] + 0.9, pose[1] + 0.6, 0.0, 5.6, 2.4, 1.5, pose[2]]])
    outline = corners_bev(body)[0].numpy()
    axes.add_patch(Polygon(outline, facecolor="#F3F5F7", edgecolor=GUIDE, linewidth=1.2))
    draw_cross(axes, pose[:2], pose[2], 2.6, INK)
    label(axes, 8.75, 5.6, "x forward", INK, ha="left")
    label(axes, 4.4, 6.15, "y left", INK)
    label(axes, 6.5, 2.5, "vehicle: points and boxes", INK, ha="left")
    sensor = (7.25, 4.95)
    draw_cross(axes, sensor, pose[2] + 0.9, 1.5, GREEN)
    label(axes, 7.6, 7.1, "sensor: one per laser", GREEN, ha="left")
    arrow(axes, (0.15, 0.1), (pose[0] - 0.25, pose[1] - 0.15), VERMILION)
    label(axes, 2.6, 2.35, "pose [4, 4]", VERMILION, ha="right")
    label(axes, 5.4, 9.9, "global = pose @ vehicle;  vehicle = extrinsic @ sensor", INK)


def draw_headings(axes: Axes) -> None:
    """Draw a box that looks into each of four directions."""
    prepare(axes, "Headings: counter-clockwise from x, radians", (-8.2, 8.2), (-7.03, 7.03))
    draw_cross(axes, (0, 0), 0.0, 2.3, INK)
    label(axes, 2.2, -0.4, "x", INK)
    label(axes, -0.35, 2.2, "y", INK)
    axes.add_patch(Arc((0, 0), 3.2, 3.2, theta1=8, theta2=66, color=VERMILION))
    arrow(axes, (0.75, 1.41), (0.55, 1.5), VERMILION)
    names = ("0", "π/4", "π/2", "3π/4", "±π", "-3π/4", "-π/2", "-π/4")
    for step, name in enumerate(names):
        angle = torch.tensor(step * torch.pi / 4)
        x, y = (5.0 * angle.cos()).item(), (5.0 * angle.sin()).item()
        colour = BLUE if step % 2 == 0 else QUIET
        box = torch.tensor([[x, y, 0.0, 2.4, 1.1, 1.5, angle.item()]])
        outline = corners_bev(box)[0].numpy()
        axes.add_patch(Polygon(outline, facecolor=f"{colour}30", edgecolor=colour, linewidth=1.4))
        tip = (6.7 * angle.cos()).item(), (6.7 * angle.sin()).item()
        arrow(axes, (x, y), tip, colour)
        label(axes, (3.15 * angle.cos()).item(), (3.15 * angle.sin()).item(), name, colour)


def draw_corners(axes: Axes) -> None:
    """Number the corners of a box."""
    prepare(axes, "Corners, from above", (-4.4, 4.4), (-3.77, 3.77))
    box = torch.tensor([[0.0, 0.0, 0.0, 4.6, 2.2, 1.6, 0.35]])
    corners = corners_bev(box)[0]
    axes.add_patch(Polygon(corners.numpy(), facecolor=f"{BLUE}30", edgecolor=BLUE, linewidth=1.6))
    arrow(axes, (0, 0), (3.2 * 0.939, 3.2 * 0.343), BLUE)
    label(axes, 3.2, 1.5, "front", BLUE)
    names = ("0 front left", "1 rear left", "2 rear right", "3 front right")
    for corner, name in zip(corners, names, strict=True):
        x, y = corner.tolist()
        axes.plot(x, y, "o", color=VERMILION, markersize=5, zorder=5)
        label(axes, x * 1.1, y + (0.45 if y > 0 else -0.45), name, VERMILION)
    label(axes, 0, -2.9, "4 to 7: the same above (corners_3d)", QUIET)


def draw_cross(
    axes: Axes, origin: tuple[float, float], angle: float, length: float, colour: str
) -> None:
    """Draw the x and y axes of a frame."""
    x, y = origin
    turn = torch.tensor(angle)
    cos, sin = length * turn.cos().item(), length * turn.sin().item()
    arrow(axes, origin, (x + cos, y + sin), colour)
    arrow(axes, origin, (x - sin, y + cos), colour)
    axes.plot(x, y, "o", color=colour, markersize=4.5, zorder=5)


def draw_from_above(axes: Axes) -> None:
    """Draw the vehicle frame and the five numbers of a box that are seen from above."""
    prepare(axes, "Vehicle frame and box, from above", (-2.6, 11.4), (-2.9, 9.1))
    draw_ego(axes)
    arrow(axes, (0, 0), (4.2, 0), INK)
    arrow(axes, (0, 0), (0, 4.2), INK)
    label(axes, 4.4, 0, "x forward", INK, ha="left")
    label(axes, 0, 4.5, "y left", INK)
    box = torch.tensor([BOX])
    x, y, _, length, width, _, _ = BOX
    corners = corners_bev(box)[0]
    axes.add_patch(Polygon(corners.numpy(), facecolor=f"{BLUE}30", edgecolor=BLUE, linewidth=1.6))
    forward = torch.tensor((torch.cos(box[0, 6]), torch.sin(box[0, 6])))
    leftward = torch.tensor((-forward[1], forward[0]))
    centre = box[0, :2]
    tip = centre + forward * (length / 2 + 1.1)
    arrow(axes, tuple(centre.tolist()), tuple(tip.tolist()), BLUE)
    axes.plot([x, x + 3.9], [y, y], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.add_patch(Arc((x, y), 6.6, 6.6, theta2=torch.rad2deg(box[0, 6]).item(), color=VERMILION))
    label(axes, x + 3.55, y + 0.95, "heading", VERMILION, ha="left")
    axes.plot(x, y, "o", color=BLUE, markersize=4.5)
    label(axes, x - 0.2, y - 0.5, "(x, y)", BLUE)
    rear_left = centre - forward * length / 2 + leftward * (width / 2 + 0.35)
    front_left = centre + forward * length / 2 + leftward * (width / 2 + 0.35)
    span(axes, rear_left, front_left, "length", leftward)
    rear = centre - forward * (length / 2 + 0.35)
    span(axes, rear - leftward * width / 2, rear + leftward * width / 2, "width", -forward)


def draw_from_the_side(axes: Axes) -> None:
    """Draw the height of a box and the z of its centre."""
    prepare(axes, "Box, from the side", (-4.0, 4.2), (-2.4, 4.63))
    x, half = 0.2, 2.3
    axes.axhline(0, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    label(axes, 4.05, -0.3, "z = 0 of the vehicle frame", QUIET, ha="right")
    base, height = 0.5, 1.6
    rectangle = Rectangle(
        (x - half, base), 2 * half, height, facecolor=f"{BLUE}30", edgecolor=BLUE, linewidth=1.6
    )
    axes.add_patch(rectangle)
    centre = (x, base + height / 2)
    axes.plot(*centre, "o", color=BLUE, markersize=4.5)
    arrow(axes, centre, (x + half + 0.8, centre[1]), BLUE)
    label(axes, x + half + 0.15, centre[1] + 0.35, "front", BLUE, ha="left")
    arrow(axes, (x, 0), (x, centre[1] - 0.1), VERMILION)
    label(axes, x + 0.15, 0.25, "z of the centre", VERMILION, ha="left")
    low, high = (
        torch.tensor((x - half - 0.35, base)),
        torch.tensor((x - half - 0.35, base + height)),
    )
    span(axes, low, high, "height", torch.tensor((-1.0, 0.0)), rotation=90)
    arrow(axes, (-3.4, 2.6), (-3.4, 3.8), INK)
    label(axes, -3.4, 4.05, "z up", INK)


def draw_grid(axes: Axes) -> None:
    """Draw a small grid with the numbers of its cells and one position in it."""
    prepare(axes, "Grid: maps are [..., row, column]", (-6.6, 6.6), (-5.7, 5.62))
    grid = BEVGrid.from_range((-4.8, -4.0, -2.0, 4.8, 4.0, 4.0), (1.6, 1.6))
    right = grid.x_min + grid.width * grid.cell_x
    top = grid.y_min + grid.height * grid.cell_y
    for column in range(grid.width + 1):
        place = grid.x_min + column * grid.cell_x
        axes.plot([place, place], [grid.y_min, top], color=GUIDE, linewidth=0.9, zorder=1)
    for row in range(grid.height + 1):
        place = grid.y_min + row * grid.cell_y
        axes.plot([grid.x_min, right], [place, place], color=GUIDE, linewidth=0.9, zorder=1)
    centers = grid.centers()
    for row in range(grid.height):
        for column in range(grid.width):
            x, y = centers[row, column].tolist()
            label(axes, x, y, f"{row}, {column}", QUIET, fontsize=7.5)
    for column in range(grid.width):
        label(axes, centers[0, column, 0].item(), grid.y_min - 0.4, str(column), INK)
    for row in range(grid.height):
        label(axes, grid.x_min - 0.4, centers[row, 0, 1].item(), str(row), INK)
    label(axes, 0.8, grid.y_min - 1.05, "column, along x", INK)
    label(axes, grid.x_min - 1.0, 0, "row, along y", INK, rotation=90)
    draw_position(axes, grid, torch.tensor((3.0, 1.9)))
    axes.plot(grid.x_min, grid.y_min, "s", color=GREEN, markersize=5, zorder=5)
    label(axes, grid.x_min, grid.y_min - 1.05, "(x_min, y_min)", GREEN)
    axes.plot([grid.x_min] * 2, [grid.y_min, grid.y_min - 0.75], color=GREEN, linewidth=0.9)


def draw_position(axes: Axes, grid: BEVGrid, position: torch.Tensor) -> None:
    """Shade the cell of a position and write its continuous cell coordinates."""
    column, row = grid.to_cells(position).tolist()
    corner = grid.to_metres(torch.tensor((float(int(column)), float(int(row))))).tolist()
    cell = Rectangle(corner, grid.cell_x, grid.cell_y, facecolor=f"{VERMILION}25", edgecolor="none")
    axes.add_patch(cell)
    x, y = position.tolist()
    axes.plot(x, y, "o", color=VERMILION, markersize=4.5, zorder=5)
    text = f"({x:.1f}, {y:.1f}) m  →  column {column:.2f}, row {row:.2f}"
    axes.annotate(
        text,
        (x, y),
        (x - 1.0, grid.y_min + grid.height * grid.cell_y + 0.8),
        ha="center",
        va="center",
        fontsize=8.5,
        color=VERMILION,
        arrowprops={
            "arrowstyle": "-",
            "color": VERMILION,
            "linewidth": 0.9,
            "relpos": (0.645, 0.0),
        },
    )


def prepare(axes: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Set title and limits, and take away ticks and spines."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GUIDE)


def draw_ego(axes: Axes) -> None:
    """Draw the outline of the vehicle that carries the sensors."""
    outline = Rectangle((-1.2, -1.0), 4.6, 2.0, facecolor="#F3F5F7", edgecolor=GUIDE, linewidth=1.2)
    axes.add_patch(outline)
    axes.plot(0, 0, "o", color=INK, markersize=4.5)


def arrow(axes: Axes, start: tuple[float, ...], end: tuple[float, ...], colour: str) -> None:
    """Draw an arrow from `start` to `end`."""
    patch = FancyArrowPatch(
        (start[0], start[1]),
        (end[0], end[1]),
        arrowstyle="-|>",
        mutation_scale=11,
        color=colour,
        linewidth=1.5,
        shrinkA=0,
        shrinkB=0,
        zorder=4,
    )
    axes.add_patch(patch)


def span(
    axes: Axes,
    start: torch.Tensor,
    end: torch.Tensor,
    text: str,
    outward: torch.Tensor,
    rotation: float | None = None,
) -> None:
    """Draw a double arrow with its name on the outer side."""
    patch = FancyArrowPatch(
        tuple(start.tolist()),
        tuple(end.tolist()),
        arrowstyle="<->",
        mutation_scale=9,
        color=INK,
        linewidth=1.0,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(patch)
    along = end - start
    angle = torch.rad2deg(torch.atan2(along[1], along[0])).item() if rotation is None else rotation
    x, y = ((start + end) / 2 + outward * 0.35).tolist()
    label(axes, x, y, text, INK, rotation=angle if abs(angle) <= 90 else angle - 180)


def label(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    ha: str = "center",
    rotation: float = 0.0,
    fontsize: float = 9.0,
) -> None:
    """Write text centred vertically on a position."""
    axes.text(
        x,
        y,
        text,
        color=colour,
        ha=ha,
        va="center",
        rotation=rotation,
        rotation_mode="anchor",
        fontsize=fontsize,
        zorder=6,
    )


if __name__ == "__main__":
    main()
