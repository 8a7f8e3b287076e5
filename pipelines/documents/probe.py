"""Before the plan: how many pages has each file, and (where near-duplicates matter) which one says nearly the same as an
earlier one? That is told by MinHash of the text layer (datasketch).

A file is one set of five-word pieces (every Chinese or Japanese character counts as a word). Signatures are made in the
workers; grouping is one pass in name order over a few hundred bytes a file, so it depends on nothing but the texts.
Beyond some ten million files use a cluster tool first (docs/scale.md)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.documents.build import category
from pipelines.documents.config import DocumentShards
from pipelines.documents.extract import CHILD
from pipelines.documents.plan import Verdict
from pipelines.shards.plan import SourceItem

Signature = NDArray[np.uint32]

PERMUTATIONS = 128
SEED = 1
SCHEME = "affine32"  # 32-bit values; datasketch 2
PIECE = 5  # words
MAX_PAGES = 30  # the start of a long file stands for it
MIN_PIECES = 20  # less text says too little: such files are never near-duplicates
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|\w+")


@dataclass(frozen=True)
class ProbeJob:
    """Files to open."""

    sources: tuple[SourceItem, ...]
    settings: DocumentShards


@dataclass(frozen=True)
class Found:
    """What the probe knows of a file: its number of pages, or the verdict that it cannot be opened; the signature of
    its text, None where it has too little or none is asked for."""

    pages: int | Verdict
    signature: Signature | None = None


def probe_files(job: ProbeJob) -> dict[str, Found]:
    """Open each file in the sandbox; the signature is of the text of its first pages. Files by name."""
    settings = job.settings
    box = kept_sandbox(CHILD, settings.page_deadline_s, settings.memory_bytes)
    found: dict[str, Found] = {}
    for source in job.sources:
        if not source.sha256:
            found[source.name] = Found(Verdict("quarantined", "source_unavailable", "the file cannot be read"))
            continue
        try:
            pages = box.call("count", settings.engine, source.path)
        except SandboxError as error:
            found[source.name] = Found(Verdict("quarantined", category(error.category), error.message))
            continue
        signature = None
        if settings.filters.near_duplicates != "off" and not source.family:
            texts: list[str] = []
            with contextlib.suppress(SandboxError):  # it ends the text: the unit will tell why
                texts.extend(box.stream("texts", settings.engine, source.path, min(pages, MAX_PAGES)))
            signature = sign(" ".join(texts))
        found[source.name] = Found(pages, signature)
    return found


def mark_similar(
    items: Iterable[SourceItem], found: Mapping[str, Found], settings: DocumentShards
) -> tuple[list[SourceItem], dict[str, int | Verdict]]:
    """Files with the split of the first file they resemble, and pages or verdict by name. Files of the sample corpus
    have no signature, so their declared splits stay."""
    pages = {name: one.pages for name, one in found.items()}
    listed = list(items)
    if settings.filters.near_duplicates == "off":
        return listed, pages
    digests: set[str] = set()
    signatures = {}
    for item in sorted(listed, key=lambda item: item.name):
        signature = found[item.name].signature
        if signature is not None and item.sha256 not in digests:  # exact copies have a row of their own
            signatures[item.name] = signature
        digests.add(item.sha256)
    matches = find_matches(signatures, settings.filters.similarity)
    splits = {item.name: item.split for item in listed}
    if settings.filters.near_duplicates == "drop":
        for name, match in matches.items():
            pages[name] = Verdict("filtered", "near_duplicate", f"text is {match.similarity:.0%} like {match.first}")
    moved = {name: splits[match.first] for name, match in matches.items()}
    return [replace(item, split=moved.get(item.name, item.split)) for item in listed], pages


class Match(NamedTuple):
    """The first file of the group and the estimated Jaccard similarity to it (0-1)."""

    first: str
    similarity: float


def sign(text: str) -> Signature | None:
    """Signature [PERMUTATIONS] of a text, None when it has fewer than ``MIN_PIECES`` pieces."""
    words = _WORD.findall(text.casefold())
    pieces = {" ".join(words[at : at + PIECE]).encode() for at in range(len(words) - PIECE + 1)}
    if len(pieces) < MIN_PIECES:
        return None
    from datasketch import MinHash

    made = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME)
    made.update_batch(sorted(pieces))
    return made.hashvalues.astype(np.uint32)


def find_matches(signatures: Mapping[str, Signature], least: float) -> dict[str, Match]:
    """File -> its match, for every file that is similar to an earlier one (by name) by at least ``least``.

    A file joins the group of the earliest similar file, and that file's group in turn: near-duplicates of
    near-duplicates share one first file."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=least, num_perm=PERMUTATIONS)
    matches: dict[str, Match] = {}
    for name in sorted(signatures):
        own = signatures[name]
        probe = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME, hashvalues=own)
        for other in sorted(index.query(probe)):
            similarity = float(np.mean(own == signatures[other]))
            if similarity >= least:
                first = matches[other].first if other in matches else other
                matches[name] = Match(first, round(similarity, 3))
                break
        index.insert(name, probe)
    return matches
