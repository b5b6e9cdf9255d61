"""Parts of a network that a run leaves as they are."""

from collections.abc import Sequence

from torch import nn

from kd3d.errors import ConfigError
from kd3d.training.globs import check_globs, matching

__all__ = ["FrozenPart"]

_WHERE = "optimizer.freeze"


class FrozenPart:
    """The parameters of a network that do not train, and the modules that hold only such.

    The parameters ask for no gradient. A module whose parameters are all frozen works in eval mode,
    with everything in it: running statistics of norms do not move, dropout does nothing. Call
    `keep_still` whenever the network was set to training mode.

    Modules are found by name each time: a norm may have become another object since (as
    `torch.nn.SyncBatchNorm`).

    Args:
        network: frozen in place.
        globs: patterns of parameter names, such as ``backbone_2d.*``.

    Raises:
        ConfigError: if a pattern matches nothing, or everything is frozen.
    """

    def __init__(self, network: nn.Module, globs: Sequence[str]) -> None:
        own = dict(network.named_parameters())
        chosen = {
            name for glob in check_globs(globs, _WHERE) for name in matching(own, glob, _WHERE)
        }
        if chosen and chosen == own.keys():
            raise ConfigError(
                f"{list(globs)} freezes every parameter, so nothing would train.",
                where=_WHERE,
                hint="Leave a part out, such as dense_head.*.",
            )
        self.names = frozenset(chosen)
        for name in chosen:
            own[name].requires_grad_(False)
        self.keep_still(network)

    def keep_still(self, network: nn.Module) -> None:
        """Set the modules whose parameters are all frozen to eval mode."""
        for path, module in network.named_modules() if self.names else ():
            inside = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters()]
            if inside and self.names.issuperset(inside):
                module.eval()
