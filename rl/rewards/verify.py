"""All verifiable terms of one completion: the function the reward child process runs. Imports no torch, so that the
child starts in a fraction of a second."""

from __future__ import annotations

from dataclasses import dataclass

from rl.records import Finish, Judgement, Mode
from rl.rewards.format import final_answer
from rl.rewards.repetition import repetition
from rl.rewards.rules import resolve, similarity


@dataclass(frozen=True)
class Case:
    """What is to be judged: the expected answer, its verifier, and the completion's text. ``partial`` is what a wrong
    answer to an ``exact`` question earns at most, by how alike the texts are; 0 is all or nothing."""

    answer: str
    verifier: str
    mode: Mode
    text: str
    finish: Finish
    window: int = 10
    limit: int = 6
    partial: float = 0.0


def judge(case: Case) -> Judgement:
    """Accuracy counts only in a well-formed completion: a right number in a broken think block is a ``format``
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
