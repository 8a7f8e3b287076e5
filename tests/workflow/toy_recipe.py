"""A recipe of the toy stages, and short ways to plan and run it in process."""

from __future__ import annotations

from typing import Any

from toy_stages import REGISTRY

from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.plan import Plan, Selection, key_steps, make_plan
from pipelines.workflow.recipe import parse_steps
from pipelines.workflow.runner import Rules, Runner, StepResult
from pipelines.workflow.store import Store
from pipelines.workflow.survey import survey


def nowhere(_: Any) -> str:
    """The origin of values that no file holds."""
    return ""


def recipe(numbers: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Numbers -> squares -> total, with fields of ``numbers`` and further steps."""
    return {
        "numbers": {"stage": "toy_numbers", **(numbers or {})},
        "squares": {"stage": "toy_squares", "inputs": {"numbers": "numbers"}},
        "total": {"stage": "toy_total", "inputs": {"terms": ["numbers", "squares"]}},
        **more,
    }


def make_plan_of(store: Store, raw: dict[str, Any], *, limit: int | None = None, **selection: Any) -> Plan:
    """Probe, survey and decide."""
    keyed = key_steps(parse_steps(raw, REGISTRY, nowhere), store.cache, limit=limit, origin=nowhere)
    return make_plan(keyed, survey(store, keyed), Selection(**selection))


class Quiet:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, **fields})

    def progress(self, step: str, events: Any) -> None:
        self.events.append({"kind": "progress", "step": step, "events": list(events)})


def carry_out(
    store: Store, plan: Plan, backend: Any = InProcess, listener: Quiet | None = None, **rules: Any
) -> dict[str, StepResult]:
    return Runner(store, plan, backend, listener or Quiet(), run_id="test", rules=Rules(stop_wait_s=1, **rules)).run()
