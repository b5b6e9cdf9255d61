import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kd3d
from kd3d.cli.environment import describe_machine, describe_versions, git_commit, write_versions
from kd3d.errors import OutputError


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    return package


def test_machine_names_processor_cores_and_accelerator():
    machine = describe_machine()
    assert " cores" in machine
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    assert gpu in machine


def test_versions_hold_what_readers_ask_for():
    versions = describe_versions()
    assert versions["kd3d"] == kd3d.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_versions_file_lists_the_distributions(tmp_path):
    content = json.loads(write_versions(tmp_path / "run").read_text())
    assert content["packages"]["torch"] == torch.__version__
    assert "hydra-core" in content["packages"]
    assert content["machine"] == describe_machine()


def test_commit_of_a_checkout(checkout):
    commit = git_commit(checkout)
    assert commit is not None
    assert len(commit) == 12
    (checkout / "__init__.py").write_text("x = 2\n")
    assert git_commit(checkout) == f"{commit}-dirty"


def test_no_commit_for_a_package_installed_inside_another_repository(checkout):
    installed = checkout.parent / "site-packages" / "kd3d"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert git_commit(installed) is None


def test_no_commit_without_a_repository(tmp_path):
    assert git_commit(tmp_path) is None


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        write_versions(tmp_path / "file")
