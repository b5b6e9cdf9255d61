"""``kd3d-eval``: evaluate a checkpoint with the Waymo metric."""

import csv
import io
import json
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd3d.cli.folders import check_folders
from kd3d.cli.guard import clear_errors
from kd3d.cli.job_names import register_job_name
from kd3d.cli.quiet import quieten

__all__ = ["main"]

register_job_name()


@clear_errors
def main() -> None:
    """Run ``kd3d-eval``."""
    check_folders(sys.argv[1:])
    evaluate_checkpoint()


@hydra.main(version_base="1.3", config_path="pkg://kd3d.conf", config_name="evaluate")
@clear_errors
def evaluate_checkpoint(config: DictConfig) -> float:
    """Evaluate ``checkpoint`` on the validation set of ``data``; the value is its L2 mAPH."""
    import lightning.pytorch as pl
    from hydra.utils import instantiate

    from kd3d.cli.stages import evaluate
    from kd3d.detectors import Detector
    from kd3d.errors import ConfigError
    from kd3d.training import DetectorModule

    quieten()
    if config.data.root is None:
        raise ConfigError(
            "the folder of the Waymo records is not given.",
            where="data.root",
            hint="Name it: data.root=/path with validation/*.tfrecord.",
        )
    detector = Detector.from_checkpoint(config.checkpoint)
    data = instantiate(config.data, classes=list(detector.classes), _convert_="all")
    trainer: pl.Trainer = instantiate(config.trainer, logger=False, _convert_="all")
    metrics = evaluate(trainer, DetectorModule(detector), data)
    if trainer.is_global_zero:
        print_table(metrics)
        write_tables(Path(HydraConfig.get().runtime.output_dir), metrics)
    return metrics["L2_mAPH"]


def print_table(metrics: dict[str, float]) -> None:
    """Print AP and APH per class and level, in percent."""
    from rich.console import Console
    from rich.table import Table

    columns = ("L1_AP", "L1_APH", "L2_AP", "L2_APH")
    table = Table(title="Waymo metric, percent")
    table.add_column("class")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name in dict.fromkeys(key.split("/")[0] for key in metrics if "/" in key):
        table.add_row(name, *(f"{100 * metrics[f'{name}/{column}']:.2f}" for column in columns))
    means = (metrics[column.replace("_", "_m")] for column in columns)
    table.add_row("mean", *(f"{100 * value:.2f}" for value in means), style="bold")
    Console().print(table)


def write_tables(folder: Path, metrics: dict[str, float]) -> None:
    """Write ``metrics.json`` and ``metrics.csv`` and say where."""
    from kd3d.files import write_text

    write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "value"])
    writer.writerows(metrics.items())
    write_text(folder / "metrics.csv", text.getvalue())
    print(f"written: {folder / 'metrics.json'}, {folder / 'metrics.csv'}")


if __name__ == "__main__":
    main()
