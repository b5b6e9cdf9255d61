"""Compare kd3d's detection metric with the original Waymo evaluator, case by case.

Cases are random scenes and, where ../shared/data/metric_cases is beside the repository, the stored
ones. Exits with 1 if any AP or APH differs by more than 1e-5.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scenes import draw_scene

from kd3d.errors import Kd3dError
from kd3d.metrics.functional import Objects, Predictions
from kd3d.metrics.official import OfficialEvaluator, compare_with_official, find_official
from kd3d.waymo import effective_difficulty

LARGEST_DIFFERENCE = 1e-5
STORED = Path(__file__).resolve().parents[2] / "shared" / "data" / "metric_cases"


def main() -> int:
    """Print one line per case; the value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=5, help="how many random ones")
    parser.add_argument("--cases", type=Path, default=STORED, help="folder of stored cases")
    arguments = parser.parse_args()
    try:
        evaluator = find_official()
        cases = [(path.stem, stored_case(path)) for path in sorted(arguments.cases.glob("*.npz"))]
        cases += [(f"random_{seed}", draw_scene(seed)) for seed in range(arguments.scenes)]
        print("largest difference of AP and APH to the original evaluator, levels 1 and 2")
        print(f"{'case':24} {'predictions':>11} {'objects':>8} {'object type':>12} {'range':>9}")
        largest = max(compare(name, *rows, evaluator) for name, rows in cases)
    except Kd3dError as error:
        print(error, file=sys.stderr)
        return 2
    passed = largest <= LARGEST_DIFFERENCE
    print(f"{len(cases)} cases, largest difference {largest:.1e}: {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


def compare(
    name: str, predictions: Predictions, objects: Objects, evaluator: OfficialEvaluator
) -> float:
    """Print and return the largest difference in one case; infinite if a number is missing."""
    both = compare_with_official(predictions, objects, evaluator)
    gaps = {key: abs(both.ours[key] - both.official[key]) for key in both.official}
    by_type = max(gap for key, gap in gaps.items() if key.count("/") == 1)
    by_range = max(gap for key, gap in gaps.items() if key.count("/") == 2)
    print(f"{name:24} {len(predictions):11} {len(objects):8} {by_type:12.1e} {by_range:9.1e}")
    return np.inf if np.isnan(both.difference) else both.difference


def stored_case(path: Path) -> tuple[Predictions, Objects]:
    """Read the inputs of a stored case; objects without points are left out."""
    with np.load(path) as arrays:
        points = arrays["gt_num_points"]
        kept = points > 0
        return (
            Predictions(
                arrays["pred_boxes"],
                arrays["pred_scores"],
                arrays["pred_frame_ids"],
                arrays["pred_types"].astype(np.int64) - 1,
                arrays["pred_overlap_nlz"],
            ),
            Objects(
                arrays["gt_boxes"][kept],
                arrays["gt_frame_ids"][kept],
                arrays["gt_types"][kept].astype(np.int64) - 1,
                effective_difficulty(arrays["gt_difficulty_given"], points)[kept],
            ),
        )


if __name__ == "__main__":
    sys.exit(main())
