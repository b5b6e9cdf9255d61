"""Figures that belong to their caller and are written whole."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.errors import OutputError
from kd3d.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["new_figure", "save_figure"]


def new_figure(width: float, height: float) -> "Figure":
    """Make a white figure of `width` x `height` inches without touching pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = 160) -> None:
    """Write a figure through a temporary name; the suffix of `path` names the format.

    Raises:
        OutputError: if the format is unknown or the file cannot be written.
    """
    path = Path(path)
    known = sorted(figure.canvas.get_supported_filetypes())
    kind = path.suffix.removeprefix(".").lower()
    if kind not in known:
        raise OutputError(
            f"{kind or 'no suffix'!r} is not a picture format.",
            where=str(path),
            hint=f"Use one of: {', '.join(known)}.",
        )
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi)
