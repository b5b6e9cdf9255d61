"""Fixtures that all tests share."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from unittest import mock

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("PL_GLOBAL_SEED", None)  # a test chooses its own

import pytest
import torch
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


@pytest.fixture(autouse=True, scope="module")
def own_environment_of_a_file():
    """Undo what the fixtures of a file set in the environment, as `own_environment` does."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(autouse=True)
def own_environment():
    """Undo what a test sets in the environment: `seed_everything` leaves its seed to processes."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def one_thread(monkeypatch):
    """Keep torch from starting threads, which forked ranks would wait for and not have."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # Lightning leaves it at that
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def undisturbed():
    """Put back what a command sets for its process: logging, Hydra, threads, environment."""
    from hydra.core.hydra_config import HydraConfig

    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers[:], root.level
    named = {name: logging.getLogger(name) for name in root.manager.loggerDict}
    levels = {name: logger.level for name, logger in named.items()}
    try:
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}):
            torch.set_num_threads(1)
            yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, logger in named.items():
            logger.setLevel(levels[name])
        HydraConfig.instance().cfg = None
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def command_here():
    """Run one of kd3d's commands inside this process, which saves the seconds of its imports.

    Words, folder, output and exit code are those of a process of its own.
    """
    scripts = {script.name: script for script in entry_points(group="console_scripts")}

    def run(name, *arguments, folder):
        words, code = [str(Path(sys.executable).with_name(name)), *arguments], 0
        out, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, undisturbed(), warnings.catch_warnings():
            patch.setattr(sys, "argv", words)
            patch.chdir(folder)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                try:
                    scripts[name].load()()
                except SystemExit as end:
                    code = end.code or 0
        return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())

    return run
