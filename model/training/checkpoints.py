"""A checkpoint is a folder whose manifest is written last: without it the folder does not exist for a reader.

    checkpoints/step-000120/                   every rank's own files (weights, optimizer, random state)
    checkpoints/step-000120/checkpoint.json    by rank 0 after a barrier: place, fingerprint, files with sizes, sha256

The place in the data is (phase, step): with it the pure plan says what comes next. The fingerprint ties a checkpoint to
the job that may read it, and the hashes make sure that only files we wrote are ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.core.storage import sha256_of

MANIFEST = "checkpoint.json"


@dataclass
class Progress:
    """Where training stands. ``phase`` and ``step`` are the next step to take; ``updates`` counts steps of this phase
    that moved the weights (the schedule follows it); the rest are totals over all phases and ranks."""

    phase: int = 0
    step: int = 0
    updates: int = 0
    total_steps: int = 0
    samples: int = 0
    tokens: int = 0
    supervised: int = 0
    skipped_samples: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def write_manifest(folder: Path, progress: Progress, fingerprint: str, world_size: int) -> None:
    """Make a folder of rank files a checkpoint. Called by rank 0, after all ranks closed their files."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    text = json.dumps(
        {
            "schema": 1,
            "fingerprint": fingerprint,
            "world_size": world_size,
            "progress": asdict(progress),
            "files": files,
        },
        indent=1,
    )
    temporary = folder / f".{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)


def newest(roots: Sequence[Path], fingerprint: str, world_size: int) -> tuple[Path, Progress] | None:
    """The furthest whole checkpoint of this job under ``roots``, or None. Checkpoints of another job or world size, and
    folders without a manifest, are passed over."""
    best: tuple[int, Path, Progress] | None = None
    for root in roots:
        for manifest in root.glob(f"step-*/{MANIFEST}"):
            loaded = json.loads(manifest.read_text(encoding="utf-8"))
            if loaded["fingerprint"] != fingerprint or loaded["world_size"] != world_size:
                continue
            if any(not (manifest.parent / name).is_file() for name in loaded["files"]):
                continue
            progress = Progress(**loaded["progress"])
            if best is None or progress.total_steps >= best[0]:
                best = (progress.total_steps, manifest.parent, progress)
    return None if best is None else best[1:]


def changed_files(folder: Path, rank: int = 0, world_size: int = 1) -> list[str]:
    """Files that are not as the manifest says. Rank r of W checks every W-th file; together they check all."""
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    mine = sorted(files)[rank::world_size]
    return [
        name
        for name in mine
        if (folder / name).stat().st_size != files[name]["bytes"] or sha256_of(folder / name) != files[name]["sha256"]
    ]


def keep_last(root: Path) -> None:
    """Remove all but the furthest folder (manifest first, so a half-removed one is never read)."""
    for folder in sorted(root.glob("step-*"))[:-1]:
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
