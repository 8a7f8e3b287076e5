"""A checkpoint is a folder whose manifest is written last: without it the folder does not exist for a reader.

    checkpoints/step-000120/                   every rank's own files (weights, optimizer, random state)
    checkpoints/step-000120/checkpoint.json    by rank 0 after a barrier: place, fingerprint, files with sizes, sha256

The place in the data is (phase, step): with it the pure plan says what comes next. The fingerprint ties a checkpoint to
the job that may read it, and the hashes make sure that only files we wrote are ever unpickled.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.training.engine import Engine, Group
from model.training.progress import Cursor, Meter
from pipelines.core.errors import DataError
from pipelines.core.storage import put, sha256_of

MANIFEST, SCHEMA = "checkpoint.json", 2
Found = tuple[Path, Cursor, Meter]


def number_of(folder: Path | str) -> int:
    """Of the steps taken before ``.../step-000120``: names of a million steps and more are longer."""
    return int(str(folder).rpartition("-")[2])


@dataclass(frozen=True)
class Saver:
    """Checkpoints of one job (``fingerprint``) under ``root``, the ``keep`` furthest of them; ``roots`` are those of its
    earlier attempts."""

    root: Path
    fingerprint: str = ""
    roots: tuple[Path, ...] = ()
    keep: int = 2

    def save(self, engine: Engine, cursor: Cursor, meter: Meter) -> None:
        """Every rank writes its files, then rank 0 the manifest; old checkpoints go when the new one is whole."""
        folder = self.root / f"step-{cursor.total_steps:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        engine.save(folder)
        torch.save(torch.get_rng_state(), folder / f"random-{engine.rank}.pt")
        engine.barrier()
        if engine.rank == 0:
            self.write_manifest(folder, cursor, meter, engine.world_size)
            whole = sorted((file.parent for file in self.root.glob(f"step-*/{MANIFEST}")), key=number_of)
            for old in whole[: -self.keep]:
                (old / MANIFEST).unlink()  # first, so a half-removed one is never read
                shutil.rmtree(old, ignore_errors=True)
        engine.barrier()

    def write_manifest(self, folder: Path, cursor: Cursor, meter: Meter, world_size: int) -> None:
        """Make a folder of rank files a checkpoint. Called after all ranks closed their files."""
        files = {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        job = self._job(world_size)
        place = {"cursor": asdict(cursor), "meter": meter.state()}
        put(folder / MANIFEST, json.dumps({**job, **place, "files": files}, indent=1).encode(), durable=True)

    def _job(self, world_size: int) -> dict[str, Any]:
        return {"schema": SCHEMA, "fingerprint": self.fingerprint, "world_size": world_size}

    def newest(self, group: Group) -> Found | None:
        """The furthest whole checkpoint of this job, as rank 0 sees it, for all ranks: one that looks at a shared folder a
        moment earlier or later would start at another step. Folders without a manifest, and checkpoints of another job,
        world size or schema, are passed over."""
        return group.broadcast(self._look(group.world_size) if group.rank == 0 else None)

    def _look(self, world_size: int) -> Found | None:
        found: list[Found] = []
        for manifest in (path for root in (self.root, *self.roots[::-1]) for path in root.glob(f"step-*/{MANIFEST}")):
            held = json.loads(manifest.read_text(encoding="utf-8"))
            ours = self._job(world_size).items() <= held.items()
            if ours and all((manifest.parent / name).is_file() for name in held["files"]):
                found.append((manifest.parent, Cursor(**held["cursor"]), Meter.restored(held["meter"])))
        return max(found, key=lambda whole: whole[1].total_steps, default=None)

    def load(self, engine: Engine, folder: Path) -> None:
        """Put a checkpoint into an engine of the same phase. Raises DataError when a file is not as the manifest says: of
        W ranks each checks every W-th."""
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        changed = [
            str(folder / name)
            for name in sorted(files)[engine.rank :: engine.world_size]
            if not (file := folder / name).is_file()  # another rank's folder may be another disk
            or file.stat().st_size != files[name]["bytes"]
            or sha256_of(file) != files[name]["sha256"]
        ]
        if engine.sum([len(changed)])[0]:
            raise DataError(
                "a checkpoint file changed after it was written",
                where=", ".join(changed) or f"{folder}, seen by another rank",
                do="remove that checkpoint folder; training goes on from the one before, or from the start",
            )
        engine.load(folder)
        torch.set_rng_state(torch.load(folder / f"random-{engine.rank}.pt", weights_only=True))
