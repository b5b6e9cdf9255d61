"""Folder names of sweep jobs."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

__all__ = ["digest", "job_name", "register_job_name"]


def digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def job_name(overrides: Sequence[str]) -> str:
    """Name a job after its overrides: readable, safe in a path, the same in every rerun."""
    parts = sorted(overrides)
    readable = re.sub(r"[^A-Za-z0-9_=.,-]+", "_", ",".join(parts))[:80]
    return f"{readable}-{digest('|'.join(parts))}"


def register_job_name() -> None:
    """Make ``${job_name:...}`` known to OmegaConf, before Hydra composes its own settings."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
