"""Pieces of prompts to ids: one tokenizer call for the texts of a whole batch.

Neighbouring texts are encoded as one (a merge may cross them); a token is supervised when its first character is. Text is
data: it is cut inside every string that names a special token, so the tokenizer never sees one whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerFast

from model.chat import Piece, control
from model.tokenizer import SpecialIds, special_ids

PLACEHOLDERS = control("<unk>")  # stands for Q placeholders
BATCH_FROM = 32  # texts; below, the threads of the tokenizer cost more than they save


@dataclass(frozen=True)
class Written:
    """``ids`` ``[T]`` int64, ``kept`` ``[T]`` (supervised), ``bounds``: half-open spans of placeholders."""

    ids: np.ndarray
    kept: np.ndarray
    bounds: tuple[tuple[int, int], ...]


class Writer:
    """Writes with one tokenizer and ``queries`` placeholders for a picture; holds no other state."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, queries: int) -> None:
        self.ids: SpecialIds = special_ids(tokenizer)
        self._backend = tokenizer.backend_tokenizer
        self._placeholders = np.full(queries, self.ids.placeholder), np.zeros(queries, dtype=bool)
        names: dict[str, list[str]] = {}
        for name in sorted({*self.ids.by_name, *tokenizer.all_special_tokens}):
            names.setdefault(name[0], []).append(re.escape(name[1:]))
        # One literal first character, or the search looks for every name at every place.
        self._special = re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in names.items()))

    def write(self, streams: Sequence[Sequence[Piece]]) -> list[Written]:
        """One result for each stream of text and control pieces."""
        laid = [_runs(stream) for stream in streams]
        texts = ["".join(piece.text for piece in run) for runs in laid for run in runs if run[0].kind == "text"]
        coded = iter(self.encode(texts))
        return [self._join(runs, coded) for runs in laid]

    def encode(self, values: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each text the ids ``[T]`` and the index of each token's first character ``[T]``."""
        parts: list[str] = []
        begins: list[list[int]] = []
        for value in values:
            cuts = [0, *(match.start() + 1 for match in self._special.finditer(value)), len(value)]
            parts += [value[begin:end] for begin, end in pairwise(cuts)]
            begins.append(cuts[:-1])
        if len(parts) < BATCH_FROM:
            coded = iter([self._backend.encode(part, add_special_tokens=False) for part in parts])
        else:
            coded = iter(self._backend.encode_batch(parts, add_special_tokens=False))
        out = []
        for starts in begins:
            pieces = [(next(coded), begin) for begin in starts]
            ids = np.concatenate([np.asarray(piece.ids, dtype=np.int64) for piece, _ in pieces])
            offsets = [
                np.asarray(piece.offsets, dtype=np.int64).reshape(-1, 2)[:, 0] + begin for piece, begin in pieces
            ]
            out.append((ids, np.concatenate(offsets)))
        return out

    def _join(self, runs: Sequence[Sequence[Piece]], coded: object) -> Written:
        ids: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        kept: list[np.ndarray] = [np.zeros(0, dtype=bool)]
        bounds = []
        length = 0
        for run in runs:
            first = run[0]
            if first is PLACEHOLDERS:
                new, mask = self._placeholders
                bounds.append((length, length + len(new)))
            elif first.kind == "control":
                new, mask = np.array([self.ids[first.text]]), np.array([first.supervised])
            else:
                new, starts = next(coded)  # type: ignore[call-overload]
                ends = np.cumsum([len(piece.text) for piece in run])
                marks = np.array([piece.supervised for piece in run])
                mask = marks[np.searchsorted(ends, starts, side="right")]
            ids.append(new)
            kept.append(mask)
            length += len(new)
        return Written(np.concatenate(ids), np.concatenate(kept), tuple(bounds))


def _runs(stream: Sequence[Piece]) -> list[list[Piece]]:
    """Neighbouring texts together, control pieces alone; empty texts are left out."""
    runs: list[list[Piece]] = []
    for piece in stream:
        if piece.kind == "text" and not piece.text:
            continue
        if piece.kind == "text" and runs and runs[-1][0].kind == "text":
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs
