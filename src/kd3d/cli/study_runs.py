"""The runs of a study: what each is told, where it works, and what it came to."""

import csv
import io
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from kd3d.cli.environment import describe_machine, describe_versions
from kd3d.cli.pipeline import run
from kd3d.cli.results import read_results
from kd3d.cli.resume import store_run
from kd3d.cli.stages import learning_curve
from kd3d.cli.study_configs import settings_of, stage_name
from kd3d.cli.teachers import teacher_config, teacher_folder
from kd3d.files import whole_file, write_text
from kd3d.study import Failure, Job, StudyRun, last_lines
from kd3d.study.settings import digest_of, file_digest

__all__ = ["PlannedRun", "collect", "keep_teacher", "run_here", "teacher_file"]

_METRICS = "metrics.json"


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRun:
    """One run that is still to be done.

    Args:
        row: name of its row, or of the teacher that it trains.
        seed: its seed.
        config: its configuration.
        folder: where it works.
        steps: of its training.
        words: overrides that lead to the configuration.
        after: name of the run that has to be finished first: its teacher's.
    """

    row: str
    seed: int
    config: DictConfig
    folder: Path
    steps: int
    words: Sequence[str]
    after: str | None = None

    @property
    def name(self) -> str:
        """What users see."""
        return f"{self.row} seed {self.seed}"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log.txt"

    @property
    def stage_folder(self) -> Path:
        """Where the network is trained."""
        stage = stage_name(self.config)
        if stage == "teacher":
            return teacher_folder(teacher_config(self.config))
        return self.folder / stage

    @property
    def uses_teacher(self) -> bool:
        """Whether it starts from a teacher's weights or is taught by it."""
        return stage_name(self.config) in ("student", "initialised")

    def job(self) -> Job:
        """Say how to run it as a process of its own: start it, or go on with it."""
        store_run(self.folder, self.config, self.words)
        return Job(
            name=self.name,
            command=[sys.executable, "-m", "kd3d.cli.train", f"resume={self.folder.resolve()}"],
            log=self.log,
            steps=self.steps,
            steps_done=lambda: _steps_done(self.stage_folder),
            after=self.after,
        )


def run_here(
    runs: Sequence[PlannedRun], on_success: Callable[[PlannedRun], None], console: Console
) -> list[Failure]:
    """Do runs one after the other inside this process, for small ones and for debugging.

    Args:
        runs: in an order in which teachers come before what they teach.
        on_success: called with every run that ended well.
        console: where progress is shown.

    Returns:
        the runs that failed; they do not stop the others.
    """
    failures: dict[str, Failure] = {}
    for one in runs:
        if one.after in failures:
            failures[one.name] = Failure(one.name, f"not started: {one.after} failed")
            continue
        text = io.StringIO()
        try:
            with redirect_stdout(text), redirect_stderr(text):
                run(one.config, one.folder, " ".join(["kd3d-train", *one.words]))
        except Exception as error:
            write_text(one.log, f"{text.getvalue()}\n{traceback.format_exc()}")
            failures[one.name] = Failure(one.name, last_lines(f"{type(error).__name__}: {error}"))
            console.print(f"[red]failed:[/] {one.name} ({one.log})")
            console.print(failures[one.name].lines, markup=False, style="dim")
            continue
        write_text(one.log, text.getvalue())
        on_success(one)
        console.print(f"finished: {one.name}", highlight=False)
    return list(failures.values())


def collect(one: PlannedRun, metric: str, dataset: str, teacher: Path | None) -> StudyRun:
    """Read what a finished run left.

    Args:
        one: the run.
        metric: whose learning curve to keep.
        dataset: fingerprint of its data.
        teacher: file of the teacher that it used.

    Raises:
        OutputError: if its results cannot be read.
    """
    result = read_results(one.folder / _METRICS)[-1]
    versions = describe_versions()
    trains_teacher = stage_name(one.config) == "teacher"
    curve = learning_curve(one.stage_folder, f"val/{metric}")
    return StudyRun(
        row=one.row,
        seed=one.seed,
        steps=result.steps,
        metrics=result.metrics,
        split=result.split,
        curve=tuple((int(step), value) for step, value in curve),
        seconds=round(result.seconds, 1),
        cpu_seconds=round(result.cpu_seconds, 1),
        machine=describe_machine(),
        version=" ".join(filter(None, (versions["kd3d"], versions.get("commit")))),
        dataset=dataset,
        settings=digest_of(settings_of(one.config)),
        teacher=file_digest(teacher) if one.uses_teacher and teacher else None,
        weights=file_digest(one.stage_folder / "detector.ckpt") if trains_teacher else None,
        detector=result.detector,
        parameters=result.parameters,
        macs=result.macs,
        latency_ms=result.latency_ms,
    )


def teacher_file(results: Path, name: str) -> Path:
    """Name the file of a teacher among a study's results."""
    return results / "teachers" / f"{name}.ckpt"


def keep_teacher(one: PlannedRun, results: Path) -> None:
    """Copy a trained teacher to the results, so that other machines go on with the same one.

    Raises:
        OutputError: if the file cannot be written.
    """
    with whole_file(teacher_file(results, one.row)) as temporary:
        shutil.copyfile(one.stage_folder / "detector.ckpt", temporary)


def _steps_done(folder: Path) -> int:
    """Read the last step that a stage's CSV log knows of."""
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            steps = [int(row["step"]) + 1 for row in csv.DictReader(file) if row.get("step")]
    except (OSError, ValueError):
        return 0
    return max(steps, default=0)
