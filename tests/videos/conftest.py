"""Golden data and real files are looked for, never required; other videos are made: flat pictures whose colour tells the
frame number or the scene."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def _find(inside: str, beside: str) -> Path:
    shared = Path(os.environ.get("COOKHOUSE_SHARED", ROOT.parent / "shared"))
    for place in (ROOT / "tests" / inside, shared / beside):
        if place.exists():
            return place
    pytest.skip(f"neither tests/{inside} nor {beside} of the shared data is here")


@pytest.fixture
def golden_cases() -> Path:
    return _find("golden/video_sampling/cases.json", "golden/video_sampling/cases.json")


@pytest.fixture
def real_videos() -> Path:
    return _find("data/videos", "data/videos")


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    return _write_video


def _write_video(
    path: Path, frames: int, colour: Callable[[int], tuple[int, int, int]], rate: int = 25, gop: int = 50
) -> Path:
    """H.264, 64x48, a keyframe every ``gop`` frames and nowhere else."""
    import av

    options = {"preset": "ultrafast", "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "threads": "1"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.empty((48, 64, 3), np.uint8)
            picture[:] = colour(number)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
