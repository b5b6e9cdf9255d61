"""Groups of parameters that follow the schedule at rates of their own."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from kd3d.errors import ConfigError
from kd3d.training.globs import matching

__all__ = ["MULTIPLIER", "RateGroups"]

MULTIPLIER = "multiplier"
"""Key of a parameter group: what `kd3d.training.OneCycle` multiplies the group's rate by."""

_WHERE = "optimizer.rates"
_REST = "rest"


class RateGroups:
    """Which parameters of a network train at a rate of their own.

    Args:
        network: its parameters that ask for no gradient belong to no group.
        rates: multiplier of the rate by pattern of parameter names, such as
            ``{"dense_head.*": 2.0}``. Of several patterns that match a parameter the last one
            counts.

    Raises:
        ConfigError: if a multiplier is not above 0, or a pattern matches nothing, or nothing that
            is left to it and trains.
    """

    def __init__(self, network: nn.Module, rates: Mapping[str, float]) -> None:
        self.rates = {str(glob): _multiplier(glob, factor) for glob, factor in rates.items()}
        own = dict(network.named_parameters())
        self._glob_of: dict[str, str] = {}
        for glob in self.rates:
            found = matching(own, glob, _WHERE)
            self._glob_of |= {name: glob for name in found if own[name].requires_grad}
        for glob in self.rates:
            if glob not in self._glob_of.values():
                raise ConfigError(
                    f"{glob!r} matches only parameters that are frozen, or of later patterns.",
                    where=_WHERE,
                    hint="Leave the pattern out.",
                )

    def of(self, module: nn.Module, network: nn.Module) -> list[dict[str, Any]]:
        """Group the parameters that train, for an optimiser.

        Args:
            module: what the optimiser trains, layers of callbacks included.
            network: the part of it that the patterns are about.

        Returns:
            one group per pattern, named after it, then ``rest`` for all others; without patterns a
            single group without a name.
        """
        own = dict(network.named_parameters())
        groups: list[dict[str, Any]] = [
            {
                "params": [own[name] for name, of in self._glob_of.items() if of == glob],
                "name": glob,
                MULTIPLIER: multiplier,
            }
            for glob, multiplier in self.rates.items()
        ]
        grouped = {id(own[name]) for name in self._glob_of}
        rest = [one for one in module.parameters() if one.requires_grad and id(one) not in grouped]
        if not groups:
            return [{"params": rest}]
        return [*groups, {"params": rest, "name": _REST, MULTIPLIER: 1.0}] if rest else groups


def _multiplier(glob: str, multiplier: float) -> float:
    if not 0 < multiplier < math.inf:
        raise ConfigError(
            f"{multiplier} is no multiplier of the rate.",
            where=f"{_WHERE}[{glob!r}]",
            hint="Give a number above 0; optimizer.freeze leaves parameters as they are.",
        )
    return float(multiplier)
