"""Shards for Megatron-Energon: a folder of split-pure tars that ``energon prepare`` indexes.

Energon splits by shard, ours may hold samples of several splits; so each shard is laid out once per split it holds. A
shard of one split is linked (copied across file systems), of a mixed one the byte ranges of its samples are copied. Test
rows never land in a train tar, unlabelled samples in none. The index itself (``.nv-meta``, ``.tar.idx``) is made by
Energon's own command: its layout may change with any release.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.core.errors import ConfigError, DataError
from pipelines.shards.index import UNLABELLED, SampleRef, ShardFolder, ShardIndex
from pipelines.shards.manifest import SPLITS
from pipelines.shards.read import opened, read_range

_END = b"\0" * 1024
DATASET = """\
sample_type:
  __module__: megatron.energon
  __class__: InterleavedSample
part_filter: sample_loader.py:part_filter
sample_loader: sample_loader.py:sample_loader
"""
"""Energon's type for text and pictures in one sequence; a crude dataset would pass ``prepare`` but not ``lint``."""
LOADER = '''\
"""Messages of a sample as one sequence of texts and pictures (frames in order, without their ticks)."""


def part_filter(part: str) -> bool:
    return part.endswith(("json", "jpg", "png"))


def sample_loader(raw: dict) -> dict:
    sequence = []
    for message in raw["json"]["messages"]:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                sequence.append(part["text"])
            else:
                sequence += [raw[name] for name in ([part["part"]] if part["type"] == "image" else part["parts"])]
    return {"sequence": sequence}
'''


def lay_out(folders: Iterable[ShardFolder], target: Path) -> dict[str, int]:
    """Write ``target/shards/{split}-{dataset}-{shard}.tar``; samples by split. Raises ConfigError when ``target`` is not
    empty or lies in one of the folders."""
    for parent in target.absolute().parents:
        if (parent / "artifact.json").is_file() or (parent / "manifest").is_dir():
            raise ConfigError(f"{target} lies inside the shards of {parent}", do="give a folder outside the artifact")
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty", do="give a new folder")
    (target / "shards").mkdir(parents=True)
    index = ShardIndex.from_artifacts(folders)
    by_shard: dict[tuple[str, str], list[SampleRef]] = {}
    whole: Counter[str] = Counter()
    for ref in index.refs:
        whole[ref.shard] += 1
        if UNLABELLED not in ref.tags:
            by_shard.setdefault((ref.shard, ref.split), []).append(ref)
    totals: Counter[str] = Counter()
    for (shard, split), refs in sorted(by_shard.items()):
        name = re.sub(r"^(train|val|test)-", "", shard.rpartition("/")[2])
        place = target / "shards" / f"{split}-{refs[0].dataset}-{name}"
        if len(refs) == whole[shard] and "://" not in shard:
            try:
                os.link(shard, place)
            except OSError:  # another file system
                shutil.copy2(shard, place)
        else:
            _copy_ranges(refs, place)
        totals[split] += len(refs)
    return {split: totals[split] for split in SPLITS}


def _copy_ranges(refs: Sequence[SampleRef], place: Path) -> None:
    """Members are whole 512-byte blocks: ranges one after the other and two empty blocks are a tar again."""
    with opened(refs[0].shard), place.open("wb") as file:
        for ref in refs:
            file.write(read_range(ref.shard, ref.offset, ref.length))
        file.write(_END)


def index(target: Path, command: str, workers: int = 1) -> None:
    """Index ``target`` with ``energon prepare``. Raises DataError when it fails."""
    arguments = ["prepare", "--non-interactive", "--skip-dataset-yaml", "--num-workers", str(workers)]
    for split in SPLITS:
        arguments += ["--split-parts", f"{split}:shards/{split}-.*"]
    _run([command, *arguments, str(target)])
    (target / ".nv-meta" / "dataset.yaml").write_text(DATASET, encoding="utf-8")
    (target / ".nv-meta" / "sample_loader.py").write_text(LOADER, encoding="utf-8")


def lint(target: Path, command: str) -> None:
    """Have ``energon lint`` read every sample. Raises DataError when it finds something."""
    _run([command, "lint", str(target)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=24 * 3600)
    if done.returncode:
        raise DataError(
            f"`{' '.join(command[:2])}` failed with exit code {done.returncode}",
            where=command[-1],
            why=(done.stderr or done.stdout).strip()[-2000:],
        )
