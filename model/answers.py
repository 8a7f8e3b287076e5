"""Where the answer of a completion is: one reading for rewards and for measures, so that what is rewarded is measured.

Long mode: the prompt already opened ``<think>``, so exactly one ``</think>`` must come and a non-empty answer after it.
Short mode: the prompt holds an empty think block, so no think tag may come. A completion cut by its length limit has no end
and is malformed in both modes. Parsed on the closing tag, not on an opening one: models do repeat the answer before it.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def parse_answer(text: str, mode: str, finished: bool) -> tuple[str, str | None]:
    """(thought, answer) of a completion, stripped; the answer is None when it is malformed. ``finished``: it ended by
    itself.

    >>> parse_answer("4 and 3\\n</think>\\n\\n7", "long", True), parse_answer("7", "short", False)
    (('4 and 3', '7'), ('', None))
    >>> parse_answer("7</think>7", "short", True)[1] is parse_answer("a</think>b</think>c", "long", True)[1] is None
    True
    """
    long = mode == "long"
    thought, _, answer = text.partition(CLOSE) if long else ("", "", text)
    whole = finished and OPEN not in text and text.count(CLOSE) == int(long)
    return thought.strip(), (answer.strip() or None) if whole else None
