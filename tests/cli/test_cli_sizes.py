"""Batch sizes are said, and differences from the recipe are warned of."""

import io

from rich.console import Console

from kd3d.cli.sizes import BatchSizes, print_sizes


def printed(actual, recipe):
    text = io.StringIO()
    print_sizes(Console(file=text, width=200), actual, recipe)
    return text.getvalue()


def test_the_recipe_itself_gets_no_warning():
    text = printed(BatchSizes(16, 2), BatchSizes(16, 2))
    assert "16 frames per optimiser step" in text
    assert "note" not in text


def test_every_difference_is_named():
    text = printed(BatchSizes(4, 4), BatchSizes(16, 2))
    assert "the recipe's effective batch is 16 over 8 GPUs, this run's is 4" in text
    assert "the recipe's BatchNorm batch is 2 per GPU, this run's is 4" in text
