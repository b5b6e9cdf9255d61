"""Memory and time of ``kd3d-data objects``, over a dataset and over one four times as long.

Recordings of simulated frames, each a file of its own; every object of every class is cut, so that
the database grows with the dataset. The build runs in a process of its own with one and with two
workers; the most memory that it, and its largest worker, ever held is counted, less that of a
Python that has imported ``kd3d.data``.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _timing import machine

from kd3d.data import WaymoFrames, build_index, build_objects
from kd3d.simulate import default_sensors, render_frames, sample_scene
from kd3d.waymo import RecordWriter, encode_frame

LARGEST_GROWTH_MB = 64
WIDTHS = (10, 9, 11, 10, 10, 12, 7)
FRAMES = 20
RESOLUTION = 0.5


def main() -> None:
    """Print the most memory for both sizes, and the growth from one to the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, default=4, help="of the smaller dataset")
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        root, out, workers = arguments.build
        build(Path(root), Path(out), int(workers))
        return
    print(f"{machine()}; {FRAMES} frames a recording, resolution {RESOLUTION:g}")
    bare = float(run(["-c", BARE])[0])
    print(f"a Python that has imported kd3d.data holds {bare:.0f} MB; above that:")
    columns = ("recordings", "workers", "build", "a worker", "objects", "points", "s")
    print("".join(f"{name:>{width}}" for name, width in zip(columns, WIDTHS, strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KD3D_CACHE"] = f"{folder}/cache"
        payloads = made_frames()
        for workers in (1, 2):
            held = []
            for count in (arguments.recordings, 4 * arguments.recordings):
                root = Path(folder) / str(count)
                if not root.exists():
                    write(root, payloads, count)
                out = Path(folder) / f"objects-{count}-{workers}"
                peak, worker, objects, points, seconds = map(
                    float, run([__file__, "--build", str(root), str(out), str(workers)])
                )
                held.append(max(peak, worker))
                print(
                    f"{count:10,}{workers:9}{peak - bare:8.0f} MB{max(worker - bare, 0):7.0f} MB"
                    f"{objects:10,.0f}{points:12,.0f}{seconds:7.1f}"
                )
            grown = held[1] - held[0]
            print(f"    four times the data: {grown:+.0f} MB (at most {LARGEST_GROWTH_MB})")


BARE = """
import resource, kd3d.data
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def build(root: Path, out: Path, workers: int) -> None:
    """Cut the objects out; print peak memory of process and worker, counts and seconds."""
    source = WaymoFrames(build_index(root, "*.tfrecord"))
    start = time.perf_counter()
    found = build_objects(source, out, intervals={}, workers=workers, progress=False)
    seconds = time.perf_counter() - start
    peaks = [
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(*peaks, sum(found.objects.values()), found.points, seconds)


def made_frames() -> list[bytes]:
    """Return the records of one simulated recording."""
    scene = sample_scene(np.random.default_rng(0), duration=FRAMES / 10, extent=60.0)
    sensors = default_sensors(RESOLUTION)
    frames = render_frames(scene, sensors, frames=FRAMES, name="made", seed=(0,))
    return [encode_frame(frame) for frame in frames]


def write(root: Path, payloads: list[bytes], recordings: int) -> None:
    """Write recordings that hold the same frames."""
    for number in range(recordings):
        with RecordWriter(root / f"segment-{number:04}.tfrecord") as writer:
            for payload in payloads:
                writer.write(payload)


def run(words: list[str]) -> list[str]:
    """Run Python and return the words of the last line that it prints."""
    done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1].split()


if __name__ == "__main__":
    main()
