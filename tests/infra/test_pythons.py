"""Which Python makes the environment (``infra/find_python.sh``, among interpreters made for the test), where versions are
named, and how ``infra/python_versions.py`` tells what resolves from what does not (with the real pip, no index)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

_spec = importlib.util.spec_from_file_location("python_versions", ROOT / "infra" / "python_versions.py")
assert _spec and _spec.loader
python_versions = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(python_versions)
VERSIONS = python_versions.supported(PROJECT)


def stub(folder: Path, name: str) -> None:
    """What version managers leave for a version that is not chosen: a command that runs nothing."""
    (folder / name).write_text(f"#!/bin/sh\necho '{name}: command not found' >&2; exit 127\n")
    (folder / name).chmod(0o755)


def interpreter(folder: Path, name: str, version: str, venv: bool = True) -> Path:
    """The Python of this test under another version number, or without ensurepip."""
    said = f"import sys; sys.version_info = ({version.replace('.', ',')},); sys.version = '{version}'"
    said += "" if venv else "; sys.modules['ensurepip'] = None"
    (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{said}\n$2"\n')
    (folder / name).chmod(0o755)
    return folder / name


def find(path: Path, *candidates: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "infra" / "find_python.sh"), *candidates]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_newest_that_works_is_taken(tmp_path: Path, version: str) -> None:
    """Newer names are there, but run nothing or cannot make environments."""
    newer = VERSIONS[VERSIONS.index(version) + 1 :]
    for other in newer[:1]:
        interpreter(tmp_path, f"python{other}", f"{other}.0", venv=False)
    for other in newer[1:]:
        stub(tmp_path, f"python{other}")
    for older in VERSIONS[: VERSIONS.index(version)]:
        interpreter(tmp_path, f"python{older}", f"{older}.0")
    wanted = interpreter(tmp_path, f"python{version}", f"{version}.2")
    assert find(tmp_path).stdout.strip() == str(wanted)


def test_plain_python3_counts_when_its_version_does(tmp_path: Path) -> None:
    wanted = interpreter(tmp_path, "python3", "3.12.4")
    assert find(tmp_path).stdout.strip() == str(wanted)
    interpreter(tmp_path, "python3", "3.14.0")
    assert find(tmp_path).returncode == 1


def test_without_one_says_what_it_wants_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    stub(tmp_path, "python3.13")
    interpreter(tmp_path, "python3.12", "3.12.1", venv=False)
    interpreter(tmp_path, "python3", "3.10.9")
    done = find(tmp_path)
    assert done.returncode == 1 and not done.stdout
    assert f"needs Python {', '.join(VERSIONS[:-1])} or {VERSIONS[-1]} with venv" in done.stderr
    assert f"python3.13: {tmp_path}/python3.13 python3.13: command not found" in done.stderr
    assert f"python3.12: {tmp_path}/python3.12 cannot make virtual environments" in done.stderr
    assert "python3.11: not found" in done.stderr
    assert "python3 is Python 3.10.9" in done.stderr
    assert "apt-get install" in done.stderr and "make PYTHON=/path/to/python3.12" in done.stderr


def test_make_asks_for_the_named_one_alone_and_keeps_an_environment(tmp_path: Path) -> None:
    """``make -n`` runs nothing; the line that would is run here in its shell."""
    interpreter(tmp_path, "python3.13", "3.13.0")
    venv = tmp_path / "venv"
    command = ["make", "-n", "install", f"VENV={venv}", f"PYTHON={tmp_path}/nowhere"]
    line = next(
        line for line in subprocess.check_output(command, cwd=ROOT, text=True).splitlines() if "-m venv" in line
    )
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and f"{tmp_path}/nowhere: not found" in done.stderr and "python3.13:" not in done.stderr
    (venv / "bin").mkdir(parents=True)
    stub(venv / "bin", "python")
    subprocess.run(["sh", "-c", line], cwd=ROOT, check=True)


def test_one_range_everywhere() -> None:
    first, last = (int(version.removeprefix("3.")) for version in (VERSIONS[0], VERSIONS[-1]))
    assert [f"3.{minor}" for minor in range(first, last + 1)] == VERSIONS
    assert PROJECT["requires-python"] == f">=3.{first},<3.{last + 1}"
    assert f"Python {VERSIONS[0]} to {VERSIONS[-1]}" in (ROOT / "README.md").read_text()
    assert f'target-version = "py3{first}"' in (ROOT / "pyproject.toml").read_text()


def wheel(folder: Path, name: str, tag: str, needs: str = "") -> None:
    with zipfile.ZipFile(folder / f"{name}-0.1.0-{tag}.whl", "w") as archive:
        info = f"{name}-0.1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n{needs}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


def test_a_version_without_a_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel(tmp_path, "oldonly", "cp311-none-any")
    wheel(tmp_path, "cookhouse", "py3-none-any", "Provides-Extra: data\nRequires-Dist: oldonly; extra == 'data'\n")
    assert python_versions.resolve("data", "3.11", tmp_path) == "resolves"
    assert python_versions.resolve("data", "3.13", tmp_path) == "oldonly"
    wheel(tmp_path, "cookhouse", "py3-none-any", "Provides-Extra: data\nRequires-Dist: numpy<2; extra == 'data'\n")
    wheel(tmp_path, "numpy", "py3-none-any")
    assert python_versions.resolve("data", "3.12", tmp_path).startswith("numpy")  # contradicts the pin
