"""Memory that is kept: how many pages a process meets anew."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from kd3d.training import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    map = torch.zeros(16 << 20)  # 64 MiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del map
print(faults[-1])
"""


def faults(way):
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], check=True, capture_output=True, text=True
    )
    return int(said.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_map_that_was_freed_is_not_fetched_page_by_page_again():
    assert faults("keep") < 0.1 * faults("give back")


def test_other_c_libraries_are_left_alone(monkeypatch):
    from kd3d.training import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
