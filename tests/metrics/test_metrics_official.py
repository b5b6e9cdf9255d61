"""Finding, starting and comparing with the original evaluator."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kd3d.metrics.official as official
from kd3d.errors import ConfigError, InputError
from kd3d.metrics.functional import Objects, Predictions

REPOSITORY = Path(__file__).resolve().parents[2]
SCENES = REPOSITORY / "official"


def rows(*xs, scores=None):
    """Cars, one every few metres, each found exactly."""
    boxes = np.array([[x, 0, 0, 4, 2, 1.5, 0] for x in xs], np.float32).reshape(-1, 7)
    count, zeros = len(boxes), np.zeros(len(boxes), np.int64)
    found = np.full(count, 0.5) if scores is None else np.asarray(scores)
    return (
        Predictions(boxes, found.astype(np.float32), zeros, zeros, zeros != 0),
        Objects(boxes, zeros, zeros, zeros + 1),
    )


def official_names():
    rings = ("[0, 30)", "[30, 50)", "[50, +inf)")
    for name in ("VEHICLE", "PEDESTRIAN", "SIGN", "CYCLIST"):
        for part in (f"OBJECT_TYPE_TYPE_{name}", *(f"RANGE_TYPE_{name}_{r}" for r in rings)):
            yield from (f"{part}_LEVEL_{level}" for level in (1, 2))


def stand_in(folder, body):
    """An evaluator that is a few lines of Python."""
    script = folder / "evaluate_official.py"
    script.write_text(f"import json, os, sys\nimport numpy as np\n{body}\n")
    return official.OfficialEvaluator(Path(sys.executable), script)


@pytest.fixture
def environment(tmp_path):
    (tmp_path / ".venv-official").mkdir()
    (tmp_path / ".venv-official" / ".installed").touch()
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "evaluate_official.py").touch()
    return tmp_path


def test_finds_the_first_whole_environment(environment, tmp_path):
    found = official.find_official([tmp_path / "elsewhere", environment])
    assert found.python == environment / ".venv-official" / "bin" / "python"
    assert found.script == environment / "official" / "evaluate_official.py"


@pytest.mark.parametrize("missing", [".venv-official/.installed", "official/evaluate_official.py"])
def test_says_how_to_make_the_environment(environment, missing):
    (environment / missing).unlink()
    with pytest.raises(ConfigError, match="make official-env") as caught:
        official.find_official([environment])
    assert "\n" not in str(caught.value)


def test_an_environment_without_its_python(environment):
    with pytest.raises(ConfigError, match="cannot be started") as caught:
        official.official_scores(*rows(1), official.find_official([environment]))
    assert "make official-env" in str(caught.value)


def test_what_the_evaluator_is_given(tmp_path):
    predictions, objects = rows(1, 9, scores=[0.25, 0.75])
    predictions = replace(
        predictions, shards=np.array([3, 0]), in_no_label_zone=np.array([True, False])
    )
    official.write_official_input(tmp_path / "x.npz", predictions, objects)
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["pred_types"].tolist() == [4, 1]
        assert arrays["pred_scores"].tolist() == [0.25, 0.75]
        assert arrays["pred_overlap_nlz"].tolist() == [True, False]
        assert arrays["gt_types"].tolist() == [1, 1]
        assert arrays["gt_difficulty"].tolist() == [1, 1]
        assert arrays["pred_types"].dtype == arrays["gt_difficulty"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["gt_boxes"], objects.boxes)


def test_results_by_our_names(tmp_path):
    names = list(official_names())
    table = {name: {"AP": i, "APH": i + 0.5} for i, name in enumerate(names)}
    evaluator = stand_in(tmp_path, f"json.dump({table!r}, open(sys.argv[2], 'w'))")
    scores = official.official_scores(*rows(1), evaluator)
    assert len(scores) == 64
    assert scores["Vehicle/L1_AP"] == 0
    assert scores["Vehicle/0-30m/L2_APH"] == 3.5
    assert scores["Cyclist/50m-inf/L2_AP"] == names.index("RANGE_TYPE_CYCLIST_[50, +inf)_LEVEL_2")
    assert set(scores) == set(official.our_scores(*rows(1)))


def test_the_largest_difference(tmp_path):
    table = {name: {"AP": 0.0, "APH": 0.0} for name in official_names()}
    for level in (1, 2):
        for part in ("OBJECT_TYPE_TYPE_VEHICLE", "RANGE_TYPE_VEHICLE_[0, 30)"):
            table[f"{part}_LEVEL_{level}"] = {"AP": 1.0, "APH": 1.0}
    evaluator = stand_in(tmp_path, f"json.dump({table!r}, open(sys.argv[2], 'w'))")
    assert official.compare_with_official(*rows(1, 9), evaluator).difference == 0
    predictions, objects = rows(1, 9)
    turned = predictions.boxes.copy()
    turned[0, 6] = np.pi
    both = official.compare_with_official(replace(predictions, boxes=turned), objects, evaluator)
    assert both.difference == pytest.approx(0.5, abs=1e-6)


def test_a_difference_that_is_no_number():
    both = official.Comparison({"a": 0.0, "b": float("nan")}, {"a": 0.0, "b": 1.0})
    assert np.isnan(both.difference)


def test_an_evaluator_that_fails(tmp_path):
    evaluator = stand_in(tmp_path, "sys.exit('first line\\nno such operation')")
    with pytest.raises(InputError, match=r"^the original evaluator: failed: no such operation$"):
        official.official_scores(*rows(1), evaluator)


def test_an_evaluator_that_aborts(tmp_path):
    evaluator = stand_in(tmp_path, "os.abort()")
    with pytest.raises(InputError, match=r"stopped by signal 6.*coincide exactly"):
        official.official_scores(*rows(1), evaluator)


def find_python(tmp_path, version, system="Linux"):
    """Run the search with one interpreter, of some version, on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    answer = f"""#!/bin/sh
[ "$1" = "-c" ] && exec {shlex.quote(sys.executable)} -c "import sys
sys.version_info = ({version}, 0)
$2"
"""
    (folder / "python3").write_text(answer)
    (folder / "uname").write_text(f'#!/bin/sh\n[ "$1" = "-s" ] && echo {system} || echo x86_64\n')
    for name in ("python3", "uname"):
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "HOME": str(tmp_path)}
    command = ["/bin/sh", str(SCENES / "find_python.sh")]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("version", ["3, 9", "3, 11"])
def test_finds_a_python(tmp_path, version):
    done = find_python(tmp_path, version)
    assert (done.returncode, done.stdout) == (0, "python3\n")


@pytest.mark.parametrize(
    ("version", "system", "said"),
    [("3, 8", "Linux", "3.9, 3.10 or 3.11"), ("3, 12", "Linux", "3.9, 3.10 or 3.11"),
     ("3, 10", "Darwin", "Linux on x86-64 only")],
)  # fmt: skip
def test_no_python_that_fits(tmp_path, version, system, said):
    done = find_python(tmp_path, version, system)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_requirement_is_pinned():
    lines = (SCENES / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    assert "waymo-open-dataset-tf-2-12-0==1.6.7" in pins


@pytest.fixture(scope="module")
def evaluator():
    try:
        return official.find_official([REPOSITORY])
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def draw_scene(monkeypatch):
    monkeypatch.syspath_prepend(str(SCENES))
    from scenes import draw_scene

    return draw_scene


def test_random_scenes_are_worth_comparing(draw_scene):
    scores = official.our_scores(*draw_scene(0))
    assert sum(0.02 < value < 0.98 for value in scores.values()) > 50


def test_agrees_with_the_original(evaluator, draw_scene):
    both = official.compare_with_official(*draw_scene(100), evaluator)
    assert len(both.official) == 64
    assert both.difference <= 1e-5


def test_agrees_with_the_original_on_no_rows(evaluator):
    both = official.compare_with_official(*rows(), evaluator)
    assert set(both.official.values()) == {0.0}
    assert both.difference == 0


def test_stored_results_are_the_originals(evaluator, shared_data, monkeypatch):
    monkeypatch.syspath_prepend(str(SCENES))
    from parity import stored_case

    folder = shared_data / "metric_cases"
    scores = official.official_scores(*stored_case(folder / "basic_mixed.npz"), evaluator)
    stored = json.loads((folder / "basic_mixed.json").read_text())["breakdowns"]
    found = scores["Vehicle/30-50m/L1_APH"]
    assert found == pytest.approx(stored["RANGE_TYPE_VEHICLE_[30, 50)_LEVEL_1"]["APH"], abs=1e-6)
