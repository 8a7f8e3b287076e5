"""``cookhouse run``: carry out the plan, show it, close with what was made."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli import options
from cookhouse.cli.failures import INTERRUPTED, STATE, say

if TYPE_CHECKING:
    from cookhouse.project import Project
    from pipelines.workflow.backends import Backend
    from pipelines.workflow.plan import Plan
    from pipelines.workflow.runner import Rules, StepResult
    from pipelines.workflow.store import Store

WORKER = "cookhouse.worker"
MIRROR_WAIT_S = 5.0
MIRROR_WAIT_HITS_S = 1.0
"""How long the end of a run waits for tracking to catch up; the mirror goes on alone after that."""


@click.command()
@options.words
@options.selection
@options.manner
def run(words: tuple[str, ...], chosen: options.Chosen, manner: options.Manner) -> int:
    """Make what is missing; finished steps are reused.

    STEPs are the targets: those and what they need (as --until). Ctrl-C stops cleanly, a second one at once. Run the
    same command again to go on from what was committed.
    """
    targets, overrides = options.targets_and_overrides(words)
    return carry_out(overrides, targets, chosen, manner)


def carry_out(overrides: Sequence[str], targets: Sequence[str], chosen: options.Chosen, manner: options.Manner) -> int:
    """Plan, run and report; what ``run``, ``resume`` and ``retry`` have in common. Returns the exit code."""
    started = time.monotonic()
    from cookhouse.cli.precision import warn_of_emulation
    from cookhouse.cli.view import alive
    from cookhouse.project import load_project

    project = load_project(overrides)
    store = project.store
    STATE["root"] = store.home
    with interruptible():
        with alive("planning", store.cache.told):
            plan = project.plan(store, limit=chosen.limit, selection=chosen.selection(targets, wait=manner.wait))
        refuse_blocked(plan)
        refuse_full_disk(plan, store, manner)
        warn_of_emulation(project, [step.keyed.step for step in plan.work])
        results = _run(project, store, plan, overrides, chosen, targets, manner)
    typed = [*targets, *overrides, *chosen.again()]
    print_end(plan, results, typed, time.monotonic() - started, manner.verbose, tracked=project.tracking.enabled)
    return exit_code(results)


def _run(
    project: Project,
    store: Store,
    plan: Plan,
    overrides: Sequence[str],
    chosen: options.Chosen,
    targets: Sequence[str],
    manner: options.Manner,
) -> dict[str, StepResult]:
    from cookhouse.cli.closing import differ
    from cookhouse.cli.costs import costs, outlook, seconds_of
    from cookhouse.cli.planning import left_out
    from cookhouse.cli.view import RunView
    from pipelines.core.secrets import redact
    from pipelines.workflow.runner import Runner
    from pipelines.workflow.runs import create_run

    name = manner.backend or project.cluster.backend
    shown = [redact(text) for text in overrides]
    record = create_run(
        store.home,
        plan,
        recipe=project.recipe,
        overrides=shown,
        backend=name,
        limit=chosen.limit,
        selection=chosen.kept(targets),
    )
    mirror = start_mirror(project, store, [record.run_id])
    todo = f"{len(plan.work)} of {len(plan.steps)} steps to make"
    expected: dict[str, float] = {}
    if not manner.quiet:
        said = f"run {record.run_id}  recipe {project.recipe}  {todo}  in {store.root}"
        say("\n".join([said, *left_out(project)]))
        estimates, gflops = costs(project, plan, chosen.limit)
        expected = seconds_of(estimates)
        if told := outlook(estimates, gflops):
            say(told)
    status = "failed"
    names = [step.name for step in plan.steps]
    view = RunView(record.events(), names, expected=expected, quiet=manner.quiet)
    with view:
        view.event("run_started", recipe=project.recipe, overrides=shown, run_id=record.run_id)
        try:
            runner = Runner(
                store,
                plan,
                make_backend(project, store, name, keep=manner.keep_ray),
                view,
                run_id=record.run_id,
                rules=rules(project, manner),
                asked_to_stop=record.asked_to_stop,
                differ=differ,
            )
            results = runner.run()
            status = "ok" if all(result.status in ("ok", "hit") for result in results.values()) else "failed"
        except KeyboardInterrupt:
            status = "killed"
            say(
                "stopped: what ran was ended and its locks given back; the same command goes on from what was committed"
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
        finally:
            view.event("run_finished", status=status)
            if mirror is not None:
                with contextlib.suppress(Exception):
                    mirror.close(MIRROR_WAIT_S if plan.work and status != "killed" else MIRROR_WAIT_HITS_S)
    return results


def rules(project: Project, manner: options.Manner) -> Rules:
    """How the runner goes about it, from the configuration and the options."""
    from pipelines.workflow.runner import Rules

    return Rules(
        max_parallel=manner.max_parallel,
        cluster=project.cluster.room.whole,
        keep_going=manner.keep_going,
        wait=manner.wait,
        stop_wait_s=project.cluster.stop_wait_s,
        timeouts=project.timeouts,
    )


def make_backend(project: Project, store: Store, name: str, *, keep: bool) -> Callable[[], Backend]:
    """Called when the first step has to run, never for a plan of HITs."""

    def make() -> Backend:
        if name == "inprocess":
            from pipelines.workflow.backends.inprocess import InProcess

            return InProcess()
        from cookhouse.cli.services import ray_of
        from pipelines.workflow.backends.ray_jobs import RayJobs

        return RayJobs(ray_of(project, store), WORKER, keep=keep)

    return make


def start_mirror(project: Project, store: Store, run_ids: Sequence[str]) -> Any:
    """The process that mirrors the runs' events into MLflow; a run without it is a run all the same."""
    if not project.tracking.enabled:
        return None
    try:
        from pipelines.tracking.mirror import start_mirror

        return start_mirror(store.home, run_ids, project.tracking_uri)
    except Exception as error:
        say(f"note: no tracking ({type(error).__name__}: {error})")
        return None


def refuse_blocked(plan: Plan) -> None:
    """Raises LockError when another run makes a step and is not to be waited for, ConfigError when inputs are missing."""
    from pipelines.core.errors import ConfigError, LockError

    if not plan.blocked:
        return
    step = plan.blocked[0]
    if step.facts.holder is not None:
        raise LockError(
            f"step '{step.name}' cannot be made now",
            why="; ".join(step.reasons),
            do="leave out --no-wait to wait for that run, or stop it (cookhouse cancel)",
        )
    other = next((item for item in plan.blocked if item.reasons and "not selected and" not in item.reasons[0]), step)
    raise ConfigError(f"step '{other.name}' cannot be made", why="; ".join(other.reasons), do="select its inputs too")


def refuse_full_disk(plan: Plan, store: Store, manner: options.Manner) -> None:
    """Raises ConfigError when earlier results say that the disk will not hold this, unless ``--yes``."""
    from cookhouse.cli.planning import free_bytes
    from cookhouse.cli.words import size
    from pipelines.core.errors import ConfigError
    from pipelines.workflow.estimate import estimate, total

    free = free_bytes(store.root)
    if manner.yes or not plan.work or free is None:
        return
    expected = total(estimate(plan)).bytes
    if expected > free:
        raise ConfigError(
            f"about {size(expected)} would be written and {size(free)} are free",
            where=str(store.root),
            why="going by earlier results (cookhouse plan)",
            do="free some space (cookhouse gc), choose storage.root=/big/disk, or start all the same with --yes",
        )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def print_end(
    plan: Plan,
    results: Mapping[str, StepResult],
    typed: Sequence[str],
    wall_s: float,
    verbose: bool,
    *,
    tracked: bool,
) -> None:
    """Summary, failures, and the commands to type next, with the arguments of this one."""
    from cookhouse.cli.closing import print_changes, print_failures, print_next, print_summary

    print_summary(plan, results, wall_s)
    print_changes(results)
    print_failures(results, verbose)
    where = [text for text in typed if text.startswith(("storage", "tracking.uri"))]
    failed = [name for name, result in results.items() if result.status == "failed"]
    next_commands = [(["ui", *where], "compare runs in MLflow")] if tracked else []
    if failed:
        next_commands = [
            (["logs", failed[0], *where], "what the failed step printed"),
            (["run", *typed], "go on from what was committed"),
        ]
    next_commands.append((["status", *where], "how the steps stand (--html draws it)"))
    if not failed:
        next_commands.append((["plan", *typed], "add steps.<name>.<field>=<value> to see what it would make anew"))
    print_next(next_commands)


def exit_code(results: Mapping[str, StepResult]) -> int:
    """0 when every step is there; else the code of the first error's class (1 for a failed stage)."""
    for result in results.values():
        if result.error is not None:
            return result.error.exit_code if result.error.failure == "infra" else 1
    return 0 if all(result.status in ("ok", "hit") for result in results.values()) else 1
