"""One frame of a scene as a raw Waymo frame."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kd3d.simulate.raycast import cast
from kd3d.simulate.rays import sensor_rays
from kd3d.simulate.returns import range_images
from kd3d.simulate.scene import Scene, pose_matrix
from kd3d.simulate.sensors import SWEEP_SECONDS, Sensor
from kd3d.simulate.shapes import LABEL_LIFT
from kd3d.simulate.windows import Parts
from kd3d.waymo import TOP, RawFrame, RawLabel, RawLaser
from kd3d.waymo.points import points_of

__all__ = ["count_points", "render_frames"]

FloatArray = npt.NDArray[np.float64]

#: Objects up to this distance (metres) from the recording car are labelled.
_LABEL_REACH = 75.0
#: Time of the first frame of every segment, microseconds.
_EPOCH = 1_500_000_000_000_000


def render_frames(
    scene: Scene,
    sensors: tuple[Sensor, ...],
    *,
    frames: int,
    name: str,
    seed: tuple[int, ...],
    interval: float = SWEEP_SECONDS,
) -> Iterator[RawFrame]:
    """Record a scene at 10 Hz, or less often.

    Objects stand still during a sweep; the car does not, and each column of TOP has its own pose.

    Args:
        scene: what there is.
        sensors: what records it.
        frames: number of frames.
        name: context name of the segment.
        seed: source of the noise; a frame's noise depends on it and the frame's number only.
        interval: seconds between two frames.

    Yields:
        Frames in order of time. Labels carry the number of points that really lie in their boxes.
    """
    still = {
        sensor.calibration.name: sensor_rays(sensor) for sensor in sensors if not sensor.is_top
    }
    for number in range(frames):
        time = number * interval
        # A trailing 0 would give the stream of `seed` itself, which drew the scene.
        rng = np.random.default_rng([*seed, number + 1])
        local = scene.ego_angles(np.array([time]))
        street = pose_matrix(local[0])
        pose = pose_matrix(scene.to_global(local)[0])
        parts = _parts_seen(scene, time, street)
        lasers = []
        for sensor in sensors:
            pixel_pose = None
            if sensor.is_top:
                pixel_pose = _pixel_pose(scene, sensor, time)
                motion = np.linalg.inv(pose) @ pose_matrix(pixel_pose[0].astype(np.float64))
                rays = sensor_rays(sensor, motion)
            else:
                rays = still[sensor.calibration.name]
            hits = cast(rays, parts, scene.ground, street, rng)
            returns = range_images(rays, hits, scene, street, rng)
            lasers.append(_laser(sensor, returns, pixel_pose))
        frame = RawFrame(
            context_name=name,
            timestamp_micros=_EPOCH + round((time - SWEEP_SECONDS / 2) * 1e6),
            pose=pose,
            lasers=tuple(lasers),
            location="simulated",
            time_of_day="Day",
            weather=scene.weather.name,
        )
        yield replace(frame, labels=_labels(scene, time, street, frame))


def _parts_seen(scene: Scene, time: float, street: FloatArray) -> Parts:
    """All parts in the vehicle frame; they stand upright there, as labels do."""
    table, (places, headings) = scene.parts, _actors_seen(scene, time, street)
    heading = headings[table.actor]
    cos, sin = np.cos(heading), np.sin(heading)
    x, y, z = table.centre.T
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1)
    return Parts(
        centre=places[table.actor] + turned,
        half=table.half,
        heading=heading,
        is_round=table.is_round,
        free_path=table.free_path,
        actor=table.actor,
        transmission=table.transmission,
        lean=table.lean,
    )


def _actors_seen(scene: Scene, time: float, street: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Places ``[A, 3]`` on the ground and headings ``[A]`` of the actors in the vehicle frame."""
    actors = scene.actors_at(time)
    inverse = np.linalg.inv(street)
    places = actors[:, :3] @ inverse[:3, :3].T + inverse[:3, 3]
    return places, actors[:, 3] - np.arctan2(street[1, 0], street[0, 0])


def _pixel_pose(scene: Scene, sensor: Sensor, time: float) -> npt.NDArray[np.float32]:
    """``[H, W, 6]`` roll, pitch, yaw, x, y, z of the car while TOP turns from column to column."""
    columns = sensor.columns
    times = time + ((np.arange(columns) + 0.5) / columns - 0.5) * SWEEP_SECONDS
    angles = scene.to_global(scene.ego_angles(times)).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(angles, (sensor.rows, columns, 6)))


def _laser(
    sensor: Sensor,
    returns: tuple[npt.NDArray[np.float32], ...],
    pixel_pose: npt.NDArray[np.float32] | None,
) -> RawLaser:
    calibration = sensor.calibration
    return RawLaser(
        name=calibration.name,
        extrinsic=calibration.extrinsic,
        beam_inclinations=calibration.beam_inclinations,
        beam_inclination_min=calibration.beam_inclination_min,
        beam_inclination_max=calibration.beam_inclination_max,
        returns=returns,
        pixel_pose=pixel_pose,
    )


def _labels(scene: Scene, time: float, street: FloatArray, frame: RawFrame) -> tuple[RawLabel, ...]:
    """Labels of the objects in reach, with the points that the frame's images decode to."""
    places, headings = _actors_seen(scene, time, street)
    near = np.hypot(places[:, 0], places[:, 1]) < _LABEL_REACH
    chosen = [i for i, actor in enumerate(scene.actors) if actor.waymo_type and near[i]]
    boxes = np.zeros((len(chosen), 7))
    boxes[:, :3] = places[chosen]
    boxes[:, 3:6] = np.reshape([scene.actors[i].shape.size for i in chosen], (-1, 3))
    boxes[:, 5] -= LABEL_LIFT
    boxes[:, 2] += LABEL_LIFT + boxes[:, 5] / 2
    boxes[:, 6] = (headings[chosen] + np.pi) % (2 * np.pi) - np.pi
    points = points_of(frame)
    counts, top_counts = count_points(points.points, points.laser == TOP, boxes)
    labels = []
    for row, (i, box) in enumerate(zip(chosen, boxes, strict=True)):
        actor = scene.actors[i]
        way = actor.heading + actor.turn_rate * time + scene.bearing
        labels.append(
            RawLabel(
                box=box,
                waymo_type=actor.waymo_type,
                id=actor.name,
                num_points=int(counts[row]),
                num_top_points=int(top_counts[row]),
                speed=(actor.speed * float(np.cos(way)), actor.speed * float(np.sin(way))),
            )
        )
    return tuple(labels)


def count_points(
    points: npt.NDArray[np.float32], marked: npt.NDArray[np.bool_], boxes: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number of points in each upright box, faces included, and of the marked ones among them.

    Args:
        points: ``[N, 3 or more]`` metres.
        marked: ``[N]``.
        boxes: ``[M, 7]`` x, y, z, length, width, height, heading; metres, radians. Taken as
            float32, which is what a reader of the record gets.

    Returns:
        Two times ``[M]`` int64.
    """
    # Sorted by x, the points that can lie in a box are a slice, so the cost does not grow with
    # points times boxes.
    order = np.argsort(points[:, 0], kind="stable")
    points, marked = points[order, :3].astype(np.float64), marked[order]
    boxes = boxes.astype(np.float32).astype(np.float64)
    reach = np.hypot(boxes[:, 3], boxes[:, 4]) / 2
    starts = np.searchsorted(points[:, 0], boxes[:, 0] - reach)
    stops = np.searchsorted(points[:, 0], boxes[:, 0] + reach)
    counts = np.zeros((2, len(boxes)), dtype=np.int64)
    for row, (start, stop, box) in enumerate(zip(starts, stops, boxes, strict=True)):
        dx, dy, dz = (points[start:stop] - box[:3]).T
        cos, sin = np.cos(box[6]), np.sin(box[6])
        inside = np.abs(cos * dx + sin * dy) <= box[3] / 2
        inside &= np.abs(cos * dy - sin * dx) <= box[4] / 2
        inside &= np.abs(dz) <= box[5] / 2
        counts[:, row] = inside.sum(), (inside & marked[start:stop]).sum()
    return counts[0], counts[1]
