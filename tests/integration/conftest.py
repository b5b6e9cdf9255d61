"""One smoke run that the tests of whole commands look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SMOKE = ["experiment=cp_pillar_kd", "scale=smoke", "simulate.workers=1"]


@pytest.fixture(scope="session")
def command():
    """Run one of kd3d's commands as a process of its own, in a given folder."""

    def run(name, *arguments, folder):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return subprocess.run(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def smoke(command, tmp_path_factory):
    """The folder where ``kd3d-train experiment=cp_pillar_kd scale=smoke`` ran, and its output."""
    folder = tmp_path_factory.mktemp("smoke")
    done = command("kd3d-train", *SMOKE, "hydra.run.dir=run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout
