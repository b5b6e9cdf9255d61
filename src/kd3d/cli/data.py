"""``kd3d-data``: make and look at datasets."""

import sys
from collections.abc import Sequence
from typing import Any

from kd3d.cli.data_check import CHECK
from kd3d.cli.data_index import INDEX
from kd3d.cli.data_info import INFO
from kd3d.cli.data_objects import OBJECTS
from kd3d.cli.data_simulate import SIMULATE
from kd3d.cli.data_task import DataTask
from kd3d.cli.data_verify import VERIFY
from kd3d.cli.guard import clear_errors
from kd3d.errors import ConfigError

__all__ = ["TASKS", "main"]

#: What ``kd3d-data`` can do, in the order of its help.
TASKS: tuple[DataTask[Any], ...] = (
    SIMULATE,
    VERIFY,
    INDEX,
    INFO,
    CHECK,
    OBJECTS,
)

_ASKS_HELP = {"-h", "--help"}


def _help() -> str:
    lines = ["usage: kd3d-data TASK name=value ...", ""]
    lines += [f"  {task.name:<12}{task.purpose}" for task in TASKS]
    return "\n".join([*lines, "", "kd3d-data TASK --help shows the options of a task."])


def _find_task(name: str) -> DataTask[Any]:
    for task in TASKS:
        if task.name == name:
            return task
    names = ", ".join(task.name for task in TASKS)
    raise ConfigError(f"there is no task {name!r}.", hint=f"There is: {names}.")


@clear_errors
def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``kd3d-data``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in _ASKS_HELP:
        print(_help())
        return
    task = _find_task(words[0])
    if _ASKS_HELP & set(words):
        print(task.help())
        return
    task.start(words[1:])


if __name__ == "__main__":
    main()
