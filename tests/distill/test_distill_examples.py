"""The examples run as they are printed."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("distil_your_own", ("kd/logit", "kd/regression", "kd/total")),
        ("distil_other_head", ("kd/logit", "kd/teacher_boxes", "kd/total")),
    ],
)
def test_example(name, terms, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("student")]
    assert len(printed) == 1
    assert all(term in printed[0] for term in terms)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_need_neither_detectors_nor_hydra(path):
    source = path.read_text()
    assert "kd3d.detectors" not in source
    assert "hydra" not in source.lower().replace("without hydra", "")
