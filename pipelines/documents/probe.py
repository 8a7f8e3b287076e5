"""Before the plan: how many pages has each file, and (where near-duplicates matter) what does it say?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.documents.build import category
from pipelines.documents.config import DocumentShards
from pipelines.documents.extract import CHILD
from pipelines.documents.plan import Verdict
from pipelines.documents.similar import MAX_PAGES, Signature, find_matches, sign
from pipelines.shards.plan import SourceItem


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
