"""Rule verifiers for answers of a few tokens: is what the policy answered what the question expects?

The built-in ones are evaluation's own ``judge``: what is rewarded is what is measured. A verifier is a function
``(expected, answered) -> bool``; users add one by its dotted name (``package.module:function``). It runs in the reward
child process under a deadline, so it may be slow or wrong without harm to the run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from model.evaluation.metrics import compare_text, judge

Verifier = Callable[[str, str], bool]


def exact(expected: str, answered: str) -> bool:
    """Equal after normalisation of blanks and Unicode; letter case counts."""
    return judge(answered, expected, "exact") == "correct"


def number(expected: str, answered: str) -> bool:
    """The whole answer is one number of the same value: ``07`` is ``7``, ``7 words`` is not a number."""
    return judge(answered, expected, "number") == "correct"


def similarity(expected: str, answered: str) -> float:
    """1 - edits / length of the expected text, at least 0: how much of a line was read."""
    reading = compare_text(answered, expected)
    return max(0.0, 1.0 - reading.edits / reading.length)


VERIFIERS: dict[str, Verifier] = {"exact": exact, "number": number}


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
