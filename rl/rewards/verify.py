"""All verifiable terms of one rollout: what the child process of ``rl.rewards.service`` runs, under a deadline, so that a
verifier may be slow or wrong without harm to the run. Imports no torch: the child starts in a fraction of a second.

The built-in verifiers are evaluation's own ``judge``: what is rewarded is what is measured. Users add one by its dotted
name (``package.module:function``).
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from model.answers import parse_answer
from model.evaluation.metrics import compare_text, judge
from rl.records import Finish, Judgement, Mode

Verifier = Callable[[str, str], bool]
"""(expected, answered): is it what the question expects?"""

VERIFIERS: dict[str, Verifier] = {
    # Equal after normalisation of blanks and Unicode; letter case counts.
    "exact": lambda expected, answered: judge(answered, expected, "exact") == "correct",
    # The whole answer is one number of the same value: ``07`` is ``7``, ``7 words`` is not a number.
    "number": lambda expected, answered: judge(answered, expected, "number") == "correct",
}


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


def resolve(name: str) -> Verifier:
    """A built-in name, or ``package.module:function``. Raises ValueError with the known names."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(
            f"unknown verifier {name!r}; known: {', '.join(sorted(VERIFIERS))}, or 'package.module:function'"
        )
    return getattr(importlib.import_module(module), function)


def similarity(expected: str, answered: str) -> float:
    """1 - edits / length of the expected text, at least 0: how much of a line was read."""
    reading = compare_text(answered, expected)
    return max(0.0, 1.0 - reading.edits / reading.length)


def verify(case: Case) -> Judgement:
    """Accuracy counts only in a well-formed rollout: a right number in a broken think block is a ``format``
    verdict."""
    repeated = repetition(case.text, case.window, case.limit)
    _, answer = parse_answer(case.text, case.mode, case.finish == "stop")
    if answer is None:
        return Judgement(0.0, 0.0, repeated, "format")
    correct = bool(resolve(case.verifier)(case.answer, answer))
    if correct:
        return Judgement(1.0, 1.0, repeated, "correct")
    credit = case.partial * similarity(case.answer, answer) if case.verifier == "exact" and case.partial else 0.0
    return Judgement(credit, 1.0, repeated, "wrong")


def verify_all(cases: Sequence[Case]) -> Iterator[Judgement]:
    """One by one, so that each has the deadline of its own; a verifier that raises is an ``error`` verdict."""
    for case in cases:
        try:
            judgement = verify(case)
        except Exception:
            judgement = Judgement(0.0, 0.0, 0.0, "error")
        yield judgement


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
