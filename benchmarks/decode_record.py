"""Decoding one full-size Waymo record, against the bare inflate of the same zlib streams.

Ours is everything from the file to the `Frame`: framing, both checksums, protobuf, inflate, and the
points of five lasers and two returns in float64. The comparison is Python's ``zlib.decompress`` of
the record's range-image and pose streams, in memory already, and nothing else.

Where zlib-ng is installed (the extra ``fast``), kd3d is timed with it and without it.
The times are the process's own seconds of processor time, so other work on the machine does not
count.
"""

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from _timing import interleaved_medians, machine

from kd3d.waymo import (
    Frame,
    RawFrame,
    RawLaser,
    iterate_records,
    matrix,
    read_frames,
    schema,
    write_segment,
)

SHARED_RECORD = (
    Path(__file__).resolve().parents[2] / "shared" / "data" / "frames" / "full_frame.tfrecord"
)
LARGEST_RATIO = 2.0


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, help="a tfrecord file; its first record is decoded")
    parser.add_argument("--repeats", type=int, default=15, help="interleaved runs of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = arguments.record or SHARED_RECORD
        if arguments.record is None and not record.is_file():
            record = Path(folder) / "made.tfrecord"
            write_segment(record, [made_frame()])
        report(record, arguments.repeats)


def report(record: Path, repeats: int) -> None:
    """Time both and print."""
    streams = streams_of(next(iterate_records(record)))
    frame = next(read_frames(record))
    inflaters = [zlib] if matrix.INFLATER is zlib else [matrix.INFLATER, zlib]
    tasks: list[Callable[[], object]] = [
        partial(decode_with, inflater, record) for inflater in inflaters
    ]
    tasks.append(lambda: inflate_all(streams))
    *ours, inflate = interleaved_medians(tasks, repeats, time.process_time)
    packed = sum(map(len, streams)) / 1e6
    print(f"machine            {machine()}; one thread used")
    print(f"record             {record.name}: {len(frame.points):,} points")
    print(
        f"streams            {len(streams)}, {packed:.1f} MB to {inflate_all(streams) / 1e6:.1f} MB"
    )
    print(f"zlib, inflate only {1e3 * inflate:8.1f} ms (median of {repeats})")
    for inflater, seconds in zip(inflaters, ours, strict=True):
        print(
            f"kd3d, whole record {1e3 * seconds:8.1f} ms with {inflater.__name__:18}"
            f"{seconds / inflate:6.2f} x    (at most {LARGEST_RATIO:g})"
        )


def decode_with(inflater: ModuleType, record: Path) -> Frame:
    """Decode the first record of a file by one of the modules that inflate."""
    usual, matrix.INFLATER = matrix.INFLATER, inflater
    try:
        return next(read_frames(record))
    finally:
        matrix.INFLATER = usual


def streams_of(payload: bytes) -> list[bytes]:
    """Return the zlib streams that a reader of points must inflate."""
    lasers = schema.Frame.FromString(payload).lasers
    images = [image for laser in lasers for image in (laser.ri_return1, laser.ri_return2)]
    streams = [image.range_image_compressed for image in images]
    poses = [image.range_image_pose_compressed for image in images]
    return [stream for stream in streams + poses if stream]


def inflate_all(streams: list[bytes]) -> int:
    """Inflate streams one by one and forget them; return how many bytes that made."""
    return sum(len(zlib.decompress(stream)) for stream in streams)


def made_frame() -> RawFrame:
    """Return a full-size frame of noise on smooth ranges, where the shared record is absent."""
    generator = np.random.default_rng(0)
    lasers = []
    for name, height, width in ((1, 64, 2650), *((name, 200, 600) for name in (2, 3, 4, 5))):
        smooth = np.abs(10 + 30 * np.sin(np.linspace(0, 20, width)) * np.ones((height, 1)))
        image = generator.random((2, height, width, 4)).astype(np.float32)
        image[..., 0] = smooth + 0.01 * generator.standard_normal((2, height, width))
        image[generator.random((2, height, width)) < 0.55] = -1
        poses = generator.normal(0, 1e-3, (height, width, 6)).astype(np.float32)
        lasers.append(
            RawLaser(
                name=name,
                extrinsic=np.eye(4),
                beam_inclination_min=-0.3,
                beam_inclination_max=0.05,
                returns=(image[0], image[1]),
                pixel_pose=poses if name == 1 else None,
            )
        )
    return RawFrame(context_name="made", timestamp_micros=0, pose=np.eye(4), lasers=tuple(lasers))


if __name__ == "__main__":
    main()
