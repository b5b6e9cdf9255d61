"""Where a command runs: the machine, the releases, the commit."""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import kd3d
from kd3d.files import write_text

__all__ = ["describe_machine", "describe_versions", "git_commit", "write_versions"]

_NAMED = ("torch", "lightning", "torchmetrics", "hydra-core", "numpy")


def describe_machine() -> str:
    """Say the processor, its usable cores, the memory, the accelerators and the system."""
    import torch

    parts = [f"{_processor()} ({_cores()} cores"]
    memory = _memory()
    parts[0] += f", {memory} GiB memory)" if memory else ")"
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    for name in dict.fromkeys(accelerators):
        parts.append(f"{accelerators.count(name)} x {name}")
    if not accelerators:
        parts.append("no GPU")
    parts.append(f"{platform.system()} {platform.machine()}")
    return ", ".join(parts)


def describe_versions() -> dict[str, str]:
    """Give the releases a reader of numbers asks for first, and kd3d's commit if there is one."""
    versions = {"python": platform.python_version(), "kd3d": kd3d.__version__}
    commit = git_commit()
    if commit:
        versions["commit"] = commit
    for name in _NAMED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_versions(folder: str | os.PathLike[str]) -> Path:
    """Write `versions.json`: the machine, `describe_versions` and every installed distribution.

    Raises:
        OutputError: if the folder cannot be written.
    """
    content = {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "packages": dict(_installed()),
    }
    return write_text(Path(folder) / "versions.json", json.dumps(content, indent=2) + "\n")


def git_commit(folder: Path | None = None) -> str | None:
    """Name the commit of the checkout that kd3d runs from, "-dirty" if files were changed.

    Args:
        folder: a folder of the package; kd3d's own by default.

    Returns:
        twelve hexadecimal digits, or None where the package is installed, not checked out (even if
        it is installed somewhere inside another project's repository).
    """
    folder = folder or Path(kd3d.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _installed() -> Mapping[str, str]:
    found = {
        str(item.metadata["Name"]): item.version
        for item in importlib.metadata.distributions()
        if item.metadata["Name"]
    }
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def _processor() -> str:
    """The processor's model name; `platform.processor` is empty on most Linux systems."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
