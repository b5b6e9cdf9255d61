"""The parts of a dataset: what is trained on, what choices are made by, what results come from."""

from typing import Literal

from kd3d.errors import DatasetError

__all__ = ["SPLITS", "Split", "no_test_split", "splits_of"]

Split = Literal["train", "val", "test"]

SPLITS: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""Splits as options name them, and in words."""


def splits_of(stage: str | None) -> tuple[Split, ...]:
    """Name the splits that a stage of a Lightning trainer reads."""
    if stage == "fit":
        return ("train", "val")
    return ("test",) if stage == "test" else ("val",)


def no_test_split() -> DatasetError:
    """Give the error of a dataset that is to be tested on frames that nobody named."""
    return DatasetError(
        "there is no test split.",
        where="data.test",
        hint="Name its files below data.root, such as data.test=test/*.tfrecord, or a folder.",
    )
