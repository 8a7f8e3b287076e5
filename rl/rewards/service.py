"""Judging under a deadline that kills. Verifiers run in a sandbox's child process, with a limit of memory: one that does
not answer in time is a ``timeout`` verdict; one that dies gets one more try, then it is an ``error``.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.sandbox import Sandbox, SandboxCrash, SandboxError
from rl.records import Judgement, Verdict
from rl.rewards.verify import Case

MEMORY_BYTES = 4 << 30


class RewardService:
    """Owns one child at a time. ``deadline`` is seconds per rollout."""

    def __init__(self, deadline: float = 2.0) -> None:
        self.box = Sandbox("rl.rewards.verify:verify_all", deadline, MEMORY_BYTES)

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement per case, in order. Never raises for what a verifier does."""
        done: list[Judgement] = []
        died_at = -1
        while len(done) < len(cases):
            try:
                done.extend(self.box.stream(cases[len(done) :]))  # what came before an error stays
            except SandboxError as error:
                if isinstance(error, SandboxCrash) and died_at != len(done):
                    died_at = len(done)
                    continue
                verdict: Verdict = "timeout" if error.category == "timeout" else "error"
                done.append(Judgement(0.0, 0.0, 0.0, verdict))
        return done

    def close(self) -> None:
        self.box.close()
