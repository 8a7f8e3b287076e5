"""Errors a person can act on: what failed, the value and where it came from, why, what to do.

The class decides who may retry: ``infra`` failures are retried with backoff, ``user`` failures are not, ``config``
failures are found before anything starts. Exit codes follow ``docs/workflow.md``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal

FailureClass = Literal["config", "user", "infra", "interrupted"]


class CookhouseError(Exception):
    """One clear message: ``what`` failed, ``where`` the value came from, ``why``, and what to ``do``."""

    failure: ClassVar[FailureClass] = "user"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.do = what, where, why, do

    def __str__(self) -> str:
        more = (f"  {label}: {text}" for label in ("where", "why", "do") if (text := getattr(self, label)))
        return "\n".join([self.what, *more])


class ConfigError(CookhouseError):
    """A value of the configuration is wrong; found before anything starts."""

    failure = "config"
    exit_code = 2


class DataError(CookhouseError):
    """The inputs cannot be processed (too many bad files, nothing to do, a corrupt shard)."""


class InfraError(CookhouseError):
    """A process, node, disk or network failed; the same work may succeed when tried again."""

    failure = "infra"
    exit_code = 4


class LockError(CookhouseError):
    """Another live process holds the lease of this step."""

    failure = "infra"
    exit_code = 5


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's message, at most 300 characters."""
    return (str(error).strip().splitlines() or ["(no message)"])[0][:300]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for a near miss, else ''."""
    close = difflib.get_close_matches(word, [str(item) for item in known], n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def no_such(
    what: str, name: str, known: Iterable[str], *, listed: str = "known:", where: str = "", why: str = "", do: str = ""
) -> ConfigError:
    """``{what} '{name}'``, with the near miss of ``known``; without one ``do``, or the names there are after ``listed``."""
    names = [str(item) for item in known]
    advice = did_you_mean(name, names) or do or f"{listed} {', '.join(names) or 'none'}"
    return ConfigError(f"{what} '{name}'", where=where, why=why, do=advice)
