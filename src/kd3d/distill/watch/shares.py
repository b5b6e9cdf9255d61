"""How much of the gradient each term of the loss makes up."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from kd3d.distill.captured import tensors_in
from kd3d.errors import TapError

__all__ = ["gradient_shares", "pulled_tensors"]

_SCALE = 1024.0
"""Gradients are taken of so many times a term, so that half precision does not round them to zero.

A power of two changes nothing else, and it cancels in a share.
"""
_SMALLEST = torch.finfo(torch.float32).tiny


def gradient_shares(
    terms: Mapping[str, Tensor], tensors: Sequence[Tensor], *, must_reach: Collection[str] = ()
) -> dict[str, Tensor]:
    """Tell how much each term of a loss pulls at some tensors of the network.

        share_i = |dL_i/dz| / sum_j |dL_j/dz|

    with z all elements of all tensors together, and L2 norms. The shares sum to 1, but terms that
    pull in opposite directions are not told from terms that pull together. A term that does not
    reach z has the share 0; with no pull at all every share is 0.

    Gradients are taken with respect to z alone. No parameter gets one, so neither ``.grad`` nor the
    hooks of data-parallel training see it, and the graph stays whole for the backward pass. Where
    one tensor is computed from another, the pull that goes through the later one counts for both.

    Args:
        terms: scalars by name, each of any floating dtype.
        tensors: z, of any shapes and dtypes; those that need no gradient are passed over.
        must_reach: names of terms that are known to depend on z.

    Returns:
        float32 scalars in [0, 1] by name.

    Raises:
        TapError: if no tensor needs a gradient, or autograd sees no way from a term of `must_reach`
            to z (both lie in one compiled function, say).
        RuntimeError: if autograd cannot go through the graph twice (some compiled or checkpointed
            networks).
    """
    watched = [tensor for tensor in tensors if tensor.requires_grad]
    if not watched:
        raise TapError("no captured tensor takes part in the training.", where="gradient shares")
    norms = {name: _norm(term, watched) for name, term in terms.items()}
    for name in must_reach:
        if norms[name] is None:
            raise TapError(
                "the loss does not depend on what was captured, as far as autograd can see.",
                where=name,
                hint="Compile the network, not the whole training step.",
            )
    zero = watched[0].new_zeros((), dtype=torch.float32)
    reached = {name: zero if norm is None else norm for name, norm in norms.items()}
    total = torch.stack(list(reached.values())).sum().clamp(min=_SMALLEST)
    return {name: norm / total for name, norm in reached.items()}


def _norm(term: Tensor, tensors: Sequence[Tensor]) -> Tensor | None:
    """Give the length of the gradient, or None if no tensor is on the way of the term."""
    if not term.requires_grad:
        return None
    gradients = torch.autograd.grad(
        term, tensors, torch.full_like(term, _SCALE), retain_graph=True, allow_unused=True
    )
    norms = [
        torch.linalg.vector_norm(gradient, dtype=torch.float32)
        for gradient in gradients
        if gradient is not None
    ]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else None


def pulled_tensors(outputs: object) -> list[Tensor]:
    """Find the tensors in what modules returned at which terms of a loss pull.

    Args:
        outputs: as `kd3d.distill.captured.tensors_in` takes them.

    Returns:
        every floating tensor that needs a gradient, once; no scalars, for those are losses.
    """
    found = {id(tensor): tensor for _, tensor in tensors_in(outputs)}
    return [tensor for tensor in found.values() if tensor.requires_grad and tensor.ndim > 0]
