from dataclasses import replace

import numpy as np
import pytest

from kd3d.errors import ConfigError, DatasetError
from kd3d.simulate import default_sensors, sensors_of, simulate_dataset
from kd3d.simulate.manifest import fingerprint
from kd3d.simulate.sensors import top_beams
from kd3d.waymo import calibrations_of

SMALL = {"frames": 1, "resolution": 0.05, "extent": 25.0, "workers": 1, "progress": False}


def test_top_beams_are_those_of_the_roof_sensor():
    beams = np.degrees(top_beams())
    gaps = np.diff(beams)
    assert len(beams) == 64
    assert beams[0] == pytest.approx(-17.6)
    assert beams[-1] == pytest.approx(2.4)
    assert (gaps > 0).all()
    assert 0.55 < gaps[0] < 0.7
    assert 0.14 < gaps[-1] < 0.2
    assert (np.diff(gaps) < 1e-9).all()


def test_five_sensors_with_rotations_as_extrinsics():
    sensors = default_sensors()
    assert [sensor.calibration.name for sensor in sensors] == [1, 2, 3, 4, 5]
    for sensor in sensors:
        turn = sensor.calibration.extrinsic[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        assert (sensor.calibration.beam_inclinations is None) == (sensor.calibration.name != 1)


def test_beam_formula_is_close_to_the_real_table(shared_data):
    real = {c.name: c for c in calibrations_of(shared_data / "frames" / "full_frame.tfrecord")}
    assert np.abs(np.degrees(real[1].beam_inclinations - top_beams())).max() < 0.4


def test_calibration_is_copied_from_a_record(tmp_path):
    first = simulate_dataset(tmp_path / "a", scenes=1, val_scenes=0, **SMALL)
    (record,) = first.root.rglob("*.tfrecord")
    copied = sensors_of(record, resolution=0.05)
    assert fingerprint(copied) == fingerprint(default_sensors(0.05))
    again = simulate_dataset(tmp_path / "b", scenes=1, val_scenes=0, calibration=record, **SMALL)
    (other,) = again.root.rglob("*.tfrecord")
    assert other.read_bytes() == record.read_bytes()


def test_calibration_of_a_real_car(tmp_path, shared_data):
    record = shared_data / "frames" / "full_frame.tfrecord"
    made = simulate_dataset(tmp_path, scenes=1, val_scenes=0, calibration=record, **SMALL)
    (written,) = made.root.rglob("*.tfrecord")
    for ours, theirs in zip(calibrations_of(written), calibrations_of(record), strict=True):
        np.testing.assert_array_equal(ours.extrinsic, theirs.extrinsic)
        assert ours.beam_inclination_min == theirs.beam_inclination_min
        if theirs.beam_inclinations is not None:
            np.testing.assert_array_equal(ours.beam_inclinations, theirs.beam_inclinations)
    with pytest.raises(ConfigError, match="sensors"):
        simulate_dataset(tmp_path, scenes=1, val_scenes=0, **SMALL)


def test_a_missing_calibration_record_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.tfrecord"):
        simulate_dataset(
            tmp_path / "out",
            scenes=1,
            val_scenes=0,
            calibration=tmp_path / "none.tfrecord",
            **SMALL,
        )
    assert not (tmp_path / "out").exists()


def test_fingerprint_sees_place_beams_and_shape():
    sensors = default_sensors(0.1)
    calibration = sensors[0].calibration
    moved = calibration.extrinsic.copy()
    moved[0, 3] += 0.01
    others = [
        default_sensors(0.2),
        sensors[1:],
        (replace(sensors[0], calibration=replace(calibration, extrinsic=moved)), *sensors[1:]),
        (
            replace(
                sensors[0],
                calibration=replace(
                    calibration, beam_inclinations=calibration.beam_inclinations + 1e-4
                ),
            ),
            *sensors[1:],
        ),
    ]
    names = {fingerprint(s) for s in (sensors, *others)}
    assert len(names) == 5
    assert fingerprint(default_sensors(0.1)) == fingerprint(sensors)


@pytest.mark.parametrize("resolution", [0.0, -1.0, 1.01, float("nan"), 1e-3])
def test_resolution_out_of_range(resolution):
    with pytest.raises(ConfigError, match="resolution"):
        default_sensors(resolution)
