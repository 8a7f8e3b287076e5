"""A log without secrets: ``python -m pipelines.core.redactor LOG`` copies its input to a file, secrets of its environment
hidden. A process of its own, so that what was printed is written down even when the printer is killed."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from typing import TextIO

from pipelines.core.secrets import redact, secret_values

BLOCK = 1 << 16
"""Bytes read at once, and after which a line without an end is written all the same."""
_END = re.compile(rb"[\r\n]")


class CleanText(io.TextIOBase):
    """A text stream that hides secrets line by line; ``close`` writes a last unfinished line and leaves the stream
    behind it open."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rest, self._secrets = stream, "", secret_values()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._stream.write(redact(whole + newline, self._secrets))
        return len(text)

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        if self._rest:
            self._stream.write(redact(self._rest, self._secrets))
            self._rest = ""
        super().close()


def copy(source: int, target: int) -> None:
    """Bytes of one descriptor to another until its end, secrets hidden, whole lines as soon as they are there."""
    secrets, rest = secret_values(), b""

    def write(data: bytes) -> None:
        text = redact(data.decode("utf-8", "surrogateescape"), secrets)
        os.write(target, text.encode("utf-8", "surrogateescape"))

    while block := os.read(source, BLOCK):
        rest += block
        ends = [match.end() for match in _END.finditer(rest)]
        whole = ends[-1] if ends else len(rest) if len(rest) > BLOCK else 0
        write(rest[:whole])
        rest = rest[whole:]
    write(rest)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    copy(0, os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644))
