"""How distillation reads a batch, be it kd3d's own or a foreign one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kd3d.errors import ConfigError
from kd3d.structures import TargetBoxes

__all__ = ["BatchView"]

_SHOWN = 12
"""So many keys of a batch are listed in a message."""


@dataclass(frozen=True, slots=True)
class BatchView:
    """A way to read a batch that is no `PointBatch`, and to give it other targets.

    Without functions, a batch is read by the attributes (an object, a dataclass, a named tuple) or
    keys (a mapping) ``boxes``, ``labels``, ``frame_ids`` and ``world``, and given other targets by
    its method ``with_targets``. Plain tuples and lists need functions. Only what the objectives
    use is ever asked for.

    Args:
        truth: function of the batch; gives boxes ``[B, M, 7 or more]`` (x, y, z, length, width,
            height, heading; metres, radians, vehicle frame, centre in the middle) and int64 class
            ids ``[B, M]``, -1 in empty slots. Two lists of B tensors, ``[M_i, 7]`` and ``[M_i]``,
            do as well.
        frame_ids: function of the batch; gives the B names of its frames.
        with_targets: function of the batch and `TargetBoxes`; gives a batch on which the student's
            training step trains on these boxes. The batch itself must stay as it is.
        size: function of the batch; gives B. Without it B is counted on the labels or names.
        world: function of the batch; gives ``[B, 4, 4]``, for each frame the matrix of flips,
            rotation about z, one scale and shift that augmentation moved the scene by, or None if
            scenes are as recorded. Boxes that come from files are moved by it.

    Example:
        >>> view = BatchView(  # of batches (points, boxes, labels)
        ...     truth=lambda batch: (batch[1], batch[2]),
        ...     with_targets=lambda batch, targets: (batch[0], targets.boxes, targets.labels),
        ... )
    """

    truth: Callable[[Any], tuple[Any, Any]] | None = None
    frame_ids: Callable[[Any], Sequence[str]] | None = None
    with_targets: Callable[[Any, TargetBoxes], Any] | None = None
    size: Callable[[Any], int] | None = None
    world: Callable[[Any], Tensor | None] | None = None

    def read_truth(self, batch: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - any batch
        """Give boxes ``[B, M, 7 or more]`` and class ids ``[B, M]`` (-1: empty slot).

        Raises:
            ConfigError: if the batch has none, or shapes do not fit.
        """
        if self.truth is not None:
            boxes, labels = self.truth(batch)
        else:
            hint = "Pass batch_view=BatchView(truth=lambda batch: (boxes, labels))."
            boxes, labels = (_field(batch, name, hint) for name in ("boxes", "labels"))
        boxes, labels = _padded(boxes, 0.0), _padded(labels, -1)
        if (
            not (isinstance(boxes, Tensor) and isinstance(labels, Tensor))
            or boxes.ndim != 3
            or boxes.shape[2] < 7
            or labels.shape != boxes.shape[:2]
        ):
            raise ConfigError(
                f"boxes {_shape(boxes)} and labels {_shape(labels)} must be [B, M, 7 or more] and "
                "[B, M].",
                where="the batch's ground truth",
                hint="Pad with zeros and -1, or pass batch_view=BatchView(truth=...).",
            )
        return boxes, labels

    def read_frame_ids(self, batch: Any) -> tuple[str, ...]:  # noqa: ANN401 - any batch
        """Give the names of the frames.

        Raises:
            ConfigError: if the batch has none.
        """
        if self.frame_ids is not None:
            return tuple(self.frame_ids(batch))
        hint = "Pass batch_view=BatchView(frame_ids=lambda batch: names)."
        return tuple(_field(batch, "frame_ids", hint))

    def read_world(self, batch: Any) -> Tensor | None:  # noqa: ANN401 - any batch
        """Give how each scene was moved, ``[B, 4, 4]``, or None if they are as recorded.

        Raises:
            ConfigError: if it has another shape.
        """
        if self.world is not None:
            world = self.world(batch)
        elif isinstance(batch, Mapping):
            world = batch.get("world")
        else:
            world = getattr(batch, "world", None)
        if world is None:
            return None
        if not isinstance(world, Tensor) or world.ndim != 3 or world.shape[1:] != (4, 4):
            raise ConfigError(
                f"the scenes' movement must be [B, 4, 4] or None, not {_shape(world)}.",
                where="the batch's world",
                hint="Pass batch_view=BatchView(world=lambda batch: matrices).",
            )
        return world

    def can_give_targets(self, batch: Any) -> bool:  # noqa: ANN401 - any batch
        """Tell whether `give_targets` is possible."""
        return self.with_targets is not None or callable(getattr(batch, "with_targets", None))

    def give_targets(self, batch: Any, targets: TargetBoxes) -> Any:  # noqa: ANN401 - any batch
        """Give a batch that the student trains on these boxes with.

        Raises:
            ConfigError: if the batch does not allow that.
        """
        if self.with_targets is not None:
            return self.with_targets(batch, targets)
        if not self.can_give_targets(batch):
            raise ConfigError(
                f"{describe(batch)} cannot be given other targets.",
                where="with_targets",
                hint="Pass batch_view=BatchView(with_targets=lambda batch, targets: new batch), "
                "or give the batch a method with_targets(TargetBoxes).",
            )
        return batch.with_targets(targets)

    def count(self, batch: Any) -> int:  # noqa: ANN401 - any batch
        """Count the frames of a batch.

        Raises:
            ConfigError: if nothing tells how many there are.
        """
        if self.size is not None:
            return int(self.size(batch))
        if self.truth is not None:
            return len(self.truth(batch)[1])
        if self.frame_ids is not None:
            return len(self.frame_ids(batch))
        for name in ("labels", "boxes", "frame_ids"):
            if _has(batch, name):
                return len(_field(batch, name, ""))
        raise ConfigError(
            f"{describe(batch)} does not tell how many frames it has.",
            where="batch",
            hint="Pass batch_view=BatchView(size=lambda batch: frames).",
        )


def describe(batch: Any) -> str:  # noqa: ANN401 - any batch
    """Say what a batch is, for messages."""
    name = type(batch).__name__
    if isinstance(batch, Mapping):
        keys = [repr(key) for key in batch]
        return f"a batch that is a {name} with the keys {_some(keys)}"
    if isinstance(batch, tuple | list):
        return f"a batch that is a {name} of {_some([type(item).__name__ for item in batch])}"
    fields: list[str] = list(getattr(batch, "__dataclass_fields__", {}) or _attributes(batch))
    return f"a batch that is a {name}" + (f" with {_some(fields)}" if fields else "")


def _attributes(batch: Any) -> dict[str, Any]:  # noqa: ANN401 - any batch
    return getattr(batch, "__dict__", {})


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more


def _has(batch: Any, name: str) -> bool:  # noqa: ANN401 - any batch
    return name in batch if isinstance(batch, Mapping) else hasattr(batch, name)


def _field(batch: Any, name: str, hint: str) -> Any:  # noqa: ANN401 - any batch
    if not _has(batch, name):
        raise ConfigError(f"{describe(batch)} has no '{name}'.", where="batch", hint=hint)
    return batch[name] if isinstance(batch, Mapping) else getattr(batch, name)


def _padded(values: Any, fill: float) -> Any:  # noqa: ANN401 - whatever the user gave
    """Stack a list of tensors, one per frame, into one; anything else stays as it is."""
    if isinstance(values, list | tuple) and values and all(isinstance(v, Tensor) for v in values):
        return pad_sequence(list(values), batch_first=True, padding_value=fill)
    return values


def _shape(value: Any) -> str:  # noqa: ANN401 - whatever the user gave
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
