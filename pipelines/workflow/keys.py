"""The one place that computes keys: sha256 over the canonical JSON of everything that decides a step's result.

Example: a step ``documents`` over one corpus has the document

    {"schema": 1, "stage": "documents", "code_version": 1, "config": {"views_per_page": 2, ...},
     "inputs": {"sources": [["corpus", "9f..."]]}, "sources": {}, "tools": {"pymupdf": "2.0.0"}}

Inputs enter with the name the recipe gives them, because a stage sees that name (mixing weights are keyed by it). The
step's own name does not enter: a renamed step is still a HIT.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.canonical import canonical_json, digest, dotted
from pipelines.core.identity import StageConfig, identity_of
from pipelines.workflow.stage import StageDef

SCHEMA = 1
SHORT = 12
"""Hex digits of a key that folders and tables show."""

Document = dict[str, Any]


def key_document(
    definition: StageDef,
    config: StageConfig,
    *,
    inputs: Mapping[str, Sequence[tuple[str, str]]],
    sources: Mapping[str, str],
    tools: Mapping[str, str],
    limit: int | None,
) -> Document:
    """Everything that decides the result, as plain JSON. ``inputs``: port -> (step name, key) in order; ``sources``:
    field -> listing digest; ``tools``: engine or tool -> version or digest; ``limit`` enters only when set."""
    document: Document = {
        "schema": SCHEMA,
        "stage": definition.name,
        "code_version": definition.code_version,
        "config": identity_of(config),
        "inputs": {port: [list(item) for item in items] for port, items in inputs.items() if items},
        "sources": dict(sources),
        "tools": dict(tools),
    }
    if limit is not None and definition.limit:
        document["limit"] = limit
    return dict(json.loads(canonical_json(document)))


key_of = digest
"""The key of a document: 64 hex digits."""
ABSENT = object()


def difference(old: Document, new: Document) -> list[str]:
    """What changed between two key documents, one line a field: ``views_per_page 1 -> 2``."""
    before, after = _named(old), _named(new)
    names = sorted(before.keys() | after.keys())
    pairs = ((name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in names)
    return [f"{name} {_shown(was)} -> {_shown(now)}" for name, was, now in pairs if was != now]


def _named(document: Document) -> dict[str, Any]:
    """The leaves of a key document in the words a person typed: fields bare (``phases.0.lr``), inputs by step name."""
    named: dict[str, Any] = dict(document.get("config", {}))
    for port, items in document.get("inputs", {}).items():
        named |= {f"input {port}/{step}": key[:SHORT] for step, key in items}
    named |= {f"source {name}": value[:SHORT] for name, value in document.get("sources", {}).items()}
    named |= {f"tool {name}": value for name, value in document.get("tools", {}).items()}
    named |= {name: document[name] for name in ("schema", "code_version", "limit") if name in document}
    return dotted(named)


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(none)"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 40 else text[:37] + "..."


def source_hash(definition: StageDef) -> str:
    """Advisory: sha256 of the stage module's syntax tree without docstrings, so comments and wording are no drift."""
    try:
        return _tree_hash(definition.source_file, definition.source_file.stat().st_mtime_ns)
    except (OSError, SyntaxError):
        return ""


@functools.lru_cache
def _tree_hash(file: Path, _changed: int) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
