"""Which of a run's processes this is."""

from lightning.pytorch.utilities import rank_zero_only

__all__ = ["is_first_process"]


def is_first_process() -> bool:
    """Tell whether this process is the one that prints and writes."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0
