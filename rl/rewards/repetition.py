"""Penalty for going in circles (RLPR's released form): one window of words that comes back too often."""

from __future__ import annotations

from collections import Counter


def repetition(text: str, window: int = 10, limit: int = 6) -> float:
    """-1.0 if any ``window`` consecutive words occur at least ``limit`` times, else 0.0. Blanks separate words.

    >>> repetition("a b a b a b", window=2, limit=3), repetition("a b c", window=2, limit=3)
    (-1.0, 0.0)
    """
    if window < 1 or limit < 2:
        raise ValueError(f"a repetition is at least 2 times at least 1 word, got limit {limit}, window {window}")
    words = text.split()
    counts = Counter(tuple(words[i : i + window]) for i in range(len(words) - window + 1))
    return -1.0 if counts and max(counts.values()) >= limit else 0.0
