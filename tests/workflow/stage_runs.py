"""Run one stage function in this process and commit its result: what the stages' own tests need, without CLI.

corpus = run_stage_inprocess(make_corpus, Corpus(seed=1), {}, tmp_path)
shards = run_stage_inprocess(build_document_shards, DocumentShards(), {"sources": corpus}, tmp_path)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.cpus import Room
from pipelines.core.executor import Executor, InProcess
from pipelines.core.identity import StageConfig
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.execute import run_attempt
from pipelines.workflow.keys import key_document, key_of
from pipelines.workflow.probe import probe_step
from pipelines.workflow.stage import Inputs, stage_of
from pipelines.workflow.store import Store


def plain_folder(folder: Path, step: str, stage: str = "folder") -> Artifact:
    """A folder taken as it lies for a result, without a key: every file under it is a logical name."""
    artifact = Artifact(folder, step, stage, key="", stats={}, content_digest="", manifest="")
    found = {name: (folder / name, about.size) for name, about in sorted(storage.files(folder).items())}
    rows = [{"path": name, "size": size, "sha256": storage.sha256_of(path)} for name, (path, size) in found.items()]
    manifest = {"content": {"files": rows}, "attendant": {"places": {name: name for name in found}}}
    vars(artifact)["_manifest"] = manifest  # as if it had been read
    return artifact


def run_stage_inprocess(
    function: Callable[..., dict[str, Any]],
    config: StageConfig,
    inputs: Mapping[str, Artifact | Sequence[Artifact]],
    directory: Path,
    *,
    step: str | None = None,
    limit: int | None = None,
    executor: Executor | None = None,
) -> Artifact:
    """Probe, run and commit one step under ``directory`` (a store root) and return its artifact; a second call with the
    same configuration and inputs returns the first result. What follows the CPUs is sized for one. An exception of
    the stage comes through unchanged, and the next call adopts the units it left."""
    definition, config = stage_of(function), config.sized(Room(1, 1))
    artifacts = {port: (value,) if isinstance(value, Artifact) else tuple(value) for port, value in inputs.items()}
    if not set(definition.inputs) <= set(artifacts) <= set(definition.ports):
        raise TypeError(f"{definition.name} takes {definition.ports}, of them {definition.inputs} always")
    store = Store(directory)
    label = step or definition.name
    probed = probe_step(definition, config, store.cache, limit=limit)
    document = key_document(
        definition,
        probed.config,
        inputs={port: [(item.step, item.key or str(item.root)) for item in items] for port, items in artifacts.items()},
        sources=probed.digests,
        tools=probed.tools,
        limit=limit,
    )
    key = key_of(document)
    committed = store.find(definition.name, key)
    if committed is None:
        folder = store.folder(definition.name, label, key)
        attempt = replace(store.begin(folder, limit=limit), executor=executor or InProcess())
        about = {"step": label, "key": key, "document": document, "generation": 1}
        committed = run_attempt(definition, probed.config, Inputs(artifacts, probed.files), attempt, about)
    store.cache.save()
    return committed.open(label)
