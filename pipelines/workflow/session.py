"""One plan carried out for one or many combinations of values: a run is a sweep of one.

execute(plan, combinations, listeners)
    Journal   -> runs/{id}/events.jsonl of every combination, the record of truth
    listeners -> the terminal; ``status``, the page and tracking read the journals
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.workflow.backends import Backend
from pipelines.workflow.changes import Differ, changed_files
from pipelines.workflow.plan import Plan
from pipelines.workflow.runner import Listener, Rules, Runner, StepResult
from pipelines.workflow.runs import EVERY_STEP, RunRecord
from pipelines.workflow.store import Store


@dataclass(frozen=True)
class Combination:
    """One run of a session. ``nodes``: step -> its name in the plan (a sweep knows several ``sft``); ``differs``: the
    overrides that others do not share."""

    run: RunRecord
    nodes: Mapping[str, str]
    differs: tuple[str, ...] = ()

    def state(self, results: Mapping[str, StepResult]) -> str:
        found = [results[node].status for node in self.nodes.values() if node in results]
        return "ok" if found and all(status in ("ok", "hit") for status in found) else "failed"


class Journal:
    """Writes what happens to a step into the events of every combination that has it, under its name there, and then
    tells the ``listeners``."""

    def __init__(self, combinations: Sequence[Combination], listeners: Sequence[Listener]) -> None:
        self.combinations, self.listeners = combinations, listeners
        self._writers = [item.run.events() for item in combinations]
        self._names = [{node: name for name, node in item.nodes.items()} for item in combinations]
        for index, (item, writer) in enumerate(zip(combinations, self._writers, strict=True)):
            about = {name: item.run.data[name] for name in ("recipe", "overrides", "run_id")}
            if name := item.run.data.get("sweep"):
                about["sweep"] = {"id": name, "index": index, "of": len(combinations), "varied": list(item.differs)}
            writer.emit("run_started", **about)

    def event(self, kind: str, **fields: Any) -> None:
        for writer, names in zip(self._writers, self._names, strict=True):
            if "step" not in fields:
                writer.emit(kind, **fields)
            elif fields["step"] in names:
                writer.emit(kind, **{**fields, "step": names[fields["step"]]})
        for listener in self.listeners:
            listener.event(kind, **fields)

    def progress(self, step: str, events: Sequence[Mapping[str, Any]]) -> None:
        for listener in self.listeners:
            listener.progress(step, events)

    def close(self, results: Mapping[str, StepResult] | None) -> None:
        """The end of every combination; None when the session was interrupted."""
        for writer, item in zip(self._writers, self.combinations, strict=True):
            writer.emit("run_finished", status="killed" if results is None else item.state(results))
            writer.close()


def execute(
    plan: Plan,
    combinations: Sequence[Combination],
    listeners: Sequence[Listener],
    *,
    store: Store,
    backend: Callable[[], Backend],
    rules: Rules,
    differ: Differ = changed_files,
) -> dict[str, StepResult]:
    """Carry the plan out and tell everybody, the journals first. Raises KeyboardInterrupt after everything was stopped."""

    def wishes() -> set[str]:
        return {
            node
            for item in combinations
            for wish in item.run.asked_to_stop()
            for node in [EVERY_STEP if wish == EVERY_STEP else item.nodes.get(wish, wish)]
        }

    journal, run_id = Journal(combinations, listeners), combinations[0].run.run_id
    results: dict[str, StepResult] | None = {}  # nothing is said to be there when the run cannot even start
    try:
        runner = Runner(store, plan, backend, journal, run_id=run_id, rules=rules, asked_to_stop=wishes, differ=differ)
        results = runner.run()
        return results
    except KeyboardInterrupt:
        results = None
        raise
    finally:
        journal.close(results)
