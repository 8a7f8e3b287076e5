"""All verifiable terms of one rollout, and the child process that computes them: one JSON case a line in, one JSON
judgement a line out. Started and killed by ``rl.rewards.service``; imports no torch, so that it starts in a fraction of
a second.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass

from rl.records import Finish, Judgement, Mode
from rl.rewards.format import final_answer
from rl.rewards.rules import resolve, similarity


@dataclass(frozen=True)
class Case:
    """What is to be judged: the expected answer, its verifier, and the rollout's text. ``partial`` is what a wrong
    answer to an ``exact`` question earns at most, by how alike the texts are; 0 is all or nothing."""

    answer: str
    verifier: str
    mode: Mode
    text: str
    finish: Finish
    window: int = 10
    limit: int = 6
    partial: float = 0.0


def verify(case: Case) -> Judgement:
    """Accuracy counts only in a well-formed rollout: a right number in a broken think block is a ``format``
    verdict."""
    repeated = repetition(case.text, case.window, case.limit)
    answer = final_answer(case.text, case.mode, case.finish)
    if answer is None:
        return Judgement(0.0, 0.0, repeated, "format")
    correct = bool(resolve(case.verifier)(case.answer, answer))
    if correct:
        return Judgement(1.0, 1.0, repeated, "correct")
    credit = case.partial * similarity(case.answer, answer) if case.verifier == "exact" and case.partial else 0.0
    return Judgement(credit, 1.0, repeated, "wrong")


def repetition(text: str, window: int = 10, limit: int = 6) -> float:
    """Penalty for going in circles (RLPR's released form): -1.0 if any ``window`` consecutive words occur at least
    ``limit`` times, else 0.0. Blanks separate words.

    >>> repetition("a b a b a b", window=2, limit=3), repetition("a b c", window=2, limit=3)
    (-1.0, 0.0)
    """
    if window < 1 or limit < 2:
        raise ValueError(f"a repetition is at least 2 times at least 1 word, got limit {limit}, window {window}")
    words = text.split()
    counts = Counter(tuple(words[i : i + window]) for i in range(len(words) - window + 1))
    return -1.0 if counts and max(counts.values()) >= limit else 0.0


def main() -> None:
    """Answers leave through a private copy of standard output; the standard one is turned to standard error first, so
    that a verifier that prints cannot break the protocol."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = asdict(verify(Case(**json.loads(line))))
        except Exception:
            reply = {"accuracy": 0.0, "format": 0.0, "repetition": 0.0, "verdict": "error"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
