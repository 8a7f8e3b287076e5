"""Which extra installs on which Python: ``make pythons``. Asks the package index and installs nothing.

For every version among pyproject's classifiers and every extra pip resolves ``cookhouse[EXTRA]`` for that version from
wheels alone, under constraints.txt, and a row says ``resolves`` or names the packages that do not. Exit 1 if a row fails.

pip's ``--python-version`` picks wheels and heeds ``Requires-Python``, but markers such as ``python_version < "3.12"``
are read for the Python that runs it: only an install on each version proves those (docs/log.md has the last).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
PINS = ["-c", str(ROOT / "constraints.txt")]
SOURCE_ONLY = ["antlr4-python3-runtime", "deepspeed"]  # no wheel on the index; both are pure Python and built once


def supported(project: dict) -> list[str]:
    """Versions among the classifiers, ``["3.11", ...]``."""
    return re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)


def culprits(said: str) -> list[str]:
    """The packages that pip's error names: no file for this Python, or requirements that contradict each other."""
    missing = re.findall(r"No matching distribution found for ([^\s(]+)", said)
    return sorted(set(missing or re.findall(r"The user requested (?:\(constraint\) )?(\S+)", said)))


def resolve(extra: str, version: str, wheels: Path) -> str:
    """``resolves``, or what does not."""
    command = [*PIP, "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    command += ["--python-version", version, "--target", str(wheels / "nowhere"), "--find-links", str(wheels)]
    command += [*PINS, f"cookhouse[{extra}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return "resolves"
    return ", ".join(culprits(done.stdout + done.stderr)) or done.stderr.strip().splitlines()[-1]


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pyproject.toml", "README.md", "LICENSE"):  # the metadata alone: no build folder in the tree
            shutil.copy(ROOT / name, folder)
        build = [*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *PINS, folder, *SOURCE_ONLY]
        subprocess.run(build, check=True)
        print(f"{'python':<8}{'extra':<10}")
        for version in supported(project):
            for extra in project["optional-dependencies"]:
                verdict = resolve(extra, version, Path(folder))
                failed += verdict != "resolves"
                print(f"{version:<8}{extra:<10}{verdict}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
