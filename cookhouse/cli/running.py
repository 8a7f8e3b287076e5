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
    from pipelines.workflow.runner import StepResult
    from pipelines.workflow.store import Store

WORKER = "cookhouse.worker"
MIRROR_WAIT_S = 5.0
MIRROR_WAIT_HITS_S = 1.0
"""How long the end of a run waits for tracking to catch up; the mirror goes on alone after that."""


@click.command()
@options.overrides
@options.selection
@click.option("--backend", type=click.Choice(["ray", "inprocess"]), help="Where steps run; default: the cluster's.")
@click.option(
    "--max-parallel", type=click.IntRange(min=1), help="Most steps at the same time; default: as the CPUs go."
)
@click.option("--keep-ray", is_flag=True, help="Leave the local Ray running for the next command.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def run(
    overrides: tuple[str, ...],
    limit: int | None,
    only: tuple[str, ...],
    until: tuple[str, ...],
    force: tuple[str, ...],
    backend: str | None,
    max_parallel: int | None,
    keep_ray: bool,
    verbose: bool,
) -> int:
    """Make what is missing; finished steps are reused.

    Ctrl-C stops cleanly. Run the same command again to go on from what was committed.
    """
    started = time.monotonic()
    from cookhouse.project import load_project
    from pipelines.workflow.plan import Selection

    project = load_project(overrides)
    store = project.store
    STATE["root"] = store.home
    with _interruptible():
        plan = project.plan(store, limit=limit, selection=Selection(only=only, until=until, force=force))
        _refuse_blocked(plan)
        results = _carry_out(project, store, plan, overrides, limit, backend, max_parallel, keep_ray)
    chosen = [] if limit is None else ["--limit", str(limit)]
    for option, names in (("--only", only), ("--until", until)):
        chosen += [word for name in names for word in (option, name)]
    print_end(
        plan, results, [*overrides, *chosen], time.monotonic() - started, verbose, tracked=project.tracking.enabled
    )
    return exit_code(results)


def _carry_out(
    project: Project,
    store: Store,
    plan: Plan,
    overrides: tuple[str, ...],
    limit: int | None,
    backend: str | None,
    max_parallel: int | None,
    keep_ray: bool,
) -> dict[str, StepResult]:
    from cookhouse.cli.view import RunView
    from pipelines.core.secrets import redact
    from pipelines.workflow.runner import Rules, Runner
    from pipelines.workflow.runs import create_run

    name = backend or project.cluster.backend
    shown = [redact(text) for text in overrides]
    record = create_run(store.home, plan, recipe=project.recipe, overrides=shown, backend=name, limit=limit)
    mirror = _start_mirror(project, store, record.run_id)
    todo = f"{len(plan.work)} of {len(plan.steps)} steps to make"
    say(f"run {record.run_id}  recipe {project.recipe}  {todo}  in {store.root}")
    status = "failed"
    view = RunView(record.events(), [step.name for step in plan.steps])
    with view:
        view.event("run_started", recipe=project.recipe, overrides=shown, run_id=record.run_id)
        try:
            runner = Runner(
                store,
                plan,
                _backend(project, store, name, keep_ray),
                view,
                run_id=record.run_id,
                rules=Rules(
                    max_parallel=max_parallel,
                    cpus=project.cluster.cpus,
                    stop_wait_s=project.cluster.stop_wait_s,
                    timeouts=project.timeouts,
                ),
                asked_to_stop=record.asked_to_stop,
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


def _backend(project: Project, store: Store, name: str, keep_ray: bool) -> Callable[[], Backend]:
    """Called when the first step has to run, never for a plan of HITs."""

    def make() -> Backend:
        if name == "inprocess":
            from pipelines.workflow.backends.inprocess import InProcess

            return InProcess()
        from cookhouse.cli.services import local_ray
        from pipelines.workflow.backends.ray_jobs import RayJobs

        return RayJobs(local_ray(project, store), WORKER, keep=keep_ray)

    return make


def _start_mirror(project: Project, store: Store, run_id: str) -> Any:
    """The process that mirrors the run's events into MLflow; a run without it is a run all the same."""
    if not project.tracking.enabled:
        return None
    try:
        from pipelines.tracking.mirror import start_mirror

        return start_mirror(store.home, run_id, project.tracking_uri)
    except Exception as error:
        say(f"note: no tracking ({type(error).__name__}: {error})")
        return None


def _refuse_blocked(plan: Plan) -> None:
    from pipelines.core.errors import ConfigError, LockError

    if not plan.blocked:
        return
    step = plan.blocked[0]
    if step.facts.holder is not None:
        raise LockError(
            f"step '{step.name}' cannot be made now",
            why="; ".join(step.reasons),
            do="wait for that run (cookhouse status) or stop it",
        )
    other = next((item for item in plan.blocked if item.reasons and "not selected and" not in item.reasons[0]), step)
    raise ConfigError(f"step '{other.name}' cannot be made", why="; ".join(other.reasons), do="select its inputs too")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
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
    from cookhouse.cli.closing import print_failures, print_next, print_summary

    print_summary(plan, results, wall_s)
    print_failures(results, verbose)
    where = [text for text in typed if text.startswith(("storage", "tracking.uri"))]
    failed = [name for name, result in results.items() if result.status == "failed"]
    next_commands = [(["ui", *where], "compare runs in MLflow")] if tracked else []
    if failed:
        next_commands = [
            (["logs", failed[0], *where], "what the failed step printed"),
            (["run", *typed], "go on from what was committed"),
        ]
    next_commands.append((["status", *where], "how the steps stand"))
    if not failed:
        next_commands.append((["plan", *typed], "add steps.<name>.<field>=<value> to see what it would make anew"))
    print_next(next_commands)


def exit_code(results: Mapping[str, StepResult]) -> int:
    """0 when every step is there; else the code of the first error's class (1 for a failed stage)."""
    for result in results.values():
        if result.error is not None:
            return result.error.exit_code if result.error.failure == "infra" else 1
    return 0 if all(result.status in ("ok", "hit") for result in results.values()) else 1
