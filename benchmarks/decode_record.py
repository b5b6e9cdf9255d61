"""Decoding one full-size Waymo record, against the bare inflate of the same zlib streams.

Ours is everything from the file to the `Frame`: framing, both checksums, protobuf, inflate, and the
points of five lasers and two returns in float64. The comparison is Python's ``zlib.decompress`` of
the record's range-image and pose streams, in memory already, and nothing else.
"""

import argparse
import tempfile
import zlib
from pathlib import Path

import numpy as np
from _timing import interleaved_medians, machine

from kd3d.waymo import RawFrame, RawLaser, iterate_records, read_frames, schema, write_segment

SHARED_RECORD = (
    Path(__file__).resolve().parents[2] / "shared" / "data" / "frames" / "full_frame.tfrecord"
)
LARGEST_RATIO = 3.0


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
    ours, inflate = interleaved_medians(
        [lambda: next(read_frames(record)), lambda: [inflated_size(one) for one in streams]],
        repeats,
    )
    packed = sum(map(len, streams)) / 1e6
    unpacked = sum(map(inflated_size, streams)) / 1e6
    print(f"machine            {machine()}; one thread used")
    print(f"record             {record.name}: {len(frame.points):,} points")
    print(f"streams            {len(streams)}, {packed:.1f} MB to {unpacked:.1f} MB")
    print(f"kd3d, whole record {1e3 * ours:8.1f} ms (median of {repeats})")
    print(f"zlib, inflate only {1e3 * inflate:8.1f} ms")
    print(f"ratio              {ours / inflate:8.2f}    (at most {LARGEST_RATIO:g})")


def streams_of(payload: bytes) -> list[bytes]:
    """Return the zlib streams that a reader of points must inflate."""
    lasers = schema.Frame.FromString(payload).lasers
    images = [image for laser in lasers for image in (laser.ri_return1, laser.ri_return2)]
    streams = [image.range_image_compressed for image in images]
    poses = [image.range_image_pose_compressed for image in images]
    return [stream for stream in streams + poses if stream]


def inflated_size(stream: bytes) -> int:
    """Inflate a stream and forget it."""
    return len(zlib.decompress(stream))


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
