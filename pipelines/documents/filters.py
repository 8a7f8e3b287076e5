"""Page filters: language and amount of text. A page left out keeps its reason, its figures and the start of its text in
its manifest row, so a rule can be judged by what it dropped."""

from __future__ import annotations

from typing import Any

from pipelines.documents.config import Filters
from pipelines.documents.plan import Verdict

EXCERPT = 200  # characters of a dropped text kept in its row
LANGUAGE_SAMPLE = 2000  # characters the language is judged by


def judge_text(text: str, rules: Filters) -> tuple[Verdict | None, dict[str, Any]]:
    """Apply the page rules in order: length, then language. Gives the verdict that leaves a page out (None keeps it) and
    what it rests on, for the row.

    >>> judge_text("short", Filters(characters=(10, 0)))[0]
    Verdict(status='filtered', category='length', reason='5 characters, fewer than 10')
    """
    facts: dict[str, Any] = {"characters": len(text)}
    least, most = rules.characters
    verdict = None
    if len(text) < least:
        verdict = Verdict("filtered", "length", f"{len(text)} characters, fewer than {least}")
    elif most and len(text) > most:
        verdict = Verdict("filtered", "length", f"{len(text)} characters, more than {most}")
    elif rules.languages:
        language = language_of(text)
        facts["language"] = language
        if language not in rules.languages:
            verdict = Verdict("filtered", "language", f"written in {language}, not in {', '.join(rules.languages)}")
    if verdict is not None:
        facts["text"] = text[:EXCERPT]
    return verdict, facts


def language_of(text: str) -> str:
    """ISO 639-1 code of the most likely of the 97 languages py3langid knows."""
    import py3langid

    return str(py3langid.classify(text[:LANGUAGE_SAMPLE])[0])
