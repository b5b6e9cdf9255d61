"""What a user gets from a plain install: a wheel, far from the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def clean_environment() -> dict[str, str]:
    """Environment variables without any that could put the repository on the path."""
    names = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in names}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the repository gets no build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist")
    run(sys.executable, *build, source, cwd=folder)
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh venv with the wheel in it and the tests' other packages."""
    venv = tmp_path_factory.mktemp("install") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    # Installed first: pip must not see the tests' own kd3d.
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    run(*pip, "--no-deps", "--no-index", "--no-compile", wheel, cwd=venv.parent)
    # A path file adds the folder alone, not the editable installs that its own path files name.
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv)
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(packages.strip()) / "shared.pth").write_text("\n".join(sorted(shared)) + "\n")
    return python


def test_the_wheel_holds_configuration_types_and_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("conf/**/*.yaml")
    }
    assert configs
    assert {f"kd3d/{name}" for name in configs} <= names
    modules = {
        path.relative_to(REPOSITORY / "src").as_posix()
        for kind in ("*.py", "*.pyi", "*.proto")
        for path in (REPOSITORY / "src").rglob(kind)
    }
    assert modules <= names
    assert {"kd3d/py.typed", "kd3d/conf/__init__.py"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "src", "conf"))]


def test_the_installed_package_is_the_wheels(installed, tmp_path):
    found = run(installed, "-c", "import kd3d, kd3d.conf; print(kd3d.__file__)", cwd=tmp_path)
    assert installed.parents[1] in Path(found.strip()).parents


def test_the_installed_command_composes_its_configuration_from_an_empty_folder(installed, tmp_path):
    printed = run(installed.with_name("kd3d-train"), "--cfg", "job", cwd=tmp_path)
    for group in ("data:", "student:", "teacher:", "kd:", "trainer:"):
        assert f"\n{group}" in f"\n{printed}"
    assert not list(tmp_path.iterdir())  # asking for the configuration writes nothing


@pytest.mark.parametrize("command", ["kd3d-eval", "kd3d-predict", "kd3d-data"])
def test_other_installed_commands_start(installed, tmp_path, command):
    assert command in run(installed.with_name(command), "--help", cwd=tmp_path)


def test_the_module_lists_the_commands(installed, tmp_path):
    printed = run(installed, "-m", "kd3d", cwd=tmp_path)
    for command in ("kd3d-train", "kd3d-eval", "kd3d-predict", "kd3d-data"):
        assert command in printed
