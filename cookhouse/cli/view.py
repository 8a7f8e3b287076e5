"""What a person sees while steps run: one live table on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli.pace import Pace
from cookhouse.cli.words import duration
from pipelines.core.meanwhile import meanwhile

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

QUIET_S = 9.0
"""Off a terminal a running step says one line in this time, whether or not it has anything new to tell."""
COLOURS = {"running": "yellow", "ok": "green", "hit": "green", "failed": "red", "killed": "red", "blocked": "red"}
BEAT_S = 1.0
"""How often it is seen whether a line is due."""


@dataclass
class _Row:
    """``expected``: seconds the plan thinks the step will take, if it knows; ``heard``: when the last count came."""

    expected: float | None = None
    status: str = "waiting"
    started: float | None = None
    seconds: float = 0.0
    progress: str = ""
    pace: Pace = field(default_factory=Pace)
    heard: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    said: float = 0.0

    @property
    def elapsed(self) -> float:
        if self.started is None or self.status != "running":
            return self.seconds
        return time.monotonic() - self.started

    @property
    def left(self) -> str:
        """``about 3.5 min left``: going by the step's own count, before there is one by what was expected."""
        if self.status == "waiting":
            return f"about {duration(self.expected)}" if self.expected else ""
        left = self.pace.left(time.monotonic() - self.heard)
        if left is None and self.expected is not None:
            left = max(0.0, self.expected - self.elapsed)
        if self.status != "running" or left is None:
            return ""
        return f"about {duration(left)} left" if left >= 1 else "soon done"

    @property
    def numbers(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in list(self.metrics.items())[:3])


class RunView:
    """The listener that shows a session. ``expected`` are the seconds of steps as far as they are known. Use as a context
    manager; a thread shows life meanwhile, also where nothing is told."""

    def __init__(self, steps: Sequence[str], *, expected: Mapping[str, float] = {}, quiet: bool = False) -> None:
        self.rows = {name: _Row(expected.get(name)) for name in steps}
        self._quiet = quiet
        self._stream = sys.stderr  # a step made in this process has its own meanwhile
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._said = time.monotonic()
        self._showing = ExitStack()

    def __enter__(self) -> RunView:
        if not self._quiet and sys.stderr.isatty():
            from rich.live import Live

            live = Live(console=console(), refresh_per_second=4, get_renderable=self._table, transient=True)
            self._live = self._showing.enter_context(live)
        elif not self._quiet:
            self._showing.enter_context(meanwhile(self._beat, BEAT_S))
        return self

    def __exit__(self, *_: object) -> None:
        self._showing.close()

    def event(self, kind: str, **fields: Any) -> None:
        if kind == "backend_ready" and fields.get("dashboard"):
            self._say("", f"Ray at {fields['address']}, dashboard {fields['dashboard']}", loud=True)
        row = self.rows.get(fields.get("step", ""))
        if row is None:
            return
        now = time.monotonic()
        if kind == "step_started":
            row.status, row.started, row.said = "running", row.started or now, now
            row.pace, row.progress = Pace(), ""
            words = "attached to its running job" if fields["reattached"] else "started"
            self._say(fields["step"], words, fields["key"][:12])
        elif kind == "step_waiting":
            row.status, row.said = "elsewhere", now
            self._say(fields["step"], f"waits: {fields['why']}", loud=True)
        elif kind == "step_retry":
            words = f"{fields['what']} ({fields['why']}); trying again in {fields['wait_s']:.0f} s"
            self._say(fields["step"], words, loud=True)
        elif kind == "step_finished":
            row.status, row.seconds = fields["status"], fields["seconds"]
            took = f"in {row.seconds:.1f} s" if row.started is not None else ""
            self._say(fields["step"], fields["status"], took, fields.get("what", ""))

    def progress(self, step: str, events: Sequence[Mapping[str, Any]]) -> None:
        row = self.rows[step]
        for event in events:
            if event["kind"] == "progress":
                row.progress = f"{event['done']}/{event['total']} {event['unit']}"
                row.pace.tell(event["t"], event["done"], event["total"])
                row.heard = time.monotonic()
            elif event["kind"] == "metric":
                row.metrics = event["values"]
        self._remind(step, row)

    def _beat(self) -> None:
        """Off a terminal, now and then: a line of each step that works or waits, and of a run in which none does."""
        busy = {name: row for name, row in self.rows.items() if row.status in ("running", "elsewhere")}
        for name, row in busy.items():
            self._remind(name, row)
        if not busy and time.monotonic() - self._said >= QUIET_S:
            self._say("", "ending" if any(row.started for row in self.rows.values()) else "starting")

    def _remind(self, step: str, row: _Row) -> None:
        with self._lock:
            busy = row.status in ("running", "elsewhere")
            if self._live is not None or not busy or time.monotonic() - row.said < QUIET_S:
                return
            row.said = time.monotonic()
            words = "waits for another run" if row.status == "elsewhere" else row.progress or "running"
            self._say(step, words, f"{row.elapsed:.0f} s" if row.started else "", row.left, row.numbers)

    def _say(self, step: str, *words: str, loud: bool = False) -> None:
        """A plain line off a terminal; beside the live table only what is ``loud``."""
        if self._quiet:
            return
        text = "  ".join(word for word in words if word)
        if self._live is not None:
            if loud:
                self._live.console.print(f"{step}  {text}".strip(), markup=False)
            return
        self._said = time.monotonic()
        width = max(len(name) for name in self.rows)
        click.echo(f"{time.strftime('%H:%M:%S')}  {step:<{width}}  {text}", file=self._stream)

    def _table(self) -> Table:
        names = ("step", "state", "seconds", "progress", "left", "last numbers")
        table = table_of(*names, right=("seconds",), wrap=("last numbers",))
        for name, row in self.rows.items():
            colour = COLOURS.get(row.status, "dim")
            seconds = f"{row.elapsed:.1f}" if row.started is not None else ""
            table.add_row(name, f"[{colour}]{row.status}[/]", seconds, row.progress, row.left, row.numbers)
        return table


@contextmanager
def alive(what: str, told: Callable[[], str] = lambda: "") -> Iterator[None]:
    """A line on stderr every ten seconds while the block works: ``planning  20 s  3.1 GB read``."""
    started = time.monotonic()
    with meanwhile(
        lambda: click.echo(f"{what}  {time.monotonic() - started:.0f} s  {told()}".rstrip(), err=True), QUIET_S
    ):
        yield


def table_of(*names: str, right: Collection[str] = (), wrap: Collection[str] = ()) -> Table:
    """An empty table of these columns, without lines."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name not in wrap)
    return table


def console(stderr: bool = True) -> Console:
    """A rich console that keeps tables whole when the output is no terminal. It stays with the stream of now: a step made in
    this process has its own ``sys.stderr`` meanwhile."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False, soft_wrap=not stream.isatty())
