import stat

import pytest

from kd3d.errors import OutputError
from kd3d.files import whole_file, write_text


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b.json"
    with whole_file(path) as temporary:
        temporary.write_text("first half")
        assert not path.exists()
        assert temporary.suffix == ".json"
    assert path.read_text() == "first half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = write_text(tmp_path / "kept.txt", "old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_a_plain_file(tmp_path):
    (tmp_path / "plain").touch()
    written = write_text(tmp_path / "written", "x")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/x\.txt: cannot be written .*Name a folder"):
        write_text(tmp_path / "file" / "x.txt", "x")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        write_text(tmp_path, "x")
