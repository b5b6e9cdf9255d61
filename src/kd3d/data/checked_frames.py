"""The frames of a dataset with what goes wrong on the way as values, and stand-ins for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch.utils.data import Dataset

from kd3d.data.dataset import FrameDataset, FrameSample
from kd3d.data.faults import BadRecord, OnError
from kd3d.data.keyed import keyed_generator
from kd3d.data.lookahead import Lookahead
from kd3d.data.samplers import FrameKey
from kd3d.errors import DatasetError, Kd3dError, RecordError

__all__ = ["CheckedFrames", "LoadedFrame"]

_MOST_IN_A_ROW = 1000
"""So many bad records one after the other are no accident (a Waymo segment has about 200)."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFrame:
    """What became of one key.

    Args:
        sample: the frame, or nothing.
        skipped: records left out on the way.
        replaced: id of the frame without boxes that `sample` stands in for.
        error: what stops the run.
    """

    sample: FrameSample | None
    skipped: tuple[BadRecord, ...] = ()
    replaced: str | None = None
    error: Kd3dError | None = None


class CheckedFrames(Dataset[LoadedFrame]):
    """A `FrameDataset` that returns its errors instead of raising them.

    Args:
        frames: the dataset.
        on_error: ``"raise"``: any error stops the run. ``"skip"``: a damaged record is left out; in
            training the next good one in file order stands in for it.
        lookahead: what to tell about each batch, where that is of use.
        replace_empty: in training, another frame stands in for one that no box is left of. It is
            drawn by (seed, epoch, frame id), until one has a box, and is what it is in that epoch.
    """

    def __init__(
        self,
        frames: FrameDataset,
        on_error: OnError,
        lookahead: Lookahead | None = None,
        *,
        replace_empty: bool = False,
    ) -> None:
        self.frames = frames
        self.on_error = on_error
        self.lookahead = lookahead
        self.replace_empty = replace_empty and frames.training

    def __len__(self) -> int:
        return len(self.frames)

    def sample_frame_ids(self, count: int) -> tuple[str, ...]:
        """As `FrameDataset.sample_frame_ids`."""
        return self.frames.sample_frame_ids(count)

    def __getitems__(self, keys: Sequence[FrameKey | int]) -> list[LoadedFrame]:
        """Read the frames of a batch, which a loader asks for together."""
        if self.lookahead is not None:
            self.lookahead.announce(keys)
        return [self[key] for key in keys]

    def __getitem__(self, key: FrameKey | int) -> LoadedFrame:
        epoch, number = (0, key) if isinstance(key, int) else key
        loaded = self._load(epoch, number)
        if self.replace_empty and loaded.sample is not None and not len(loaded.sample.boxes):
            return self._stand_in(loaded, loaded.sample.frame_id, epoch)
        return loaded

    def _load(self, epoch: int, number: int) -> LoadedFrame:
        attempts = min(len(self), _MOST_IN_A_ROW) if self.frames.training else 1
        skipped: list[BadRecord] = []
        for candidate in ((number + step) % len(self) for step in range(attempts)):
            try:
                return LoadedFrame(self.frames[epoch, candidate], tuple(skipped))
            except RecordError as error:
                if self.on_error == "raise":
                    return LoadedFrame(None, error=error)
                source = self.frames.source
                skipped.append(BadRecord(source.file(candidate), source.name(candidate), error))
            except Kd3dError as error:
                return LoadedFrame(None, error=error)
        return LoadedFrame(None, tuple(skipped), error=self._too_many(skipped))

    def _stand_in(self, empty: LoadedFrame, frame_id: str, epoch: int) -> LoadedFrame:
        draws = keyed_generator("replacement", self.frames.seed, epoch, frame_id)
        skipped = empty.skipped
        for number in draws.permutation(len(self))[:_MOST_IN_A_ROW].tolist():
            loaded = self._load(epoch, number)
            skipped += loaded.skipped
            if loaded.sample is None or len(loaded.sample.boxes):
                return replace(loaded, skipped=skipped, replaced=frame_id)
        return LoadedFrame(None, skipped, error=self._all_empty(frame_id))

    def _too_many(self, skipped: Sequence[BadRecord]) -> DatasetError | None:
        if not self.frames.training:
            return None
        return DatasetError(
            f"{len(skipped)} records in a row cannot be used; the last one: {skipped[-1].error}",
            where=self.frames.source.root,
            hint="Check the dataset: this is more than on_error=skip is for.",
        )

    def _all_empty(self, frame_id: str) -> DatasetError:
        return DatasetError(
            f"no box is left of frame {frame_id}, nor of {min(len(self), _MOST_IN_A_ROW)} others.",
            where=self.frames.source.root,
            hint="Check data.classes, data.point_range and data.object_range, or say"
            " data.replace_empty=false.",
        )
