"""The notebooks run from top to bottom, and what is stored in them is what they print.

To store new outputs: ``jupyter execute --inplace notebooks/*.ipynb``.
"""

import json
import re
from itertools import groupby
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 400_000  # bytes of one stored output

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def texts(cell):
    """What a cell has printed or shown as text."""
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        for kind in ("text/plain", "text/markdown"):
            yield "".join(output.get("data", {}).get(kind, ""))


def kinds(cell):
    """What kinds of output a cell has, in order; one stream may arrive in pieces."""
    return [kind for kind, _ in groupby(output["output_type"] for output in cell["outputs"])]


def test_there_are_four():
    assert [path.stem[0] for path in NOTEBOOKS] == ["1", "2", "3", "4"]


@pytest.mark.slow
@every_notebook
def test_it_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("KD3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # as in a notebook: pictures in the page
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "docs").symlink_to(path.parents[1] / "docs")  # read as in the repository
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [kinds(cell) for cell in ran] == [kinds(cell) for cell in code_cells(path)]
    assert list(folder.iterdir()) == []  # nothing is left beside the notebook


@every_notebook
def test_what_is_stored_is_fit_to_be_read(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(len(json.dumps(output)) < LARGEST for output in outputs)
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}  # no warnings
    for text in (text for cell in cells for text in texts(cell)):
        assert not re.search(r"Warning|Traceback|/(home|root|tmp|work|usr|Users)/", text), text


def test_the_summary_is_shown_as_text():
    """A console that takes the notebook for its screen would show it as pieces of HTML."""
    for path in NOTEBOOKS[1:3]:
        stored = [text for cell in code_cells(path) for text in texts(cell)]
        assert any("What distillation connects" in text and "weight 7" in text for text in stored)


def test_a_profile_and_a_study_are_shown_as_text():
    stored = "\n".join(text for cell in code_cells(NOTEBOOKS[3]) for text in texts(cell))
    assert "5,224,043" in stored  # parameters of the teacher
    assert "backbone_3d" in stored
    for shown in ("L2 mAPH", "95 % interval", "paired seeds", "report.csv"):
        assert shown in stored
