"""Stages that promise bytes give the same ones whatever lies in memory that nobody wrote.

glibc fills memory it hands out with the complement of ``MALLOC_PERTURB_`` (``posix_memalign``, and so FFmpeg's frames, too;
without ``tcache`` also what was used before), and Python hashes strings by another seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from bytes_stages import steps, write_sources
from commands import REPOSITORY, command

from cookhouse.cli.closing import differ
from cookhouse.stages import STAGES
from pipelines.workflow.stage import load_stage
from pipelines.workflow.store import Store, read_record

Made = Mapping[str, tuple[str, str]]
NAMES = [(name, stage) for name, stage, _, _ in steps(Path())]


def perturbed(number: int) -> dict[str, str]:
    """An environment in which unwritten memory holds ``255 - number`` (0 leaves it as it lies)."""
    return {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests' / 'workflow'}",
        "OMP_NUM_THREADS": "1",
        "MALLOC_PERTURB_": str(number),
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
        "PYTHONMALLOC": "malloc",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "PYTHONHASHSEED": str(number + 1),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    folder = tmp_path_factory.mktemp("bytes")
    write_sources(folder / "sources")
    script = [sys.executable, str(Path(__file__).with_name("bytes_stages.py")), str(folder / "sources")]
    children = [
        subprocess.Popen([*script, str(folder / str(number))], env=perturbed(number), stdout=subprocess.PIPE)
        for number in (0, 77)
    ]
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    return [json.loads(text) for text in said]


@pytest.mark.parametrize(("name", "stage"), NAMES)
def test_unwritten_memory_decides_no_byte(name: str, stage: str, made: list[Made]) -> None:
    (root, digest), (other_root, other) = (item[name] for item in made)
    if digest != other:
        records = [read_record(Path(place)) for place in (root, other_root)]
        before, after = (record.open(name) for record in records if record)
        pytest.fail(f"{stage}: {differ(before, after)}")


def test_every_stage_that_promises_bytes_is_among_them() -> None:
    assert {stage for _, stage in NAMES} == {
        name for name, dotted in STAGES.items() if load_stage(dotted).deterministic == "bytes"
    }


@pytest.mark.slow
def test_the_data_recipe_gives_the_same_bytes_twice_on_real_files(tmp_path: Path) -> None:
    shared = Path(os.environ.get("COOKHOUSE_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not shared.is_dir():
        pytest.skip("the folder data of the shared data is not here")
    given = [f"source.{kind}={shared / kind}" for kind in ("documents", "videos")]
    runs = []
    for number in (0, 77):
        arguments = ["recipe=data", *given, "tracking=none", f"storage.root={tmp_path / str(number)}"]
        line, _ = command("run", *arguments, "--backend", "inprocess")
        runs.append(subprocess.Popen(line, env=perturbed(number), cwd=tmp_path, stdout=subprocess.DEVNULL))
    assert [child.wait() for child in runs] == [0, 0]
    for stage in ("documents", "videos"):
        once, again = (next(Store(tmp_path / str(number)).records(stage)) for number in (0, 77))
        changes = differ(once.open(stage), again.open(stage))
        assert not changes.names, changes
        assert once.content_digest == again.content_digest
