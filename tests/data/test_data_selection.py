"""Choices of classes, whatever the source's are."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from kd3d.data import Selection
from kd3d.errors import ConfigError

KNOWN = ("Car", "Truck", "Bus", "Walker", "Bike")


def test_all_classes_by_default():
    assert Selection().choose(KNOWN) == KNOWN
    assert Selection().labels(torch.tensor([3, -1, 0]), KNOWN).tolist() == [3, -1, 0]


@given(chosen=st.lists(st.sampled_from(KNOWN), min_size=1, unique=True), data=st.data())
def test_labels_keep_their_names(chosen, data):
    labels = data.draw(st.lists(st.integers(-1, len(KNOWN) - 1)))
    selection = Selection(classes=chosen)
    found = selection.labels(torch.tensor(labels, dtype=torch.int64), KNOWN).tolist()
    for before, after in zip(labels, found, strict=True):
        name = KNOWN[before] if before >= 0 else None
        assert (chosen[after] == name) if after >= 0 else (name not in chosen)


def test_an_unknown_class_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"no class 'Trucks', 'Tram'.*Is 'Trucks' Truck\?"):
        Selection(classes=["Car", "Trucks", "Tram"]).choose(KNOWN)


def test_nothing_and_doubles_are_refused():
    for classes in ([], ["Car", "Car"]):
        with pytest.raises(ConfigError, match=r"data.classes: .* at most once, and at least one"):
            Selection(classes=classes)
