"""Colours of the pictures: dark on light, and distinct for colour-blind readers."""

__all__ = [
    "CLASS_COLOURS",
    "GROUND_TRUTH",
    "GUIDE",
    "INK",
    "POINT_RAMP",
    "RUN_COLOURS",
    "SOURCE_COLOURS",
    "class_colour",
]

#: Colours by class id, repeated beyond the last (Okabe and Ito 2008, "Color universal design").
CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Colours of runs in plots: the first (a teacher, a baseline) is neutral.
RUN_COLOURS = ("#64717F", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00")
#: Boxes in 3D by source, the ground truth first: they show on black and on white.
SOURCE_COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#D55E00")
#: Outlines of the ground truth.
GROUND_TRUTH = "#1F2933"
#: Titles, scale bars and labels.
INK = "#1F2933"
#: Frames, grid lines and other things that should stay in the background.
GUIDE = "#C4CCD4"
#: Points from the lowest to the highest, all lighter than any box.
POINT_RAMP = ("#DDE2E8", "#B9C3CE", "#8E9BA9", "#64717F")


def class_colour(label: int) -> str:
    """Give the colour of a class id; negative ids (no class) are drawn in ink."""
    return INK if label < 0 else CLASS_COLOURS[label % len(CLASS_COLOURS)]
