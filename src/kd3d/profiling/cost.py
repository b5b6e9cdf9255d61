"""What running a network costs, in two ways of counting."""

from dataclasses import dataclass
from typing import Literal, get_args

from kd3d.errors import ConfigError

__all__ = ["FREE", "Convention", "Cost", "Tally", "check_convention"]

#: "true": the multiplications that are needed. "paper": those that the published tables count.
Convention = Literal["true", "paper"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Two counts of one convention.

    Args:
        macs: multiply-accumulates.
        activations: elements of the outputs of convolutions and linear layers.
    """

    macs: int = 0
    activations: int = 0

    @property
    def flops(self) -> int:
        """Floating point operations: two per multiply-accumulate."""
        return 2 * self.macs

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.macs + other.macs, self.activations + other.activations)


@dataclass(frozen=True, slots=True)
class Cost:
    """The counts of both conventions.

    Args:
        true: a transposed convolution costs what its inputs and its kernel need, norms cost
            nothing, biases neither.
        paper: as in the tables of SparseKD (Yang et al., NeurIPS 2022): a transposed convolution
            costs as much per output element as a convolution, which is stride x stride times too
            much where kernel and stride are equal; norms cost two per element and biases one.
    """

    true: Tally = Tally()
    paper: Tally = Tally()

    def of(self, convention: Convention) -> Tally:
        """Give the counts of one convention."""
        return self.true if convention == "true" else self.paper

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.true + other.true, self.paper + other.paper)


#: What no multiply-accumulate and no activation costs.
FREE = Cost()


def check_convention(convention: str) -> Convention:
    """Give the convention of that name.

    Raises:
        ConfigError: if there is none.
    """
    conventions: dict[str, Convention] = {name: name for name in get_args(Convention)}
    if convention in conventions:
        return conventions[convention]
    raise ConfigError(f"{convention!r} is not one of {list(conventions)}.", where="convention")
