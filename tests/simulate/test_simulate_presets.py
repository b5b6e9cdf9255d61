"""The fixed benchmarks: made, made again, verified."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kd3d.errors import ConfigError, DatasetError
from kd3d.simulate import (
    PRESETS,
    dataset_fingerprint,
    preset,
    presets,
    simulate_dataset,
    simulate_preset,
    verify_dataset,
)

TINY = replace(
    PRESETS["kd3d-sim-small"],
    name="tiny",
    seed=7,
    scenes=2,
    val_scenes=1,
    test_scenes=1,
    frames=2,
    resolution=0.02,
    extent=15.0,
)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.tfrecord")}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": TINY})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("preset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", {"tiny": TINY})
        simulate_preset("tiny", out, workers=1, progress=False)
    return out


@pytest.fixture
def copied(made, tmp_path) -> Path:
    for path in made.rglob("*.*"):
        target = tmp_path / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def flip(path: Path, place: int = -10) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def some_segment(root: Path, split: str = "training") -> Path:
    return sorted((root / split).glob("*.tfrecord"))[0]


def half_made(root: Path) -> None:
    content = json.loads((root / "simulation.json").read_text())
    name = some_segment(root, "test").relative_to(root).as_posix()
    del content["segments"][name]
    (root / "simulation.json").write_text(json.dumps(content))
    (root / name).unlink()


def test_the_committed_presets_are_what_they_say():
    for name, one in PRESETS.items():
        assert name == one.name
        assert min(one.scenes, one.val_scenes, one.test_scenes) > 0
        assert f"{one.scenes} training" in str(one)
        assert one.gigabytes == pytest.approx(one.total_frames * one.frame_megabytes / 1000)
    small, large = PRESETS["kd3d-sim-small"], PRESETS["kd3d-sim"]
    assert (large.resolution, large.extent) == (1.0, 75.0)
    assert small.core_minutes < 10  # 5 minutes on 2 cores
    assert small.seed != large.seed
    with pytest.raises(TypeError):
        PRESETS["mine"] = small


def test_a_preset_holds_its_splits_and_says_which_one_it_is(made):
    splits = [name.split("/")[0] for name in files_of(made)]
    assert sorted(splits) == ["test", "training", "training", "validation"]
    content = json.loads((made / "simulation.json").read_text())
    assert content["settings"]["preset"] == "tiny"
    assert content["settings"]["version"] == TINY.version
    assert content["scenes"] == {"training": 2, "validation": 1, "test": 1}
    assert all(entry["frames"] == 2 for entry in content["segments"].values())
    assert not [path for path in made.rglob("*") if path.name.startswith(".")]


def test_a_preset_gives_the_bytes_of_its_options(made, tmp_path):
    simulate_dataset(
        tmp_path,
        scenes=2,
        val_scenes=1,
        test_scenes=1,
        frames=2,
        interval=TINY.interval,
        seed=7,
        resolution=0.02,
        extent=15.0,
        workers=1,
        progress=False,
    )
    assert files_of(tmp_path) == files_of(made)
    assert dataset_fingerprint(tmp_path).startswith("simulated-v")
    with pytest.raises(ConfigError, match=r"no preset, no version there; asked: preset tiny"):
        simulate_preset("tiny", tmp_path, workers=1, progress=False)


def test_two_workers_make_the_same_dataset(made, tmp_path):
    simulate_preset("tiny", tmp_path, workers=2, progress=False)
    assert files_of(tmp_path) == files_of(made)
    assert (tmp_path / "simulation.json").read_text() == (made / "simulation.json").read_text()
    assert dataset_fingerprint(tmp_path) == dataset_fingerprint(made)


def test_a_removed_segment_is_made_again_and_no_other(copied, made):
    victim = some_segment(copied)
    victim.unlink()
    others = {path: path.stat().st_mtime_ns for path in copied.rglob("*.tfrecord")}
    assert simulate_preset("tiny", copied, workers=1, progress=False).written == 1
    assert files_of(copied) == files_of(made)
    assert others.items() <= {p: p.stat().st_mtime_ns for p in copied.rglob("*.tfrecord")}.items()


def test_another_version_is_refused(copied, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"tiny": replace(TINY, version=9)})
    with pytest.raises(ConfigError, match="version 1 there; asked: version 9"):
        simulate_preset("tiny", copied, workers=1, progress=False)


def test_unknown_presets_are_told_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", PRESETS)
    with pytest.raises(ConfigError, match=r"no preset 'kd3d_sim_smal'.*Nearest: kd3d-sim-small"):
        simulate_preset("kd3d_sim_smal", tmp_path)
    with pytest.raises(ConfigError, match="Nearest: kd3d-sim-small, kd3d-sim"):
        preset("")
    assert not list(tmp_path.iterdir())


def test_a_whole_dataset_passes(made):
    whole = verify_dataset(made)
    assert (whole.segments, whole.frames) == (4, 8)
    assert whole.bytes == sum(map(len, files_of(made).values()))
    assert whole.fingerprint == dataset_fingerprint(made)
    assert whole.fingerprint.startswith("tiny-v1-")


def changed(root: Path) -> str:
    flip(some_segment(root))
    return r"changed since it was made: training/.*Delete the changed files.*again"


def removed(root: Path) -> str:
    some_segment(root, "validation").unlink()
    return r"missing: validation/.*makes what is missing"


def unfinished(root: Path) -> str:
    half_made(root)
    return r"3 of 4 segments are made.*makes what is missing"


def added(root: Path) -> str:
    (root / "test" / "mine.tfrecord").write_bytes(b"mine")
    return r"not part of the dataset: test/mine\.tfrecord.*Move"


FAULTS = (changed, removed, unfinished, added)


@pytest.mark.parametrize("damage", FAULTS)
def test_faults_are_found_and_change_the_fingerprint(copied, made, damage):
    before = dataset_fingerprint(copied)
    message = damage(copied)
    with pytest.raises(DatasetError, match=message) as caught:
        verify_dataset(copied)
    assert caught.value.where == str(copied)
    assert dataset_fingerprint(copied) != before == dataset_fingerprint(made)


def test_all_faults_are_named_at_once(copied):
    messages = [damage(copied).split(".*")[0] for damage in FAULTS]
    with pytest.raises(DatasetError) as caught:
        verify_dataset(copied)
    for message in messages:
        assert message.replace("\\", "") in str(caught.value)


def test_many_faulty_files_are_counted(copied):
    for number in range(5):
        (copied / "test" / f"left-{number}.tmp").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"test/left-2\.tmp and 2 more"):
        verify_dataset(copied)


def test_following_the_hint_repairs_the_dataset(copied, made):
    flip(some_segment(copied))
    some_segment(copied).unlink()
    half_made(copied)
    assert simulate_preset("tiny", copied, workers=1, progress=False).written == 2
    assert verify_dataset(copied).fingerprint == dataset_fingerprint(made)


@pytest.mark.parametrize("check", [verify_dataset, dataset_fingerprint])
def test_what_is_no_simulated_dataset_is_told(check, copied):
    with pytest.raises(DatasetError, match=r"there is no simulation\.json"):
        check(copied / "nowhere")
    path = copied / "simulation.json"
    path.write_text("{")
    with pytest.raises(DatasetError, match="not the settings file"):
        check(copied)
    path.write_text('{"settings": {"seed": 1}, "segments": {}}')
    with pytest.raises(DatasetError, match="older kd3d: it has no checksums"):
        check(copied)
