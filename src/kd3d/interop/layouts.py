"""The two orders of axes in which spconv has stored the weights of sparse convolutions."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kd3d.errors import CheckpointError, ConfigError

__all__ = ["Layout", "check_layout", "decide_layout", "from_ours", "shape_from_ours", "to_ours"]

Layout = Literal["spconv1", "spconv2"]
"""spconv 1.x: (kz, ky, kx, in, out); spconv 2.x, and ours: (out, kz, ky, kx, in)."""

Shape = tuple[int, ...]

TO_OURS: dict[Layout, Shape] = {"spconv1": (4, 0, 1, 2, 3), "spconv2": (0, 1, 2, 3, 4)}
FROM_OURS: dict[Layout, Shape] = {"spconv1": (1, 2, 3, 4, 0), "spconv2": (0, 1, 2, 3, 4)}
KERNEL: dict[Layout, slice] = {"spconv1": slice(0, 3), "spconv2": slice(1, 4)}


def check_layout(layout: str, *, automatic: bool = True) -> None:
    """Make sure that there is such a layout, or that it is "auto" where that is `automatic`.

    Raises:
        ConfigError: if not.
    """
    known = [*(["auto"] if automatic else []), *TO_OURS]
    if layout not in known:
        raise ConfigError(f"no layout {layout!r}.", where="layout", hint=f"Try {', '.join(known)}.")


def to_ours(weight: Tensor, layout: Layout) -> Tensor:
    """View a sparse weight of another layout in ours."""
    return weight.permute(TO_OURS[layout])


def from_ours(weight: Tensor, layout: Layout) -> Tensor:
    """View one of our sparse weights in another layout."""
    return weight.permute(FROM_OURS[layout])


def shape_from_ours(shape: Shape, layout: Layout) -> Shape:
    """Say which shape a sparse weight of ours has in another layout."""
    return tuple(shape[axis] for axis in FROM_OURS[layout])


def decide_layout(shapes: Mapping[str, tuple[Shape, Shape]]) -> Layout | None:
    """Find the one layout of a checkpoint: that which every telling tensor agrees on.

    A tensor tells the layout by where its kernel size stands, whatever its width, and where that
    leaves a doubt (as many channels as the kernel is long) by its whole shape.

    Args:
        shapes: key -> (shape in the checkpoint, our shape) of the sparse weights.

    Returns:
        the layout; None if no tensor tells anything, because there is none or none has our kernel.

    Raises:
        CheckpointError: if tensors disagree, or all of them could be of either layout.
    """
    votes = {key: _possible_layouts(*pair) for key, pair in shapes.items()}
    votes = {key: vote for key, vote in votes.items() if vote}
    if not votes:
        return None
    common = set(TO_OURS).intersection(*votes.values())
    if len(common) == 1:
        return common.pop()
    examples = {frozenset(vote): key for key, vote in votes.items()}
    named = ", ".join(f"{key} {shapes[key][0]}" for key in examples.values())
    if common:
        raise CheckpointError(
            f"the sparse weights fit both layouts of spconv, such as {named}.",
            where="layout",
            hint="Say which spconv wrote them: layout=spconv1 or layout=spconv2.",
        )
    raise CheckpointError(
        f"the sparse weights are not of one layout: {named}.",
        where="layout",
        hint="They come from more than one version of spconv, or from another network.",
    )


def _possible_layouts(theirs: Shape, ours: Shape) -> set[Layout]:
    if len(theirs) != len(ours):
        return set()
    kernel = ours[KERNEL["spconv2"]]
    by_kernel = {layout for layout in TO_OURS if theirs[KERNEL[layout]] == kernel}
    return {layout for layout in by_kernel if theirs == shape_from_ours(ours, layout)} or by_kernel
