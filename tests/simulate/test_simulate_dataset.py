import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kd3d.errors import ConfigError, DatasetError, OutputError
from kd3d.simulate import (
    EgoPath,
    SimulationSummary,
    default_sensors,
    render_frames,
    sample_scene,
    simulate_dataset,
)
from kd3d.waymo import read_frames

SMALL = {"frames": 2, "resolution": 0.05, "extent": 25.0, "workers": 1, "progress": False}


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.tfrecord")}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimulationSummary:
    out = tmp_path_factory.mktemp("simulated") / "new" / "folder"
    return simulate_dataset(out, scenes=2, val_scenes=1, seed=3, **SMALL)


@pytest.fixture
def copied(made, tmp_path) -> Path:
    for path in made.root.rglob("*.*"):
        target = tmp_path / path.relative_to(made.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def test_layout_and_summary_agree_with_the_records(made):
    names = sorted(files_of(made.root))
    assert [name.split("/")[0] for name in names] == ["training", "training", "validation"]
    assert not [path for path in made.root.rglob("*") if path.name.startswith(".")]
    frames = [frame for name in names for frame in read_frames(made.root / name)]
    assert (made.segments, made.frames, made.written) == (3, 6, 3)
    assert len(frames) == 6
    assert len({frame.context_name for frame in frames}) == 3
    for number, name in enumerate(("Vehicle", "Pedestrian", "Cyclist")):
        seen = sum(int(((f.labels == number) & (f.num_points > 0)).sum()) for f in frames)
        assert made.boxes[name] == seen > 0


def test_frames_of_a_segment_are_ten_hertz(made):
    path = made.root / sorted(files_of(made.root))[0]
    first, second = read_frames(path)
    assert second.timestamp_micros - first.timestamp_micros == 100_000


def test_frames_can_lie_further_apart(tmp_path):
    options = SMALL | {"interval": 0.5}
    simulate_dataset(tmp_path, scenes=0, val_scenes=0, test_scenes=1, seed=3, **options)
    [name] = files_of(tmp_path)
    assert name.startswith("test/")
    first, second = read_frames(tmp_path / name)
    assert second.timestamp_micros - first.timestamp_micros == 500_000
    drive = EgoPath(lane=0.0, speed=8.0, sway=0.1, period=6.0, phase=0.0)
    scene = sample_scene(np.random.default_rng(0), duration=1.0, extent=15.0)
    options = {"name": "drive", "seed": (0,)}
    sensors, scene = default_sensors(0.02), replace(scene, ego=drive)
    _, half_a_second = render_frames(scene, sensors, frames=2, interval=0.5, **options)
    *_, sixth_sweep = render_frames(scene, sensors, frames=6, **options)
    np.testing.assert_allclose(half_a_second.pose, sixth_sweep.pose, atol=1e-9)
    assert half_a_second.timestamp_micros == sixth_sweep.timestamp_micros


def test_two_workers_write_the_same_bytes(made, tmp_path):
    options = SMALL | {"workers": 2}
    simulate_dataset(tmp_path, scenes=2, val_scenes=1, seed=3, **options)
    assert files_of(tmp_path) == files_of(made.root)


def test_seed_and_scene_change_the_scene(made, tmp_path):
    simulate_dataset(tmp_path, scenes=1, val_scenes=1, seed=4, **SMALL)
    frames = [next(iter(read_frames(p))) for p in made.root.rglob("*.tfrecord")]
    frames += [next(iter(read_frames(p))) for p in tmp_path.rglob("*.tfrecord")]
    assert len({frame.points.tobytes() for frame in frames}) == 5


def test_rerun_keeps_what_is_finished(copied):
    stamps = {path: path.stat().st_mtime_ns for path in copied.rglob("*.tfrecord")}
    again = simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert again.written == 0
    assert again.frames == 6
    assert stamps == {path: path.stat().st_mtime_ns for path in copied.rglob("*.tfrecord")}


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_rerun_makes_what_is_missing(copied, made, damage):
    victim = sorted(copied.rglob("*.tfrecord"))[1]
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-100])
    again = simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert again.written == 1
    assert again.boxes == made.boxes
    assert files_of(copied) == files_of(made.root)


def test_more_scenes_can_be_added(copied, made):
    more = simulate_dataset(copied, scenes=3, val_scenes=1, seed=3, **SMALL)
    assert (more.segments, more.written) == (4, 1)
    assert files_of(made.root).items() <= files_of(copied).items()


class FullDisk:
    """Files under temporary names find no room once there have been some."""

    def __init__(self, monkeypatch, room, part):
        self.room, self.part, self.open = room, part, Path.open
        monkeypatch.setattr(Path, "open", lambda path, *args, **kw: self.opened(path, *args, **kw))

    def opened(self, path, *args, **kwargs):
        file = self.open(path, *args, **kwargs)
        if self.part in path.name and path.name.startswith("."):
            self.room -= 1
            if self.room < 0:
                return FullFile(file)
        return file


class FullFile:
    def __init__(self, file):
        self.close, self.file = file.close, file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("part", "room", "kept"), [("segment", 1, 1), ("simulation", 2, 2)])
def test_a_full_disk_stops_with_one_error_and_keeps_what_is_finished(
    made, tmp_path, part, room, kept
):
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, room, part)
        with pytest.raises(OutputError, match=r"the disk is full.*goes on") as caught:
            simulate_dataset(tmp_path, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert caught.value.where == str(tmp_path)
    assert len(files_of(tmp_path)) == kept
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    again = simulate_dataset(tmp_path, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert again.written == 2
    assert files_of(tmp_path) == files_of(made.root)


def test_a_failing_worker_stops_all_and_what_is_finished_is_kept(made, tmp_path):
    victim = sorted(files_of(made.root))[0]
    (tmp_path / victim).mkdir(parents=True)
    options = SMALL | {"workers": 2}
    with pytest.raises(OutputError, match="cannot be written"):
        simulate_dataset(tmp_path, scenes=2, val_scenes=1, seed=3, **options)
    listed = json.loads((tmp_path / "simulation.json").read_text())["segments"]
    finished = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tfrecord")} - {victim}
    assert set(listed) == finished
    (tmp_path / victim).rmdir()
    again = simulate_dataset(tmp_path, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert again.written == 3 - len(listed)
    assert files_of(tmp_path) == files_of(made.root)


def test_what_a_killed_process_left_is_swept_up(copied, made):
    victim = sorted(copied.rglob("*.tfrecord"))[0]
    victim.unlink()
    left = victim.with_name(f".{victim.name}.123.tmp")
    left.write_bytes(b"half")
    simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert not left.exists()
    assert files_of(copied) == files_of(made.root)


def test_a_finished_folder_is_not_written_to(copied):
    stamp = (copied / "simulation.json").stat().st_mtime_ns
    simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)
    assert (copied / "simulation.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("lacking", ["scenes", "sha256"])
def test_a_folder_of_an_older_version_is_named(copied, lacking):
    path = copied / "simulation.json"
    content = json.loads(path.read_text())
    content.pop(lacking, None)
    for entry in content["segments"].values():
        entry.pop(lacking, None)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"older kd3d: it has no checksums.*simulate it again"):
        simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed 3 there; asked: seed 4"),
        ({"resolution": 0.1}, "sensors"),
        ({"frames": 3}, "frames"),
        ({"interval": 0.2}, r"interval 0\.1 there"),
    ],
)
def test_other_settings_are_refused(copied, change, named):
    options = {"scenes": 2, "val_scenes": 1, "seed": 3} | SMALL | change
    before = files_of(copied)
    with pytest.raises(ConfigError, match=named):
        simulate_dataset(copied, **options)
    assert files_of(copied) == before


def test_foreign_and_surplus_records_are_refused(copied):
    with pytest.raises(ConfigError, match="not one of the asked segments"):
        simulate_dataset(copied, scenes=1, val_scenes=1, seed=3, **SMALL)
    (copied / "validation" / "mine.tfrecord").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"mine\.tfrecord"):
        simulate_dataset(copied, scenes=2, val_scenes=1, seed=3, **SMALL)


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}', '{"settings": 1, "segments": {}}'])
def test_a_damaged_settings_file_is_named(tmp_path, text):
    (tmp_path / "simulation.json").write_text(text)
    with pytest.raises(DatasetError, match=r"simulation\.json"):
        simulate_dataset(tmp_path, scenes=1, val_scenes=0, **SMALL)


def test_an_unwritable_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="may write"):
        simulate_dataset(tmp_path / "file" / "out", scenes=1, val_scenes=0, **SMALL)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        simulate_dataset(tmp_path / "out", scenes=1, val_scenes=0, **SMALL)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("scenes", -1),
        ("scenes", 0),
        ("val_scenes", -1),
        ("test_scenes", -1),
        ("interval", 0.05),
        ("interval", 11.0),
        ("frames", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("workers", 0),
        ("extent", 5.0),
        ("extent", float("nan")),
        ("resolution", 0.0),
        ("resolution", 1.5),
        ("resolution", 0.001),
    ],
)
def test_options_out_of_range_are_named(tmp_path, option, value):
    options = {"scenes": 1, "val_scenes": 0} | SMALL | {option: value}
    with pytest.raises(ConfigError, match=option):
        simulate_dataset(tmp_path, **options)
    assert not list(tmp_path.iterdir())
