"""How a command ends that was stopped, and what it says then."""

import os
import signal

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from kd3d.cli.stopped import told_when_stopped
from kd3d.errors import ConfigError

NUMBERS = [signal.SIGINT, signal.SIGTERM]


class Signal(Callback):
    """Sends this process a signal after a training step."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_end(self, *arguments):
        os.kill(os.getpid(), self.number)


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped_by(work):
    """Give the exit status and what was said."""
    console = Console(record=True, width=40)
    with pytest.raises(SystemExit) as stop, told_when_stopped("a [long] way to go on.", console):
        work()
    return stop.value.code, console.export_text()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", NUMBERS)
def test_a_training_that_is_stopped(number, tmp_path):
    trainer = pl.Trainer(
        max_steps=3,
        callbacks=[Signal(number)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    code, said = stopped_by(lambda: trainer.fit(BoringModel()))
    assert code == 128 + number
    assert said == "stopped: a [long] way to go on.\n"
    assert trainer.global_step == 1


def test_what_stops_outside_of_a_training():
    def interrupted():
        raise KeyboardInterrupt

    def unwound():
        raise SystemExit(143)

    assert stopped_by(interrupted) == (130, "stopped: a [long] way to go on.\n")
    assert stopped_by(unwound) == (143, "stopped: a [long] way to go on.\n")


def raising(error):
    raise error


@pytest.mark.parametrize(
    "error", [SystemExit(2), SystemExit(), ConfigError("is wrong.", where="it")]
)
def test_other_ends_stay_as_they_are(error, capsys):
    with pytest.raises(type(error)) as stop, told_when_stopped("", Console()):
        raising(error)
    assert stop.value is error
    assert capsys.readouterr().out == ""
