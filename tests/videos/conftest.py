"""Golden data and real files are looked for, never required."""

from __future__ import annotations

import os
from pathlib import Path

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
