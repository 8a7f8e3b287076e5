"""An encoder that does what the clock leaves time for cannot promise its bytes."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
sys.modules["pymupdf.layout"] = None
import av, pymupdf
from toy.corpus.clips import write_clips
print("begins", flush=True)
write_clips(Path(sys.argv[1]), 0)
"""
STANDS_S, GOES_S = 0.05, 0.001


def encoded(folder: Path, hindered: bool) -> dict[str, str]:
    """sha256 of the clips by name, made by a process that stands still most of the time when ``hindered``."""
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begins\n"
        while hindered and child.poll() is None:
            child.send_signal(signal.SIGSTOP)
            time.sleep(STANDS_S)
            child.send_signal(signal.SIGCONT)
            time.sleep(GOES_S)
    assert child.returncode == 0
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "videos").iterdir()}


@pytest.mark.slow
def test_no_clip_depends_on_the_clock(tmp_path: Path) -> None:
    """libvpx in real time gave another VP8 clip in each of three such runs."""
    plain = encoded(tmp_path / "plain", hindered=False)
    assert len(plain) == 21
    assert encoded(tmp_path / "hindered", hindered=True) == plain
