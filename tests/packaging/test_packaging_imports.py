"""What is packaged, and what importing it pulls in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_room_is_packaged(project):
    source = REPOSITORY / "src"
    folders = {
        path.parent.relative_to(source).as_posix().replace("/", ".")
        for path in source.rglob("__init__.py")
    }
    packages = project["tool"]["setuptools"]["packages"]
    assert set(packages) == folders | {"kd3d.conf"}
    assert packages == sorted(packages)


def test_every_module_lies_in_a_package():
    for path in (REPOSITORY / "src" / "kd3d").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path


def test_every_extra_brings_something(project):
    assert all(project["project"]["optional-dependencies"].values())


def test_every_dependency_is_explained(project):
    page = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")
    required = [re.split(r"[<>=!~\[; ]", line)[0] for line in project["project"]["dependencies"]]
    named = [*required, *project["project"]["optional-dependencies"]]
    assert [name for name in named if f"`{name}`" not in page] == []


def test_importing_kd3d_is_light():
    heavy = ("lightning", "pytorch_lightning", "hydra", "wandb", "spconv", "matplotlib", "torch")
    code = f"import kd3d, sys; print([name for name in {heavy} if name in sys.modules])"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_rooms_load_nothing_that_they_do_not_need():
    """Pictures need matplotlib only when they are drawn; metrics load it with torchmetrics."""
    optional = ("lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "spconv")
    optional += ("pyarrow",)
    rooms = ("errors", "files", "storage", "geometry", "structures", "waymo", "metrics")
    rooms += ("predictions", "profiling")
    lines = [
        "import sys, torch, kd3d",
        "found = lambda *names: print([name for name in names if name in sys.modules])",
        "kd3d.profile(torch.nn.Linear(2, 2), torch.zeros(1, 2))",
        f"found('matplotlib', *{optional})",
        "import kd3d.visualize",
        "found('matplotlib')",
        *(f"import kd3d.{room}" for room in rooms),
        f"found(*{optional})",
    ]
    done = python("\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]"] * 3


def test_the_blocker_blocks():
    done = python(BLOCKER.format(blocked={"hydra"}) + "import hydra")
    assert "hydra is blocked" in done.stderr


def test_every_public_name_has_a_home_that_needs_no_extra():
    names = "import kd3d\nfor name in kd3d.__all__: getattr(kd3d, name)\nprint('all')"
    done = python(BLOCKER.format(blocked={"wandb", "spconv", "rerun"}) + names)
    assert done.stdout.strip() == "all", done.stderr
