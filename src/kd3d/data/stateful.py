"""Loaders that go on in the middle of an epoch: the one file that knows torchdata."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torchdata.stateful_dataloader import Stateful, StatefulDataLoader

from kd3d.errors import ConfigError

__all__ = ["ResumableLoader"]

T = TypeVar("T")


class ResumableLoader(StatefulDataLoader[T]):  # type: ignore[misc] # torchdata has no types
    """A loader whose state is a place in an epoch.

    torchdata keeps account of the batches that were handed out; those that workers have read ahead
    do not count. Three things are added to that. A state is good for its own epoch: one that was
    saved after an epoch's last batch begins the next epoch, instead of leaving it out. Asking for
    the state starts no workers. And a run may go on with another number of workers, to which
    torchdata's own state is bound, if its sampler can be told where to begin.

    Args:
        args: of `torch.utils.data.DataLoader`.
        options: of `torch.utils.data.DataLoader`. The sampler's ``epoch`` is asked for with the
            first batch of an iteration.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - DataLoader's own
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*set_vital")  # torchdata's own call
            super().__init__(*args, **options)
        self._epoch = 0
        self._batches = 0
        self._pending: dict[str, Any] | None = None

    def batches(self) -> Iterator[Any]:
        """Give the epoch's batches; after `load_state_dict`, those that are left of it.

        Raises:
            ConfigError: if the loaded state is of other batches, or of another number of workers
                and the sampler cannot be told where to begin.
        """
        self._epoch = getattr(self.sampler, "epoch", 0)
        self._batches = self._take_up()
        for batch in super().__iter__():
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Tell how many batches of which epoch were handed out; plain values only."""
        if self._pending is not None:
            return dict(self._pending)
        idle = self._iterator is None
        return {
            "epoch": self._epoch,
            "batches": self._batches,
            "global_batch": self._global_batch,
            "workers": self.num_workers,
            "torchdata": None if idle else super().state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration begin where the state was taken, if it is of the same epoch."""
        self._pending = dict(state)

    @property
    def _global_batch(self) -> int:
        return (self.batch_size or 1) * getattr(self.sampler, "num_replicas", 1)

    def _take_up(self) -> int:
        """Move to the place of the loaded state; tell how many batches come before it."""
        state, self._pending = self._pending, None
        if state is None or state["epoch"] != self._epoch or state["batches"] == 0:
            return 0
        self._check(state)
        if state["torchdata"] is not None and state["workers"] == self.num_workers:
            super().load_state_dict(state["torchdata"])
        elif isinstance(self.sampler, Stateful):
            given = state["batches"] * (self.batch_size or 1)
            self.sampler.load_state_dict({"epoch": self._epoch, "given": given})
        else:
            raise ConfigError(
                f"the run had {state['workers']} workers and {type(self.sampler).__name__} cannot "
                f"be told where to begin.",
                where="num_workers",
                hint=f"Go on with num_workers={state['workers']}.",
            )
        return int(state["batches"])

    def _check(self, state: Mapping[str, Any]) -> None:
        if state["global_batch"] != self._global_batch:
            raise ConfigError(
                f"the run was interrupted in the middle of epoch {self._epoch} with "
                f"{state['global_batch']} frames per step over all processes, now there are "
                f"{self._global_batch}.",
                where="data.batch_size",
                hint="Go on with the same batch size and number of devices: others would repeat "
                "or leave out frames.",
            )
