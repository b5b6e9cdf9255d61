"""Fixtures that all tests share."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
from hypothesis import settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# A busy machine is no failure; an automatic run must give the same verdict twice.
settings.register_profile("kd3d", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("kd3d")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of oracle cases and sample records; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("oracle data (../shared/data) is not here")
    return SHARED
