"""A session from what was asked for to the last screen: plan, refuse, write down, carry out, report. A run is a sweep of
one combination."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from cookhouse.cli.closing import differ, print_end
from cookhouse.cli.costs import costs, outlook, refuse_full_disk
from cookhouse.cli.failures import INTERRUPTED, STATE, say
from cookhouse.cli.options import Manner
from cookhouse.cli.planning import left_out, print_plan
from cookhouse.cli.precision import warn_of_emulation
from cookhouse.cli.services import ray_of
from cookhouse.cli.view import RunView, alive
from cookhouse.project import Project, load_project, plan_all
from pipelines.core.errors import ConfigError, LockError
from pipelines.core.secrets import redact
from pipelines.workflow.backends import Backend
from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.backends.ray_jobs import RayJobs
from pipelines.workflow.plan import Plan, Selection
from pipelines.workflow.runner import Rules, StepResult
from pipelines.workflow.runs import create_run
from pipelines.workflow.session import Combination, execute
from pipelines.workflow.store import Store
from pipelines.workflow.sweep import Union, part

WORKER = "cookhouse.worker"
MIRROR_WAIT_S = 5.0
MIRROR_WAIT_HITS_S = 1.0
"""How long the end of a run waits for tracking to catch up, a sweep three times that; the mirror goes on alone then."""


@dataclass(frozen=True)
class Asked:
    """What a person asked for. ``combinations`` are whole lists of overrides; a sweep has an id and the names that differ;
    relative paths are those of ``folder``."""

    combinations: Sequence[tuple[str, ...]]
    chosen: Selection
    sweep: str = ""
    varied: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True)
class Session:
    """A plan that is about to be carried out."""

    asked: Asked
    manner: Manner
    project: Project
    store: Store
    plan: Plan

    def write_down(self, union: Union) -> list[Combination]:
        asked, found = self.asked, []
        for overrides, nodes in zip(asked.combinations, union.nodes, strict=True):
            shown = [redact(text) for text in overrides]
            run = create_run(
                self.store.home,
                part(self.plan, nodes),
                recipe=self.project.recipe,
                overrides=shown,
                backend=self.manner.backend or self.project.settings.cluster.backend,
                limit=asked.chosen.limit,
                selection=asked.chosen.kept,
                sweep=asked.sweep,
                folder=asked.folder,
            )
            differs = tuple(text for text in shown if text.partition("=")[0] in asked.varied)
            found.append(Combination(run, nodes, differs))
        return found

    def carry_out(self, combinations: Sequence[Combination]) -> dict[str, StepResult]:
        project, plan, manner, cluster = self.project, self.plan, self.manner, self.project.settings.cluster
        run = combinations[0].run
        expected = {} if manner.quiet else self._announce(run.run_id, len(combinations))
        rules = Rules(
            max_parallel=manner.max_parallel,
            cluster=cluster.room.whole,
            keep_going=manner.keep_going,
            wait=manner.wait,
            stop_wait_s=cluster.stop_wait_s,
            timeouts=project.settings.timeouts.of_steps(),
        )
        backend = make_backend(project, self.store, run.data["backend"], keep=manner.keep_ray)
        with (
            RunView([step.name for step in plan.steps], expected=expected, quiet=manner.quiet) as view,
            self._mirrored([item.run.run_id for item in combinations]),
        ):
            try:
                return execute(
                    plan, combinations, [view], store=self.store, backend=backend, rules=rules, differ=differ
                )
            except KeyboardInterrupt:
                say(
                    "stopped: what ran was ended and its locks given back; the same command goes on from what was "
                    "committed"
                )
                raise click.exceptions.Exit(INTERRUPTED) from None

    def _announce(self, run_id: str, count: int) -> dict[str, float]:
        """Say what begins; returns the seconds that steps are expected to take."""
        who = f"sweep {self.asked.sweep}  {count} combinations" if self.asked.sweep else f"run {run_id}"
        todo = f"recipe {self.project.recipe}  {len(self.plan.work)} of {len(self.plan.steps)} steps to make"
        say("\n".join([f"{who}  {todo}  in {self.store.root}", *left_out(self.project)]))
        estimates, gflops = costs(self.project, self.plan, self.asked.chosen.limit)
        if told := outlook(estimates, gflops):
            say(told)
        return {name: cost.seconds for name, cost in estimates.items() if cost.seconds is not None}

    @contextlib.contextmanager
    def _mirrored(self, run_ids: Sequence[str]) -> Iterator[None]:
        """A process mirrors the runs' journals into MLflow meanwhile; a run without it is a run all the same. One that was
        interrupted does not wait for it long."""
        wait_s = (MIRROR_WAIT_S if self.plan.work else MIRROR_WAIT_HITS_S) * (3 if self.asked.sweep else 1)
        mirror = None
        if self.project.settings.tracking.enabled:
            try:
                from pipelines.tracking.mirror import start_mirror

                mirror = start_mirror(self.store.home, run_ids, self.project.tracking_uri)
            except Exception as error:
                say(f"note: no tracking ({type(error).__name__}: {error})")
        try:
            yield
        except BaseException:
            wait_s = MIRROR_WAIT_HITS_S
            raise
        finally:
            if mirror is not None:
                with contextlib.suppress(Exception):
                    mirror.close(wait_s)


def carry_out(asked: Asked, manner: Manner, *, dry_run: bool = False) -> int:
    """Everything from planning to the report; returns the exit code."""
    started = time.monotonic()
    projects = [load_project(item, folder=asked.folder) for item in asked.combinations]
    project, store = projects[0], projects[0].store
    STATE["root"] = store.home
    with interruptible():
        with alive("planning", store.cache.told):
            union, plan = plan_all(projects, store, replace(asked.chosen, wait=manner.wait))
        if not dry_run:
            refuse_blocked(plan)
            if not manner.yes:
                refuse_full_disk(plan, store)
        warn_of_emulation(project, [step.keyed.step for step in plan.work])
        if dry_run:
            print_plan(project, plan, store)
            steps = sum(len(nodes) for nodes in union.nodes)
            click.echo(f"{len(union.nodes)} combinations, {steps} steps, {len(union.steps)} different ones")
            return 0
        session = Session(asked, manner, project, store, plan)
        combinations = session.write_down(union)
        results = session.carry_out(combinations)
    print_end(session, combinations, results, time.monotonic() - started)
    return exit_code(results)


def make_backend(project: Project, store: Store, name: str, *, keep: bool) -> Callable[[], Backend]:
    """Called when the first step has to run, never for a plan of HITs."""
    return lambda: InProcess() if name == "inprocess" else RayJobs(ray_of(project, store), WORKER, keep=keep)


def refuse_blocked(plan: Plan) -> None:
    """Raises LockError when another run makes a step and is not to be waited for, ConfigError when inputs are missing."""
    if not plan.blocked:
        return
    step = plan.blocked[0]
    if step.facts.holder is not None:
        do = "leave out --no-wait to wait for that run, or stop it (cookhouse cancel)"
        raise LockError(f"step '{step.name}' cannot be made now", why="; ".join(step.reasons), do=do)
    other = next((item for item in plan.blocked if item.reasons and "not selected and" not in item.reasons[0]), step)
    raise ConfigError(f"step '{other.name}' cannot be made", why="; ".join(other.reasons), do="select its inputs too")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a session as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def exit_code(results: dict[str, StepResult]) -> int:
    """0 when every step is there; else the code of the first error's class (1 for a failed stage)."""
    for result in results.values():
        if result.error is not None:
            return result.error.exit_code if result.error.failure == "infra" else 1
    return 0 if all(result.status in ("ok", "hit") for result in results.values()) else 1
