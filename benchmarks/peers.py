"""Peers, each in a virtual environment of its own under ``.peers/`` (git ignores it): ``make peers`` or
``python -m benchmarks.peers [NAME ...]``.

What a peer needs stands in ``benchmarks/peers/NAME.txt`` (a pip requirements file). A peer that cannot be installed
leaves pip's last words in ``.peers/NAME/failed.txt``, and its rows say *not compared*.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "benchmarks" / "peers"
HOME = ROOT / ".peers"


def peer_names() -> list[str]:
    """Every peer that has a requirements file."""
    return sorted(path.stem for path in LISTS.glob("*.txt"))


def find_peer(name: str, home: Path = HOME) -> Path | str:
    """The peer's python, or the reason why it is not compared."""
    folder = home / name
    if (folder / "installed.txt").is_file():
        return folder / "bin" / "python"
    failed = folder / "failed.txt"
    if failed.is_file():
        return f"cannot be installed: {failed.read_text(encoding='utf-8').strip().splitlines()[-1]}"
    return f"not installed (make peers, or python -m benchmarks.peers {name})"


def install_peer(name: str, home: Path = HOME, lists: Path = LISTS) -> bool:
    """Make the environment from scratch unless it stands for this very requirements file. True if it is there."""
    folder, wanted = home / name, (lists / f"{name}.txt").read_text(encoding="utf-8")
    mark = folder / "installed.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", str(lists / f"{name}.txt")], capture_output=True, text=True)
    if done.returncode:
        (folder / "failed.txt").write_text(done.stderr[-4000:] or "pip said nothing\n", encoding="utf-8")
        return False
    mark.write_text(wanted, encoding="utf-8")
    return True


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in peer_names()]
    if unknown:
        print(f"no peer named {', '.join(unknown)}; there are {', '.join(peer_names())}")
        return 2
    for name in names or peer_names():
        print(f"{name}: {'installed' if install_peer(name) else find_peer(name)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
