"""Folders of runs that cannot be made."""

import os

import pytest

from kd3d.cli.folders import check_folders
from kd3d.errors import OutputError


def test_a_folder_that_can_be_made_passes(tmp_path):
    check_folders(["seed=1", f"hydra.run.dir={tmp_path}/a/b", "hydra.sweep.dir=${log_dir}/x"])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("option", ["hydra.run.dir", "hydra.sweep.dir", "log_dir"])
def test_a_file_in_the_way_is_named(option, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file/x: cannot be made.*hydra\.run\.dir"):
        check_folders([f"{option}={tmp_path}/file/x"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="cannot be made"):
        check_folders([])
