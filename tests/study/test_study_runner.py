"""Processes side by side: order, failures, interruption."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from kd3d.errors import ConfigError, OutputError
from kd3d.study import Job, run_jobs, usable_cores

NOTE = "import sys; open('notes', 'a').write(sys.argv[1] + '\\n')"
WAIT = """import os, time
open('new', 'w').write(str(os.getpid()))
os.rename('new', 'pid')
time.sleep(60)"""


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "shown").open("w") as file:
        yield Console(file=file, width=200)


def job(name, code=NOTE, after=None):
    return Job(
        name, [sys.executable, "-c", code, name], Path(name) / "log.txt", 10, lambda: 0, after
    )


def notes(folder):
    return (folder / "notes").read_text().split()


def shown(console):
    console.file.flush()
    return Path(console.file.name).read_text()


def test_jobs_run_in_their_order_and_each_success_is_told(tmp_path, console):
    told = []
    failures = run_jobs(
        [job("a"), job("b")],
        processes=1,
        on_success=lambda one: told.append(one.name),
        console=console,
    )
    assert failures == []
    assert notes(tmp_path) == told == ["a", "b"]
    assert "finished: a; under a minute left" in shown(console)


def test_a_job_that_waits_lets_others_pass(tmp_path, console):
    slow = f"import os, time\nwhile not os.path.exists('notes'): time.sleep(0.05)\n{NOTE}"
    jobs = [job("teacher", slow), job("student", after="teacher"), job("plain")]
    run_jobs(jobs, processes=2, on_success=lambda one: None, console=console)
    assert notes(tmp_path) == ["plain", "teacher", "student"]


def test_the_cores_are_shared(tmp_path, console):
    code = "import os; open('notes', 'a').write(os.environ['OMP_NUM_THREADS'] + '\\n')"
    cores = usable_cores()
    for processes in (1, 2, 2 * cores):
        run_jobs(
            [job("a", code)], processes=processes, on_success=lambda one: None, console=console
        )
    assert notes(tmp_path) == [str(cores), str(max(1, cores // 2)), "1"]


def test_a_failure_is_told_with_its_last_lines_and_stops_only_what_waits_for_it(tmp_path, console):
    broken = "print('\\n'.join(f'line {k}' for k in range(20))); raise SystemExit('out of luck')"
    jobs = [job("bad", broken), job("late", after="bad"), job("good")]
    told = []
    failures = run_jobs(
        jobs, processes=1, on_success=lambda one: told.append(one.name), console=console
    )
    assert told == ["good"]
    assert [one.name for one in failures] == ["bad", "late"]
    lines = failures[0].lines.splitlines()
    assert "out of luck" in lines
    assert "line 19" in lines
    assert "line 5" not in lines
    assert failures[1].lines == "not started: bad failed"
    assert "out of luck" in shown(console)


def test_a_job_that_was_killed_is_told_so(tmp_path, console):
    odd = "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)"  # without a name in Python
    killed = "import os, signal; print('at work', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    silent = "raise SystemExit(3)"
    failures = run_jobs(
        [job("killed", killed), job("silent", silent), job("odd", odd)],
        processes=1,
        on_success=lambda one: None,
        console=console,
    )
    assert failures[0].lines.startswith("at work\nkilled by signal 9, which a machine")
    assert failures[1].lines == "ended with exit status 3"
    assert failures[2].lines == f"killed by signal {signal.SIGRTMIN + 1}"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_runs_on_when_a_result_cannot_be_kept(tmp_path, console):
    def full(one):
        raise OutputError("no space left", where=one.name)

    quick = "import os, time\nwhile not os.path.exists('pid'): time.sleep(0.05)"
    with pytest.raises(OutputError, match="no space left"):
        run_jobs(
            [job("long", WAIT), job("quick", quick)], processes=2, on_success=full, console=console
        )
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_the_children_first(number, tmp_path, console):
    # a background job of a shell starts with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if (tmp_path / "pid").is_file():
                os.kill(os.getpid(), number)
                return
            time.sleep(0.05)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    kind = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(kind):
        run_jobs([job("long", WAIT)], processes=1, on_success=lambda one: None, console=console)
    watcher.join()
    signal.signal(signal.SIGINT, before)
    assert not alive(int((tmp_path / "pid").read_text()))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_job_that_cannot_start_is_one_clear_error(tmp_path, console):
    (tmp_path / "a").write_text("a file where the folder belongs")
    with pytest.raises(OutputError, match=r"the run of a cannot be started .* Finished runs"):
        run_jobs([job("a")], processes=1, on_success=lambda one: None, console=console)
    with pytest.raises(ConfigError, match="0 is below 1"):
        run_jobs([job("b")], processes=0, on_success=lambda one: None, console=console)


def test_the_children_are_not_in_the_terminals_group(tmp_path, console):
    code = "import os; open('notes', 'a').write(f'{os.getpgid(0)}')"
    run_jobs([job("a", code)], processes=1, on_success=lambda one: None, console=console)
    assert int(notes(tmp_path)[0]) != os.getpgid(0)
