"""Write the data card of the small simulated benchmark: ``make data-card``.

Makes ``data/kd3d-sim-small`` if it is not there, reads all of it, and writes the part of
docs/simulated-benchmark.md between its two marks, its pictures, and
docs/results/simulated_benchmark.json. Where the real sweeps are (--real), they are drawn and
counted beside simulated ones of the same kind of sensor.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _card_facts import (
    LEVELS,
    QUANTILES,
    SPLITS,
    Objects,
    Reading,
    frames_of,
    object_facts,
    quantiles_of,
    read_objects,
    split_facts,
    weathers,
)
from _card_page import BEGIN, END, card, new_page
from _card_pictures import (
    draw_beside,
    draw_comparison,
    draw_frames,
    draw_points,
    draw_sizes,
    draw_strips,
)
from numpy.typing import NDArray

from kd3d.errors import DatasetError
from kd3d.files import write_text
from kd3d.metrics.functional.breakdowns import RINGS
from kd3d.simulate import PRESETS, simulate_dataset, simulate_preset, verify_dataset
from kd3d.waymo import CLASSES, TOP, Frame, RawFrame, read_frames, read_raw_frames

DOCS = Path(__file__).parent
SMALL, LARGE = PRESETS["kd3d-sim-small"], PRESETS["kd3d-sim"]
SOURCE = "Real: Argoverse 2 sensor dataset sample (CC BY-NC-SA 4.0), re-packed as Waymo records."
#: Real objects farther away (metres) have no points to compare with.
REACH = 75.0


@dataclass(frozen=True)
class Sweeps:
    """Sweeps of one sensor on the roof, to be compared.

    Args:
        frames: points and labels; numbers of points are those of this sensor.
        raw: the first one's range images.
    """

    frames: list[Frame]
    raw: RawFrame

    @property
    def objects(self) -> Objects:
        """The objects that the sensor can reach."""
        objects = read_objects(self.frames).objects
        return objects.where(objects.distance < REACH)

    @property
    def intensity(self) -> NDArray[np.float32]:
        """Of all points, as stored."""
        return np.concatenate([frame.points[:, 3] for frame in self.frames])

    def facts(self) -> dict[str, Any]:
        """Count what the card compares."""
        objects = self.objects
        seen = objects.where(objects.points > 0)
        return {
            "sweeps": len(self.frames),
            "points_per_sweep": round(float(np.mean([len(f.points) for f in self.frames]))),
            "second_returns": round(
                float(np.mean(np.concatenate([f.return_index == 2 for f in self.frames]))), 3
            ),
            "objects": len(objects.points),
            "points": {
                name: {
                    ring: quantiles_of(seen.points[(seen.kind == k) & (seen.ring == r)])
                    for r, ring in enumerate(RINGS)
                }
                for k, name in enumerate(CLASSES)
            },
            "intensity": quantiles_of(self.intensity),
        }


def main() -> None:
    """Read the benchmark, and write figures, pictures and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("data") / SMALL.name, help="the dataset")
    parser.add_argument("--page", type=Path, default=DOCS / "simulated-benchmark.md")
    parser.add_argument("--results", type=Path, default=DOCS / "results/simulated_benchmark.json")
    parser.add_argument("--images", type=Path, default=DOCS / "images")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real_lidar"))
    parser.add_argument("--sweeps", type=int, default=24, help="full sweeps simulated to compare")
    arguments = parser.parse_args()
    if not arguments.root.exists():
        simulate_preset(SMALL.name, arguments.root)
    whole = verify_dataset(arguments.root, progress=True)
    readings = {split: read_objects(frames_of(arguments.root, split)) for split in SPLITS}
    objects = all_objects(readings)
    with tempfile.TemporaryDirectory() as folder:
        made = simulated_sweeps(Path(folder), arguments.sweeps)
    real = real_sweeps(arguments.real)
    results = {
        "fingerprint": whole.fingerprint,
        "bytes": whole.bytes,
        "rings": list(RINGS),
        "levels": list(LEVELS),
        "quantiles": list(QUANTILES),
        "splits": {
            split: split_facts(reading, weathers(arguments.root, split))
            for split, reading in readings.items()
        },
        "classes": object_facts(objects),
        "simulated_sweeps": made.facts(),
        "real_sweeps": real.facts() if real is not None else None,
    }
    write_text(arguments.results, json.dumps(results, indent=1) + "\n")
    draw(arguments.images, arguments.root, readings, made, real)
    write_card(arguments.page, card(results))
    print(f"written: {arguments.page}, {arguments.results}, pictures in {arguments.images}")


def all_objects(readings: dict[str, Reading]) -> Objects:
    """Join the objects of all splits."""
    parts = [reading.objects for reading in readings.values()]
    return Objects(
        *(
            np.concatenate([getattr(one, name) for one in parts])
            for name in Objects.__dataclass_fields__
        )
    )


def simulated_sweeps(folder: Path, count: int) -> Sweeps:
    """Simulate single sweeps of the full sensor, as in kd3d-sim, and keep its roof's."""
    simulate_dataset(
        folder,
        scenes=0,
        val_scenes=0,
        test_scenes=count,
        frames=1,
        seed=LARGE.seed,
        resolution=LARGE.resolution,
        extent=LARGE.extent,
    )
    first = next(iter(sorted((folder / "test").glob("*.tfrecord"))))
    frames = [of_the_roof(frame) for frame in frames_of(folder, "test")]
    return Sweeps(frames, next(iter(read_raw_frames(first))))


def of_the_roof(frame: Frame) -> Frame:
    """Keep the points of the sensor on the roof."""
    top = frame.laser == TOP
    return replace(
        frame,
        points=frame.points[top],
        laser=frame.laser[top],
        return_index=frame.return_index[top],
        range=frame.range[top],
        in_nlz=frame.in_nlz[top],
        num_points=frame.num_top_points,
    )


def real_sweeps(folder: Path) -> Sweeps | None:
    """Read the real sweeps, if they are there; say so if not."""
    paths = sorted(folder.glob("*.tfrecord"))
    if not paths:
        print(f"no real sweeps in {folder}: nothing is compared with them")
        return None
    frames = [frame for path in paths for frame in read_frames(path)]
    return Sweeps(frames, next(iter(read_raw_frames(paths[0]))))


def draw(
    images: Path, root: Path, readings: dict[str, Reading], made: Sweeps, real: Sweeps | None
) -> None:
    """Draw all pictures."""
    draw_frames(images / "sim_frames.png", spread_frames(root, 6), reach=50.0)
    draw_points(images / "sim_points.png", readings, all_objects(readings))
    draw_sizes(images / "sim_sizes.png", all_objects(readings))
    small = next(iter(read_raw_frames(sorted((root / "test").glob("*.tfrecord"))[0])))
    strips = {"simulated, kd3d-sim": made.raw, f"simulated, {SMALL.name}": small}
    both, caption = (made.objects, made.intensity), ""
    if real is not None:
        strips = {"real": real.raw, **strips}
        caption = SOURCE
        pair = {"real": real.frames[0], "simulated": made.frames[0]}
        draw_beside(images / "sim_real_bev.png", pair, SOURCE, REACH)
    draw_strips(images / "sim_strips.png", strips, caption)
    theirs = (real.objects, real.intensity) if real is not None else None
    draw_comparison(images / "sim_real_points.png", both, theirs, caption)


def spread_frames(root: Path, count: int) -> list[Frame]:
    """Read the first frames of test segments, evenly spread."""
    paths = sorted((root / "test").glob("*.tfrecord"))
    if len(paths) < count:
        raise DatasetError(
            f"{len(paths)} test segments, {count} are drawn.", where=str(root), hint="Make more."
        )
    return [next(iter(read_frames(paths[i * len(paths) // count]))) for i in range(count)]


def write_card(page: Path, text: str) -> None:
    """Put the card between the page's marks; a page that is not there is begun."""
    whole = page.read_text(encoding="utf-8") if page.is_file() else new_page()
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise DatasetError(
            f"has not one {BEGIN} and one {END}.", where=str(page), hint="Add what is lacking."
        )
    before, rest = whole.split(BEGIN)
    write_text(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
