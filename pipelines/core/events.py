"""Append-only JSONL events: the one record of progress and metrics. The MLflow mirror and the reports read them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.core.secrets import redact, secret_values
from pipelines.core.storage import Place
from pipelines.core.trail import Trail


class EventWriter:
    """Writes one JSON object a line and flushes each, so a killed process loses at most the line being written. Secrets of
    the environment do not get that far.

    ``kind`` is ``metric`` (``step`` and ``values``), ``progress`` (``done``, ``total``, ``unit``), ``note`` or ``state``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._secrets = secret_values()
        self._file = self.path.open("a", encoding="utf-8")

    def emit(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"t": round(time.time(), 3), "kind": kind, **fields}, ensure_ascii=False, default=float)
        with self._lock:
            self._file.write(redact(line, self._secrets) + "\n")
            self._file.flush()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at an optimizer or RL step, names like ``train/loss``."""
        self.emit("metric", step=int(step), values={name: float(value) for name, value in values.items()})

    def progress(self, done: int, total: int, unit: str) -> None:
        self.emit("progress", done=done, total=total, unit=unit)

    def close(self) -> None:
        with suppress(OSError):  # a line that did not fit on the disk was told when it was written
            self._file.close()


def read_events(path: Place) -> Iterator[dict[str, Any]]:
    """Every whole line, from wherever the store keeps the file; a torn last line (the writer was killed) is left out."""
    yield from parse_events(Trail(path).lines())


def parse_events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects on some lines of JSONL; torn and foreign lines are passed over."""
    for line in lines:
        with suppress(json.JSONDecodeError):
            if isinstance(event := json.loads(line), dict):
                yield event
