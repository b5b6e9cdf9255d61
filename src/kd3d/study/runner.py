"""Run processes side by side, watch them, and leave none behind."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kd3d.errors import ConfigError, OutputError

__all__ = ["Failure", "Job", "last_lines", "run_jobs", "usable_cores"]

_POLL_SECONDS = 0.25
_GRACE_SECONDS = 5.0
_LINES = 8


@dataclass(frozen=True, slots=True)
class Job:
    """A process to run.

    Args:
        name: shown to the user.
        command: program and arguments.
        log: file for what it prints; one that is there is continued.
        steps: how much work it is.
        steps_done: tells how much of it is done, now.
        after: name of the job that has to succeed first.
    """

    name: str
    command: Sequence[str]
    log: Path
    steps: int
    steps_done: Callable[[], int]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that did not succeed, and the last lines that it printed."""

    name: str
    lines: str


@dataclass(slots=True)
class _Work:
    """Jobs by what became of them."""

    waiting: list[Job]
    running: dict[str, tuple[Job, "subprocess.Popen[bytes]"]] = field(default_factory=dict)
    succeeded: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job],
    *,
    processes: int,
    on_success: Callable[[Job], None],
    console: Console,
    environment: Mapping[str, str] | None = None,
) -> list[Failure]:
    """Run jobs, some at a time, each with its share of the cores.

    Jobs start in their order, except that one which waits for another lets later ones pass. A job
    that fails is told with its last lines, and the others go on, without those that wait for it.
    When this process is interrupted (Ctrl-C, SIGTERM) or `on_success` raises, the running jobs are
    terminated first.

    Args:
        jobs: what to run.
        processes: jobs at a time; each computes with cores / processes threads.
        on_success: called with every job that ended well, one at a time.
        console: where progress is shown: bars on a terminal, else a line per event.
        environment: of the jobs; this process's by default.

    Returns:
        the jobs that failed.

    Raises:
        ConfigError: if `processes` is below 1.
        OutputError: if a log cannot be written or a program not be started.
    """
    if processes < 1:
        raise ConfigError(f"{processes} is below 1.", where="study.processes")
    # However many jobs are left: rounding depends on the number of threads.
    threads = str(max(1, usable_cores() // processes))
    variables = {**(os.environ if environment is None else environment), "OMP_NUM_THREADS": threads}
    work = _Work(list(jobs))
    with _display(jobs, console) as show, _stopping_on_signals():
        try:
            while work.waiting or work.running:
                _start(work, processes, variables)
                time.sleep(_POLL_SECONDS)
                for job in _take_ended(work):
                    if job.name in work.failures:
                        console.print(f"[red]failed:[/] {job.name} ({job.log})")
                        console.print(work.failures[job.name].lines, markup=False, style="dim")
                        continue
                    on_success(job)
                    work.succeeded.add(job.name)
                    console.print(f"finished: {job.name}{show(work)}", highlight=False)
                show(work)
        finally:
            _stop(list(work.running.values()))
    return list(work.failures.values())


def last_lines(text: str) -> str:
    """Give the last lines of a text that say something."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LINES:])


def _start(work: _Work, processes: int, variables: Mapping[str, str]) -> None:
    """Start what may start, and give up what waits for a job that failed."""
    for job in list(work.waiting):
        if job.after in work.failures:
            work.waiting.remove(job)
            work.failures[job.name] = Failure(job.name, f"not started: {job.after} failed")
        elif len(work.running) < processes and (job.after is None or job.after in work.succeeded):
            work.waiting.remove(job)
            work.running[job.name] = (job, _launch(job, variables))


def _launch(job: Job, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            return subprocess.Popen(
                list(job.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                start_new_session=True,  # a Ctrl-C reaches us alone, and we stop them in order
            )
    except OSError as error:
        raise OutputError(
            f"the run of {job.name} cannot be started ({error.strerror or error}).",
            where=str(job.log),
            hint="Finished runs are kept; give the disk room and repeat the command.",
        ) from error


def _take_ended(work: _Work) -> list[Job]:
    ended = [job for job, process in work.running.values() if process.poll() is not None]
    for job in ended:
        _, process = work.running.pop(job.name)
        if process.returncode:
            text = job.log.read_text(encoding="utf-8", errors="replace")
            ending = _how_it_ended(process.returncode)
            work.failures[job.name] = Failure(job.name, f"{last_lines(text)}\n{ending}".lstrip())
    return ended


def _how_it_ended(status: int) -> str:
    """Put an exit status other than 0 into words."""
    if status > 0:
        return f"ended with exit status {status}"
    often = ", which a machine does that is out of memory" if status == -9 else ""
    return f"killed by signal {-status}{often}"


def _stop(running: "Sequence[tuple[Job, subprocess.Popen[bytes]]]") -> None:
    """Terminate processes with their own children; kill what does not end in time."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        alive = [process for _, process in running if process.poll() is None]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, number)
                else:
                    process.terminate()
        until = time.monotonic() + _GRACE_SECONDS
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind like Ctrl-C does, so that no process is left behind."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _display(jobs: Sequence[Job], console: Console) -> Iterator[Callable[[_Work], str]]:
    """Show bars of all jobs together and of those that run; tell the rest in words too."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps {task.fields[rest]}"),
    )
    done = {job.name: min(job.steps, job.steps_done()) for job in jobs}
    begun, total = sum(done.values()), sum(job.steps for job in jobs)
    started = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        whole = bars.add_task("all runs", total=total, completed=begun, rest="")
        shown = {job.name: bars.add_task(job.name, total=job.steps, rest="") for job in jobs}
        for task in shown.values():
            bars.update(task, visible=False)

        def show(work: _Work) -> str:
            for job in jobs:
                running = job.name in work.running
                if job.name in work.succeeded or job.name in work.failures:
                    done[job.name] = job.steps
                elif running:
                    done[job.name] = min(job.steps, max(done[job.name], job.steps_done()))
                bars.update(shown[job.name], completed=done[job.name], visible=running)
            now = sum(done.values())
            rest = _rest(total - now, now - begun, time.monotonic() - started)
            bars.update(whole, completed=now, rest=rest)
            return f"; {rest}" if rest else ""

        yield show


def _rest(remaining: int, new: int, seconds: float) -> str:
    """Say how long the remaining steps take at the pace of this call."""
    if new <= 0 or remaining <= 0:
        return ""
    minutes = remaining * seconds / new / 60
    return f"about {minutes:.0f} min left" if minutes >= 1 else "under a minute left"
