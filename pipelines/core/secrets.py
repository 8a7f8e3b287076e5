"""What is secret and must not be written down: values of environment variables with telling names, passwords in URLs.

Secrets come by the environment. A configuration is written into every artifact, so one that holds a secret is refused
before anything starts; free text (logs, events, tracebacks) is cleaned on its way to disk. Clean text never feeds back
into anything: keys and records are made from the configuration, which holds no secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"
SHORTEST = 8
"""Characters below which the value of a variable is too common a text to be hidden wherever it appears."""
_NAME = re.compile(
    r"(?:^|[_.-])(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_?key(?:_id)?|private_?key"
    r"|secret_?key|auth)$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@\"']+)(@)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{1,15}")


def is_secret_name(name: str) -> bool:
    """Whether a variable or field of this name holds a secret: ``HF_TOKEN``, ``db.password``, ``aws_secret_access_key``,
    but not ``RAY_AUTH_TOKEN_PATH`` or ``tokens``."""
    return _NAME.search(name) is not None


def secret_values(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The secrets of an environment as they are and as JSON writes them, longest first. Short values and plain words are
    left out: they stand in ordinary text too."""
    found = {
        value
        for name, value in (os.environ if environment is None else environment).items()
        if is_secret_name(name) and len(value) >= SHORTEST and not _WORD.fullmatch(value)
    }
    found |= {line for value in found for line in value.splitlines() if len(line) >= SHORTEST}
    escaped = {json.dumps(value, ensure_ascii=False)[1:-1] for value in found}
    return tuple(sorted(found | escaped, key=len, reverse=True))


def redact(text: str, values: tuple[str, ...] | None = None) -> str:
    """Text with secrets of the environment (or ``values``) and passwords in URLs as ``***``."""
    for value in secret_values() if values is None else values:
        text = text.replace(value, HIDDEN)
    return _URL_PASSWORD.sub(rf"\g<1>{HIDDEN}\g<3>", text) if "://" in text else text


def leaks(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, why) of every text of a configuration that is a secret or holds one."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaks(item, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaks(item, (*path, str(index)))
    elif isinstance(value, str) and value:
        if path and is_secret_name(path[-1]):
            yield path, f"'{path[-1]}' names a secret"
        elif redact(value, ()) != value:
            yield path, "it is a URL with a password"
        elif any(secret in value for secret in secret_values()):
            yield path, "it holds the value of a secret environment variable"
