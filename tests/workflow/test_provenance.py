"""A result says which code made it, whatever the installation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelines.workflow.provenance import IMAGE, code_identity, provenance


@pytest.fixture(autouse=True)
def fresh() -> None:
    code_identity.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_working_copy_says_its_commit_and_what_differs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("one\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    clean = code_identity(tmp_path)
    assert clean["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert "dirty" not in clean
    told = set()
    for name in ("a.py", "b.py", "b.py"):
        code_identity.cache_clear()
        (tmp_path / name).write_text(f"{len(told)} in another way\n")
        told.add(code_identity(tmp_path)["dirty"])
    assert len(told) == 3, "each has its own digest, new files too"
    (tmp_path / "a.py").write_text("nobody asks git again\n")
    assert code_identity(tmp_path)["dirty"] in told


def test_an_installed_package_says_its_version_and_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE, "cook@sha256:1")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = code_identity(tmp_path)
    assert found["image"] == "cook@sha256:1"
    assert found["version"]
    assert found["packages"]["numpy"]
    assert "commit" not in found
    (tmp_path / ".git").mkdir()
    code_identity.cache_clear()
    assert "commit" not in code_identity(tmp_path), "there is no git"
    assert provenance()["pid"]
