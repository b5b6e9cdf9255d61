"""Draw a test frame as the gain study's networks see it: ``python docs/make_study_picture.py``.

Needs what ``make gain-study`` leaves: the data, the teacher, and the runs of one seed.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch

from kd3d import WaymoDataModule
from kd3d.detectors import Detector
from kd3d.structures import Detections
from kd3d.visualize import save_bev

ROOT = Path(__file__).parents[1]
RUNS = {
    "plain student": "plain-seed0/plain",
    "started from the teacher": "plain_init-seed0/initialised",
    "the same, and distilled": "kd_init-seed0/student",
}


def main() -> None:
    """Draw ground truth, teacher and three students."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=str(ROOT / "data" / "kd3d-sim-small"))
    parser.add_argument("--runs", default=str(ROOT / "logs/train/studies/gain_study/runs"))
    parser.add_argument("--frame", type=int, default=300, help="of the test split")
    parser.add_argument("--out", default=str(ROOT / "docs" / "images" / "study_frame.png"))
    arguments = parser.parse_args()

    teacher = ROOT / "docs" / "results" / "gain_study" / "teachers" / "teacher.ckpt"
    files = {"teacher": teacher}
    files |= {name: Path(arguments.runs) / of / "detector.ckpt" for name, of in RUNS.items()}
    networks = {name: Detector.from_checkpoint(file) for name, file in files.items()}
    points, truth, name = frame(arguments.data, arguments.frame)
    save_bev(
        arguments.out,
        points,
        [(title, network.predict(points)) for title, network in networks.items()],
        point_cloud_range=networks["teacher"].point_cloud_range,
        ground_truth=truth,
        caption=f"kd3d-sim-small, test split, {name}",
    )
    print(arguments.out)


def frame(root: str, number: int) -> tuple[torch.Tensor, Detections, str]:
    """Read points and labelled boxes of a test frame."""
    data = WaymoDataModule(root, test="test/*.tfrecord", batch_size=1, num_workers=0)
    data.setup("test")
    batch = next(islice(data.test_dataloader(), number, None))
    seen = batch.num_points[0] > 0
    boxes, labels = batch.boxes[0][seen], batch.labels[0][seen]
    return batch.points, Detections(boxes, torch.ones(len(boxes)), labels), batch.frame_ids[0]


if __name__ == "__main__":
    main()
