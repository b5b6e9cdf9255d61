"""``kd3d-report``: studies and runs of ``kd3d-train`` as one table of methods and pairs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from kd3d.cli.guard import clear_errors
from kd3d.errors import ConfigError

if TYPE_CHECKING:
    from kd3d.cli.reported_runs import Reported

__all__ = ["ReportOptions", "main", "read_words"]

_ASKS_HELP = {"-h", "--help"}
_HELP = """\
usage: kd3d-report RUNS... [name=value ...]

Compare methods of distillation, pair by pair: mean and spread over the seeds, the gain over the
run without distillation (paired by seed, with its 95 % interval), AP and APH per class, parameters,
multiply-accumulates and latency. Missing and failed runs are listed.

RUNS are any of
  the results of a study       docs/results/gain_study
  folders of kd3d-train        logs/train/runs/2026-01-01_12-00-00
  a sweep, or any folder with such folders below it
  a metrics.json or a result.json

  out         folder for what is written (default logs/report)
  metric      what gains are computed of: L1_mAP, L1_mAPH, L2_mAP or L2_mAPH (default)

The report is printed and written to
  report.md        the tables
  report.csv       a line per method and pair, as fractions
  gains-PAIR.png   the gains as bars with their intervals

examples:
  kd3d-report docs/results/method_study
  kd3d-report docs/results/gain_study docs/results/method_study out=logs/both
  kd3d-train -m experiment=cp_pillar_kd scale=demo kd=none,label,sparsekd seed=0,1,2
  kd3d-report logs/train/sweeps metric=L1_mAP
"""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What ``kd3d-report`` takes as ``name=value``.

    Args:
        out: folder for what is written.
        metric: what gains are computed of.
    """

    out: str = "logs/report"
    metric: str = "L2_mAPH"


@clear_errors
def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``kd3d-report``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or _ASKS_HELP & set(words):
        print(_HELP, end="")
        return
    paths, options = read_words(words)
    _report(paths, options, " ".join(["kd3d-report", *words]))


def read_words(words: Sequence[str]) -> tuple[list[Path], ReportOptions]:
    """Tell options from paths; a path that exists may hold a ``=``, as sweeps' folders do.

    Raises:
        ConfigError: if a word is neither, or no path is there.
    """
    names = [option.name for option in fields(ReportOptions)]
    paths, given = [], {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in names:
            given[name] = value
        elif Path(word).exists() or "/" in name or not (equals or word.startswith("-")):
            paths.append(Path(word))
        else:
            near = get_close_matches(name.lstrip("-"), names, 1)
            raise ConfigError(
                f"there is no option {name!r}, and no such folder.",
                where=word,
                hint=f"{f'Did you mean {near[0]}=? ' if near else ''}"
                f"Options: {', '.join(f'{option}=' for option in names)}.",
            )
    empty = [name for name, value in given.items() if not value]
    if empty:
        raise ConfigError("nothing is given.", where=empty[0], hint="See kd3d-report --help.")
    if not paths:
        raise ConfigError("no run is named.", where="RUNS", hint="See kd3d-report --help.")
    return paths, ReportOptions(**given)


def _report(paths: Sequence[Path], options: ReportOptions, command: str) -> None:
    """Read, check, draw, write, print."""
    from kd3d.cli.reported_checks import check_comparable
    from kd3d.cli.reported_runs import read_reported
    from kd3d.files import write_text
    from kd3d.study.method_pictures import save_gain_bars
    from kd3d.study.method_tables import lines_csv

    reported = read_reported(paths)
    check_comparable(reported, options.metric)
    out = Path(options.out)
    pictures = save_gain_bars(reported.groups, options.metric, out)
    links = {title: path.name for title, path in pictures.items()}
    text = _render(reported, options.metric, links, command)
    written = [
        write_text(out / "report.md", text),
        write_text(out / "report.csv", lines_csv(reported.groups, options.metric)),
        *pictures.values(),
    ]
    print(text, end="")
    print(f"written: {', '.join(map(str, written))}", file=sys.stderr)


def _render(reported: "Reported", metric: str, pictures: dict[str, str], command: str) -> str:
    from kd3d.study.method_tables import method_sections

    first = reported.evaluated[0].run
    parts = [
        "# Methods compared",
        f"```\n{command}\n```",
        f"AP and APH in percent on the {first.split} split of {first.dataset}: mean and standard "
        "deviation over the seeds.",
        *method_sections(reported.groups, metric, pictures),
        *_list("Missing runs", reported.missing or ["none"]),
        *_list("Failed runs", reported.failed or ["none"]),
        *_list("Read", [str(folder) for folder in reported.sources]),
    ]
    return "\n\n".join(parts) + "\n"


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "\n".join(f"- {line}" for line in lines)]


if __name__ == "__main__":
    main()
