"""Bringing a batch to the device while the one before is used.

Lightning asks for a batch when it needs it and copies it then, on the stream that computes. Here a
batch is copied as soon as workers have made it, on a stream of its own, and who takes it makes the
stream that computes wait for the copy, not the process.
"""

from dataclasses import dataclass

import torch

from kd3d.data.device_decode import PixelBatch
from kd3d.data.packed_batch import PackedBatch
from kd3d.structures import PointBatch

__all__ = ["Arrival"]


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A batch on its way to a device.

    Args:
        batch: the batch on the device, to be used from `copied` on.
        copied: when it is there; None if it is there already.
    """

    batch: PointBatch
    copied: torch.cuda.Event | None = None

    @classmethod
    def start(
        cls, batch: PackedBatch | PixelBatch, device: torch.device | None = None
    ) -> "Arrival":
        """Begin the copy, and the making of what was left to the device.

        Args:
            batch: in page-locked memory, if the copy is to go on by itself.
            device: where to; only a CUDA device has copies that go on by themselves, so for any
                other one the batch stays where it is, and Lightning copies it.

        Raises:
            RecordError: if a frame is left without points.
        """
        if device is None or device.type != "cuda":
            return cls(batch.decode())
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            return cls(batch.to(device, non_blocking=True).decode(), stream.record_event())

    def take(self) -> PointBatch:
        """Return the batch, to be used on the current stream."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.batch.device)
            stream.wait_event(self.copied)
            # Its memory is of the other stream: it must not be given away before this one is done.
            self.batch.record_stream(stream)
        return self.batch
