"""Judging under a deadline that kills. A verifier runs in a child process; when it does not answer in time the child is
killed and a new one started, and the sample's verdict is ``timeout``. A child that dies gets one more try, then
``error``.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from pipelines.core.storage import INSTALLED
from rl.records import Judgement
from rl.rewards.verify import Case


class RewardService:
    """Owns one child at a time. ``deadline`` is seconds per completion; the first one of a child gets ``start``
    more."""

    def __init__(self, deadline: float = 2.0, start: float = 30.0) -> None:
        self.deadline, self.start = deadline, start
        self.kills = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._fresh = True
        self._rest = b""

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement per case, in order. Never raises for what a verifier does."""
        return [self._judge(case) for case in cases]

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child = None

    def _judge(self, case: Case) -> Judgement:
        begun = time.perf_counter()
        for _ in range(2):
            try:
                answer = self._ask(case)
            except TimeoutError:
                self.kills += 1
                self.close()
                return Judgement(0.0, 0.0, 0.0, "timeout", time.perf_counter() - begun)
            except (BrokenPipeError, EOFError):
                self.close()
                continue
            return replace(answer, seconds=time.perf_counter() - begun)
        return Judgement(0.0, 0.0, 0.0, "error", time.perf_counter() - begun)

    def _ask(self, case: Case) -> Judgement:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(asdict(case)).encode() + b"\n")
        child.stdin.flush()
        until = time.monotonic() + self.deadline + (self.start if self._fresh else 0.0)
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(child.stdout.fileno(), 65536)
            if not piece:
                raise EOFError
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        self._fresh = False
        return Judgement(**json.loads(line))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            path = os.pathsep.join(filter(None, (str(INSTALLED), os.environ.get("PYTHONPATH"))))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "rl.rewards.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
            self._fresh, self._rest = True, b""
        return self._child
