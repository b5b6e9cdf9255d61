"""Less chatter around the commands' own output."""

import logging
import warnings

__all__ = ["quieten"]


def quieten() -> None:
    """Hide advertisements and warnings that a user of the commands can do nothing about."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.rank_zero").setLevel(logging.WARNING)
    # Lightning 2.6 with torch 2.13: its own use of a private class
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # the number of workers is the user's choice, and 0 or 1 is right on small machines
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    # the metric has already been summed over the processes
    warnings.filterwarnings("ignore", message=r".*`self\.log\('(val|test)/.*sync_dist=True.*")
    # the module's own layout of weights is no sharding, and the average takes it as it is
    warnings.filterwarnings("ignore", message=r".*using the WeightAveraging callback with a model")
    # curves of an interrupted stage are renamed before the logger could delete them
    warnings.filterwarnings("ignore", message=r".*Previous log files in this directory will be")
    # short runs log less often than every 50 steps would
    warnings.filterwarnings("ignore", message=r".*smaller than the logging interval.*")
