"""kill -9 at injected points of the documents stage, by real processes: the rerun's shards are those of an undisturbed
run, byte for byte, and finished units are not made again."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import crash_stage
import pymupdf
import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards

MakePdf = Callable[..., Path]

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["crash_stage"])


@pytest.fixture
def source(make_pdf: MakePdf, sentence: str) -> Path:
    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), f"{page.number} {sentence * 6}")

    for name in ("in/a.pdf", "in/b.pdf"):
        folder = make_pdf(name, [text] * 3).parent
    (folder / "copy-of-a.pdf").write_bytes((folder / "a.pdf").read_bytes())
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    return folder


def digests(source: Path, store: Path) -> dict[str, str]:
    """Runs the stage to its end here and hashes what it holds."""
    config = DocumentShards(source=str(source), **crash_stage.OPTIONS)
    artifact = run_stage_inprocess(build_document_shards, config, {}, store)
    assert artifact.stats["planned"] == 6 * 2 + 2
    assert artifact.stats["planned"] == sum(artifact.stats[status] for status in ("ok", "filtered", "quarantined"))
    found = {name: artifact.path(name) for name in artifact.names}
    assert not [path for path in artifact.root.rglob("*.tmp") if path in found.values()]
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items() if "/" in name}


def run(source: Path, store: Path, kill_at: int | None, report: Path) -> int | None:
    process = SPAWN.Process(target=crash_stage.drive, args=(str(source), str(store), kill_at, str(report)))
    process.start()
    process.join(120)
    return process.exitcode


def kill_and_rerun(source: Path, tmp_path: Path, chosen: Callable[[int], Iterable[int]]) -> None:
    report = tmp_path / "points"
    assert run(source, tmp_path / "whole", None, report) == 0
    wanted = digests(source, tmp_path / "whole")
    assert sum(name.startswith("shards/") for name in wanted) >= 3
    points = int(report.read_text())
    assert points > 60
    for point in chosen(points):
        store = tmp_path / f"killed-{point}"
        assert run(source, store, point, report) == -signal.SIGKILL
        assert digests(source, store) == wanted, f"killed at point {point} of {points}"


def test_a_kill_changes_no_byte(source: Path, tmp_path: Path) -> None:
    kill_and_rerun(source, tmp_path, lambda points: range(9, points - 1, points // 5))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_anywhere_changes_no_byte(source: Path, tmp_path: Path) -> None:
    kill_and_rerun(source, tmp_path, lambda points: range(0, points - 1, 3))
