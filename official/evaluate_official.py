"""Run the original Waymo detection metric on one file of arrays.

Runs in the environment that `make official-env` builds (Python 3.9 to 3.11, TensorFlow 2.13), where
kd3d is not installed:

    python evaluate_official.py INPUT.npz OUTPUT.json

INPUT holds `pred_boxes` [N, 7] and `gt_boxes` [M, 7] float32, `pred_scores` [N] float32,
`pred_types` [N] and `gt_types` [M] uint8, `pred_frame_ids` [N] and `gt_frame_ids` [M] int64,
`pred_overlap_nlz` [N] bool, `gt_difficulty` [M] uint8 (1 or 2). Objects without points are to be
left out before. OUTPUT maps the name of every breakdown, such as
`RANGE_TYPE_VEHICLE_[0, 30)_LEVEL_1`, to its {"AP": ..., "APH": ...}.

With --timed the metric runs once for each line on the standard input, and each run's seconds are
printed as a line; one run to warm up comes first.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from waymo_open_dataset.metrics.ops import py_metrics_ops
from waymo_open_dataset.metrics.python import config_util_py
from waymo_open_dataset.protos import metrics_pb2

IOU_THRESHOLDS = (0.0, 0.7, 0.5, 0.5, 0.5)
LEVELS = "difficulties { levels: LEVEL_1 levels: LEVEL_2 }"


def configuration() -> metrics_pb2.Config:
    """Give the configuration of the public leaderboard's numbers."""
    lines = [
        "breakdown_generator_ids: OBJECT_TYPE " + LEVELS,
        "breakdown_generator_ids: RANGE " + LEVELS,
        "matcher_type: TYPE_HUNGARIAN box_type: TYPE_3D",
        *(f"iou_thresholds: {value}" for value in IOU_THRESHOLDS),
        *(f"score_cutoffs: {index * 0.01}" for index in range(100)),
        "score_cutoffs: 1.0",
    ]
    return text_format.Parse("\n".join(lines), metrics_pb2.Config())


def operands(path: str) -> dict:
    """Load the arrays as the metric's operands."""
    with np.load(path) as arrays:
        return {
            "prediction_bbox": tf.constant(arrays["pred_boxes"], tf.float32),
            "prediction_type": tf.constant(arrays["pred_types"], tf.uint8),
            "prediction_score": tf.constant(arrays["pred_scores"], tf.float32),
            "prediction_frame_id": tf.constant(arrays["pred_frame_ids"], tf.int64),
            "prediction_overlap_nlz": tf.constant(arrays["pred_overlap_nlz"], tf.bool),
            "ground_truth_bbox": tf.constant(arrays["gt_boxes"], tf.float32),
            "ground_truth_type": tf.constant(arrays["gt_types"], tf.uint8),
            "ground_truth_frame_id": tf.constant(arrays["gt_frame_ids"], tf.int64),
            "ground_truth_difficulty": tf.constant(arrays["gt_difficulty"], tf.uint8),
        }


def main() -> None:
    """Evaluate one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0 for one per core")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)

    config = configuration()
    serialized = config.SerializeToString()
    inputs = operands(arguments.input)
    result = py_metrics_ops.detection_metrics(config=serialized, **inputs)
    names = config_util_py.get_breakdown_names_from_config(config)
    ap = result.average_precision.numpy().tolist()
    aph = result.average_precision_ha_weighted.numpy().tolist()
    scores = {name: {"AP": ap[row], "APH": aph[row]} for row, name in enumerate(names)}
    Path(arguments.output).write_text(json.dumps(scores, indent=1), encoding="utf-8")
    if arguments.timed:
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            py_metrics_ops.detection_metrics(config=serialized, **inputs)
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
