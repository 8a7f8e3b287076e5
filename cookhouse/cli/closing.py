"""The last screen of a run: what was made, where the time went, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli.view import console, table_of
from pipelines.core.secrets import redact
from pipelines.tracking.describe import main_metric
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.changes import Changes, changed_files
from pipelines.workflow.plan import Plan
from pipelines.workflow.runner import StepResult
from pipelines.workflow.session import Combination
from pipelines.workflow.store import Record

if TYPE_CHECKING:
    from cookhouse.session import Session

BAR = 30
"""Characters of a full bar of the time budget."""
SHOWN_CHANGES = 5


def print_end(
    session: Session, combinations: Sequence[Combination], results: Mapping[str, StepResult], wall_s: float
) -> None:
    """Summary, failures, and the commands to type next, with the arguments of this one."""
    asked = session.asked
    if asked.sweep:
        print_combinations(session.plan, combinations, results, wall_s)
    else:
        print_summary(session.plan, results, wall_s)
    print_changes(results)
    print_failures(results, session.manner.verbose)
    typed = asked.chosen.typed(asked.combinations[0])
    where = [text for text in asked.combinations[0] if text.startswith(("storage", "tracking.uri"))]
    failed = [name for name, result in results.items() if result.status == "failed"]
    here = asked.folder == Path.cwd()
    commands: list[tuple[list[str], str]] = []
    if failed and not asked.sweep:
        commands.append((["logs", failed[0], *where], "what the failed step printed"))
    if failed:
        again = ["run", *typed] if here else ["resume", *where]
        again = ["sweep", "--resume", asked.sweep, *where] if asked.sweep else again
        commands.append((again, "go on from what was committed"))
    elif session.project.settings.tracking.enabled:
        commands.append((["ui", *where], f"compare {'combinations' if asked.sweep else 'runs'} in MLflow"))
    commands.append((["status", *where], "how the steps stand (--html draws it, --run ID takes another run)"))
    if not failed and not asked.sweep and here:
        commands.append((["plan", *typed], "add steps.<name>.<field>=<value> to see what it would make anew"))
    print_next(commands)


def print_combinations(
    plan: Plan, combinations: Sequence[Combination], results: Mapping[str, StepResult], wall_s: float
) -> None:
    """A line a combination: what differs, how it ended, the main metrics of the steps nobody reads."""
    read = {parent for item in plan.steps for parent in item.keyed.step.parents}
    table = table_of("#", "combination", "state", "result", wrap=("combination",))
    for index, item in enumerate(combinations):
        ends = [(name, results[node].record) for name, node in item.nodes.items() if node in results.keys() - read]
        shown = [f"{name}: {main_metric(end.stats) or count(end.stats)}" for name, end in ends if end is not None]
        table.add_row(str(index + 1), " ".join(item.differs), item.state(results), "  ".join(shown))
    out = console(stderr=False)
    out.print(table)
    made = sum(result.status == "ok" for result in results.values())
    steps = sum(len(item.nodes) for item in combinations)
    out.print(f"\n{made} steps made for {steps} of {len(combinations)} combinations, in {wall_s:.1f} s")


def print_summary(plan: Plan, results: Mapping[str, StepResult], wall_s: float) -> None:
    """The summary table, then the time budget when anything was made."""
    names = ("step", "state", "key", "samples or steps", "seconds", "main metric")
    table = table_of(*names, right=("samples or steps", "seconds"))
    for planned in plan.steps:
        result = results[planned.name]
        stats = result.record.stats if result.record else {}
        seconds = float(result.record.data["seconds"]) if result.status == "hit" and result.record else result.seconds
        took = f"{seconds:.1f}" if seconds else ""
        table.add_row(planned.name, result.status, planned.key[:12], count(stats), took, main_metric(stats))
    out = console(stderr=False)
    out.print(table)
    for line in left_out({name: result.record for name, result in results.items() if result.record}):
        out.print(line, soft_wrap=True, highlight=False, markup=False)
    made = {name: result.seconds for name, result in results.items() if result.seconds and result.status != "hit"}
    if made:
        out.print("", *budget(made, wall_s), sep="\n")
    else:
        out.print(f"\nall from the store, in {wall_s:.1f} s (seconds above: when they were made)")
    for planned in plan.steps:
        record = results[planned.name].record
        if record and record.stats.get("bars"):
            out.print("", *bars(record.stats["bars"]), sep="\n", soft_wrap=True, highlight=False)
            artifact = record.open(planned.name)
            if "report.html" in artifact.names:
                out.print(f"  {artifact.path('report.html')}", soft_wrap=True, highlight=False)


def left_out(records: Mapping[str, Record]) -> list[str]:
    """What data steps did not write, by step, and the command that lists it row by row with the reasons."""
    lines = []
    width = max(map(len, records), default=0)
    for name, record in records.items():
        counts = {status: record.stats.get(status, 0) for status in ("filtered", "quarantined")}
        if any(counts.values()):
            said = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
            chosen = [word for status, count in counts.items() if count for word in ("--status", status)]
            folder = str(record.folder).removeprefix(f"{Path.cwd()}/")
            command = shlex.join(["cookhouse", "shards", "inspect", folder, *chosen])
            lines.append(f"  {name:<{width}}  {said}\n      {command}")
    return ["\nleft out, each with its reason:", *lines] if lines else []


def bars(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was to be shown, and whether it was: ``not shown  gain_lower_long  -0.0370  > 0  (-0.0370 is not > 0)``."""
    width, digits = (max(len(bar[name]) for bar in found) for name in ("name", "printed"))
    lines = ["bars:"]
    for bar in found:
        state = "shown" if bar["shown"] else "not shown"
        why = f"  ({bar['why']})" if bar.get("why") and not bar["shown"] else ""
        lines.append(f"  {state:<9}  {bar['name']:<{width}}  {bar['printed']:>{digits}}  {bar['bar']}{why}")
    return lines


def count(stats: Mapping[str, Any]) -> str:
    """``1,200`` samples, or ``300 steps`` of an optimizer."""
    if "optimizer_steps" in stats:
        return f"{stats['optimizer_steps']:,} steps"
    return f"{stats['samples']:,}" if "samples" in stats else ""


def budget(seconds: Mapping[str, float], wall_s: float) -> list[str]:
    """Lines with the share of every step in the wall time; what is left over is starting and stopping."""
    rows = sorted(seconds.items(), key=lambda item: -item[1])
    rest = wall_s - sum(seconds.values())
    if rest > 0:
        rows.append(("(start and end)", rest))
    width = max(len(name) for name, _ in rows)
    lines = [f"time budget: {wall_s:.0f} s"]
    for name, value in rows:
        share = min(1.0, value / wall_s) if wall_s else 0.0
        lines.append(f"  {name:<{width}} {value:8.1f} s {share:5.0%}  {'#' * round(BAR * share)}")
    return lines


def differ(before: Artifact, after: Artifact) -> Changes:
    """What of a result made again is other: by sample where both are shards, else by file."""
    from pipelines.shards.inspect import changed, rows

    names = changed(before, after)
    return Changes("samples", tuple(names), sum(1 for _ in rows(after))) if names else changed_files(before, after)


def print_changes(results: Mapping[str, StepResult]) -> None:
    """Steps that promise the same bytes for the same key, were made again, and gave others."""
    for name, result in results.items():
        if (changes := result.changes) is None:
            continue
        count, first = len(changes.names), changes.names[:SHOWN_CHANGES]
        rest = f" and {count - len(first):,} more" if count > len(first) else ""
        click.echo(
            f"\nother bytes: step '{name}' promises the same bytes for the same key, and {count:,} of {changes.of:,} "
            f"{changes.things} differ from generation {changes.before}:\n  {', '.join(first)}{rest}\n"
            "  changed code wants a higher code_version; unchanged code that does this has a fault worth reporting",
            err=True,
        )


def print_failures(results: Mapping[str, StepResult], verbose: bool) -> None:
    """What went wrong, one message a step, with the log that says more."""
    for name, result in results.items():
        if result.error is None:
            continue
        click.echo(f"\nerror in step '{name}': {result.error}", err=True)
        trace, log = getattr(result.error, "log", ""), str(result.log or "")
        for file, label in {trace: "traceback", log: "log"}.items():  # one file may be both: the log
            if file and Path(file).exists():
                click.echo(f"  {label}: {file}", err=True)
        if verbose and trace and Path(trace).exists():
            click.echo(Path(trace).read_text(encoding="utf-8", errors="replace"), err=True)


def print_next(commands: Sequence[tuple[list[str], str]]) -> None:
    """The commands to type next, ready to copy, each under what it is for."""
    click.echo("\nnext:")
    for command, comment in commands:
        click.echo(f"  {redact(shlex.join(['cookhouse', *command]))}\n      {comment}")
