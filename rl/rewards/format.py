"""Is the completion shaped as its mode asks, and where is the answer?

Long mode: the prompt already opened ``<think>``, so exactly one ``</think>`` must come and a non-empty answer after it.
Short mode: the prompt holds an empty think block, so no think tag may come. A completion cut by its length limit has no
end and is malformed in both modes. Parsed on the closing tag, not on an opening one: models do repeat the answer before
it.
"""

from __future__ import annotations

from rl.records import Finish, Mode

OPEN, CLOSE = "<think>", "</think>"


def final_answer(text: str, mode: Mode, finish: Finish) -> str | None:
    """The answer of a well-formed completion, stripped; None when it is malformed.

    >>> final_answer("4 and 3\\n</think>\\n\\n7", "long", "stop")
    '7'
    >>> final_answer("7</think>7", "short", "stop") is None
    True
    """
    if finish != "stop" or OPEN in text:
        return None
    if mode == "short":
        answer = text if CLOSE not in text else ""
    else:
        answer = text.split(CLOSE)[1] if text.count(CLOSE) == 1 else ""
    return answer.strip() or None
