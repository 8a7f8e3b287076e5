"""A rebuild of the same key that gives other bytes is told by the command and written among the events."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., tuple[int, str, str]]
RUN = ("run", "recipe=toy", "--backend", "inprocess")
SHARDS = """\
# @package _global_
steps:
  captions: {stage: captions, source: pictures, score: "scores:of", min_score: 0.5}
"""
SCORES = """\
import os
def of(picture, caption):
    return float(caption != os.environ.get("DISLIKED"))
"""


def told(here: Path) -> list[dict[str, Any]]:
    lines = [line for file in here.glob("artifacts/runs/*/events.jsonl") for line in file.read_text().splitlines()]
    return [event for event in map(json.loads, lines) if event["kind"] == "bytes_changed"]


def test_files_that_changed_are_named(cookhouse: Command, here: Path) -> None:
    assert cookhouse(*RUN)[0] == 0
    code, _, err = cookhouse(*RUN, "--force", "numbers")
    assert code == 0
    assert "other bytes" not in err, "the promise was kept"
    assert told(here) == []
    code, _, err = cookhouse(*RUN, "--force", "numbers", "steps.numbers.slip=1")
    assert code == 0
    assert "step 'numbers' promises the same bytes for the same key, and 1 of 4 files differ from generation 2" in err
    assert "\n  parts/2.txt\n" in err
    (event,) = told(here)
    assert (event["step"], event["generation"], event["before"]) == ("numbers", 3, 2)
    assert (event["things"], event["names"], event["total"], event["of"]) == ("files", ["parts/2.txt"], 1, 4)


def test_samples_that_changed_are_named(cookhouse: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that changes behind its name: three pictures, one of which it now dislikes."""
    (here / "conf" / "recipe" / "shards.yaml").write_text(SHARDS)
    (here / "scores.py").write_text(SCORES)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PYTHONPATH", str(here), prepend=":")
    (here / "pictures").mkdir()
    for number, name in enumerate("abc"):
        Image.fromarray(np.full((33, 47, 3), 60 * number, np.uint8)).save(here / "pictures" / f"{name}.png")
        (here / "pictures" / f"{name}.txt").write_text(f"picture {name}")
    run = ("run", "recipe=shards", "--backend", "inprocess")
    assert cookhouse(*run)[0] == 0
    monkeypatch.setenv("DISLIKED", "picture a")
    code, _, err = cookhouse(*run, "--force", "captions")
    assert code == 0
    (event,) = told(here)
    assert (event["things"], event["total"], event["of"]) == ("samples", 1, 3), "those behind it only moved"
    assert f"1 of 3 samples differ from generation 1:\n  {event['names'][0]}\n" in err
