"""What became of every tensor of a checkpoint."""

from dataclasses import dataclass, field

from kd3d.interop.layouts import TO_OURS, Layout

__all__ = ["ImportReport"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of every key.

    Args:
        taken: their key -> our key, of the tensors that fit, the transposed ones included.
        missing: our keys that got nothing.
        unexpected: their keys that have no place in the detector.
        mismatched: their key -> (their shape, the shape that would fit, in their layout).
        ignored: their keys that are no weights, such as step counters.
        transposed: their key -> the permutation of axes (as in `Tensor.permute`) into our layout.
        zeroed: our biases that recent OpenPCDet leaves away before a norm: set to zero, which is
            the same function.
        layout: of the sparse weights; None if there is none.
    """

    taken: dict[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[Shape, Shape]]
    ignored: tuple[str, ...]
    transposed: dict[str, Shape] = field(default_factory=dict)
    zeroed: tuple[str, ...] = ()
    layout: Layout | None = None

    @property
    def complete(self) -> bool:
        """Whether every tensor of either side found its place."""
        return not self.num_problems

    @property
    def num_problems(self) -> int:
        """How many keys are missing, unexpected or of another shape."""
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)

    def counts(self) -> dict[str, int]:
        """Give the number of keys of each kind; "transposed" ones are among "taken"."""
        return {
            "taken": len(self.taken),
            "transposed": len(self.transposed),
            "set to zero": len(self.zeroed),
            "ignored": len(self.ignored),
            "missing": len(self.missing),
            "unexpected": len(self.unexpected),
            "shape mismatch": len(self.mismatched),
        }

    def problems(self, limit: int | None = None) -> list[str]:
        """Describe the keys that found no place, one line each.

        Args:
            limit: lines per kind; a last line says how many more there are.
        """
        kinds = [
            [f"missing: {key}" for key in self.missing],
            [f"unexpected: {key}" for key in self.unexpected],
            [
                f"shape mismatch: {key} is {theirs}, the detector has {ours}"
                for key, (theirs, ours) in self.mismatched.items()
            ],
        ]
        lines = []
        for kind in kinds:
            lines += kind[:limit]
            if len(kind) > len(kind[:limit]):
                lines.append(f"{kind[0].split(':')[0]}: and {len(kind) - len(kind[:limit])} more")
        return lines

    def text(self) -> str:
        """Describe every key, one line each, after the counts."""
        lines = [f"{count:5d} {kind}" for kind, count in self.counts().items()]
        if self.layout is not None:
            lines.append(f"layout of sparse weights: {self.layout} {TO_OURS[self.layout]}")
        lines += ["", *self.problems()]
        for theirs, ours in self.taken.items():
            order = self.transposed.get(theirs)
            lines.append(
                f"taken: {theirs} -> {ours}"
                if order is None
                else f"taken, transposed {order}: {theirs} -> {ours}"
            )
        lines += [f"set to zero: {key}" for key in self.zeroed]
        lines += [f"ignored: {key}" for key in self.ignored]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        head = f"{len(self.taken)} tensors taken, {len(self.ignored)} ignored"
        if self.transposed:
            head += f", {len(self.transposed)} transposed from {self.layout}"
        return "\n".join([head, *self.problems()])
