"""``python -m kd3d``: list the commands."""

import sys

COMMANDS = {
    "kd3d-train": "train a student, with or without a teacher, and report on it",
    "kd3d-eval": "evaluate a checkpoint or predictions with the Waymo metric",
    "kd3d-predict": "write a checkpoint's predictions on a dataset to a file",
    "kd3d-data": "simulate, index, describe and check datasets, cut out objects",
    "kd3d-profile": "count parameters, MACs and activations; measure latency and memory",
    "kd3d-report": "compare runs and studies: methods by pairs, gains, costs, pictures",
    "kd3d-convert": "turn checkpoints of OpenPCDet into kd3d's, and back",
}


def main() -> int:
    """Print the commands with one line each."""
    import kd3d

    print(f"kd3d {kd3d.__version__}: knowledge distillation of LiDAR 3D object detectors\n")
    for name, purpose in COMMANDS.items():
        print(f"  {name:<14}{purpose}")
    print("\nEach one explains itself with --help.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
