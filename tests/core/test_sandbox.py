from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.sandbox import Sandbox, SandboxCrash, SandboxError, SandboxTimeout

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    opened: list[Sandbox] = []

    def make(function: str, deadline_s: float = 20.0, memory_bytes: int = 1 << 30, **options: float) -> Sandbox:
        opened.append(Sandbox(f"sandbox_targets:{function}", deadline_s, memory_bytes, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


Make = Callable[..., Sandbox]


def test_one_child_serves_many_calls_and_prints_do_not_reach_the_protocol(box: Make) -> None:
    sandbox = box("double")
    assert [sandbox.call(i) for i in range(50)] == [2 * i for i in range(50)]
    assert sandbox.starts == 1


def test_arrays_stream_item_by_item(box: Make) -> None:
    items = list(box("count").stream(5))
    assert [int(item[0, 0, 0]) for item in items] == [0, 1, 2, 3, 4]
    assert items[0].shape == (64, 64, 3)
    assert items[0].dtype == np.uint8


def test_a_hang_costs_the_items_from_the_hanging_one_and_the_child(box: Make) -> None:
    sandbox = box("count", deadline_s=1.0)
    got: list[int] = []
    with pytest.raises(SandboxTimeout) as error:
        got.extend(int(item[0, 0, 0]) for item in sandbox.stream(5, 2))
    assert got == [0, 1]
    assert error.value.category == "timeout"
    assert sandbox.pid is None
    assert len(list(sandbox.stream(3))) == 3
    assert sandbox.starts == 2


def test_a_crash_is_named_by_its_signal(box: Make) -> None:
    sandbox = box("crash")
    with pytest.raises(SandboxCrash, match="SIGSEGV"):
        sandbox.call()
    assert sandbox.starts == 2, "tried once more, alone"


def test_a_memory_bomb_is_oom_and_the_next_item_lives(box: Make) -> None:
    sandbox = box("greedy", memory_bytes=512 << 20)
    with pytest.raises(SandboxError) as error:
        sandbox.call(4 << 30)
    assert error.value.category == "oom"
    assert sandbox.call(1000) == 1000


def test_clean_errors_keep_their_category_and_the_child(box: Make) -> None:
    sandbox = box("refuse")
    for _ in range(2):
        with pytest.raises(SandboxError) as error:
            sandbox.call()
        assert error.value.category == "encrypted"
    assert sandbox.starts == 1
    with pytest.raises(SandboxError, match="parse: ValueError: bad bytes"):
        box("fail").call()


def test_a_timeout_is_retried_alone_with_a_longer_deadline(box: Make, tmp_path: Path) -> None:
    sandbox = box("slow_once", deadline_s=1.0)
    assert sandbox.call(str(tmp_path / "seen")) == "second"
    assert sandbox.starts == 2


def test_the_child_is_replaced_after_its_number_of_items(box: Make) -> None:
    sandbox = box("pid", recycle_items=3)
    pids = [sandbox.call() for _ in range(7)]
    assert len(set(pids)) == 3


def test_a_missing_target_is_told_before_any_item(box: Make) -> None:
    with pytest.raises(SandboxError, match="import: "):
        box("nothing").call()


def test_the_child_dies_with_its_parent() -> None:
    script = (
        "import os, sys; from pipelines.core.sandbox import Sandbox\n"
        "box = Sandbox('sandbox_targets:pid', 20, 1 << 30); print(box.call(), flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    with suppress(ProcessLookupError):  # it has gone already
        assert select.select([os.pidfd_open(int(run.stdout))], [], [], 60)[0]
