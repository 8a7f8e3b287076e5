"""The stopwatch of all benchmarks: CPU seconds of a process tree, turns, counts first, medians, ratios, bars.

    ours = Contestant("cookhouse", lambda: run_command([sys.executable, "-m", "benchmarks.documents", "ours"]))
    peer = Contestant("naive Ray Data", lambda: run_command([...]))
    none = Contestant("Curator", None, "pip: no matching distribution")     # a row that says: not compared
    rows = compare([ours, peer, none], count="pages", expected={"pages": 200}, rounds=3)
    finish("documents", rows, [Bar("pages per core-second against Ray Data", rows[0].over(rows[1]), ">=", 1.5)])

A contestant's program measures its own work with ``Meter`` (so that the start of Ray can be left out) and ends with
``emit``; without ``emit`` there is no result. Only the standard library is imported at module level: the file also
runs in a peer's environment. Linux only (``/proc``).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MARK = "benchmark-outcome "


class CountMismatch(AssertionError):
    """A contestant did not do the work it was given: its time means nothing."""


@dataclass(frozen=True)
class Usage:
    """What a stretch of work took. ``cpu_s``: user + system seconds of the process tree; ``peak_rss``: largest sum of
    resident bytes over the tree (pages shared by processes count once for each)."""

    cpu_s: float
    wall_s: float
    peak_rss: int


@dataclass(frozen=True)
class Outcome:
    """One run of a contestant: exact ``counts`` (asserted), ``usage``, and other ``figures`` (medians are shown)."""

    counts: Mapping[str, int]
    usage: Usage
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A name and a run. ``run`` None: not compared, and ``note`` says why."""

    name: str
    run: Callable[[], Outcome] | None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Result of one contestant: items of one run, medians over rounds, and every round's items per core-second."""

    name: str
    items: int
    cpu_s: float
    wall_s: float
    peak_rss: int
    per_core_second: float
    rounds: tuple[float, ...]
    figures: Mapping[str, float]
    note: str = ""

    @property
    def compared(self) -> bool:
        return bool(self.rounds)

    def over(self, other: Row) -> float | None:
        """How many times ``other``'s items per core-second this row reaches: median of the rounds' ratios, because two
        runs of one round share the machine's mood. None when one of the two was not compared."""
        if not (self.compared and other.compared):
            return None
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


@dataclass(frozen=True)
class Bar:
    """A promise with its limit. ``value`` None: not compared, which neither holds nor fails."""

    name: str
    value: float | None
    sense: Literal[">=", "<="]
    limit: float
    unit: str = "x"

    @property
    def verdict(self) -> Literal["holds", "MISSED", "not compared"]:
        if self.value is None:
            return "not compared"
        return "holds" if (self.value >= self.limit if self.sense == ">=" else self.value <= self.limit) else "MISSED"


class Meter:
    """Measures this process and everything below it between enter and exit; ``usage`` holds the result.

    CPU time is the larger of two lower bounds: live processes with the children they have waited for (misses what
    nobody waits for), and the last sample of every process ever seen (misses what lived between two samples). What the
    looking itself costs (it reads all of ``/proc``) is taken off.
    """

    def __init__(self, every_s: float = 0.1) -> None:
        self.every_s = every_s
        self.usage = Usage(0.0, 0.0, 0)

    def __enter__(self) -> Meter:
        self._first: dict[tuple[int, int], int] = {}
        self._last: dict[tuple[int, int], int] = {}
        self._peak = 0
        self._looking = 0.0
        self._lock = threading.Lock()
        self._start_ticks = self._sample(first=True)
        self._start = time.perf_counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        wall = time.perf_counter() - self._start
        self._done.set()
        self._thread.join()
        waited = self._sample() - self._start_ticks
        seen = sum(ticks - self._first.get(process, 0) for process, ticks in self._last.items())
        self.usage = Usage(max(0.0, max(waited, seen) / _TICK - self._looking), wall, self._peak)

    def _watch(self) -> None:
        start = time.thread_time()
        while not self._done.wait(self.every_s):
            self._sample()
        self._looking = time.thread_time() - start

    def _sample(self, first: bool = False) -> int:
        """Look at the tree once; ticks of the live processes and of the children they waited for."""
        with self._lock:
            total = resident = 0
            for process in tree(os.getpid()):
                total += process.ticks + process.waited_ticks
                resident += process.resident
                identity = (process.pid, process.started)
                if first:
                    self._first[identity] = process.ticks
                self._last[identity] = process.ticks
            self._peak = max(self._peak, resident)
            return total


@dataclass(frozen=True)
class Process:
    """A line of ``/proc``: CPU ticks of its own and of the children it waited for, resident bytes."""

    pid: int
    parent: int
    started: int
    ticks: int
    waited_ticks: int
    resident: int


def read_process(pid: int) -> Process | None:
    """None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    user, system, waited_user, waited_system = map(int, fields[11:15])
    return Process(
        pid, int(fields[1]), int(fields[19]), user + system, waited_user + waited_system, int(fields[21]) * _PAGE
    )


def tree(root: int) -> list[Process]:
    """``root`` and all its descendants that live now."""
    alive = [process for name in os.listdir("/proc") if name.isdigit() and (process := read_process(int(name)))]
    children: dict[int, list[Process]] = {}
    for process in alive:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in alive if process.pid == root]
    for process in found:
        found.extend(children.get(process.pid, []))
    return found


def tree_rss(root: int) -> int:
    """Resident bytes of ``root`` and all its descendants."""
    return sum(process.resident for process in tree(root))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (items, bytes) points: bytes an item. Give it the points after the warm-up.

    >>> slope([(0, 100.0), (10, 120.0), (20, 140.0)])
    2.0
    """
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def emit(counts: Mapping[str, int], usage: Usage, figures: Mapping[str, float] | None = None) -> None:
    """Hand the outcome of this program to the ``run_command`` that started it."""
    print(
        MARK + json.dumps({"counts": dict(counts), "usage": asdict(usage), "figures": dict(figures or {})}), flush=True
    )


def run_command(command: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = 1800) -> Outcome:
    """Run a contestant's program in a process of its own. Raises RuntimeError with the end of its output when it fails or
    does not ``emit``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        list(command),
        env={**environment, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not marked:
        raise RuntimeError(
            f"{' '.join(command)} ended with code {done.returncode} and {len(marked)} outcomes:\n{done.stdout[-3000:]}"
        )
    told = json.loads(marked[-1][len(MARK) :])
    return Outcome(told["counts"], Usage(**told["usage"]), told["figures"])


def compare(contestants: Sequence[Contestant], count: str, expected: Mapping[str, int], rounds: int = 3) -> list[Row]:
    """Run the contestants in turns (A B, B A, A B ...), one row each in the order given.

    Args:
        count: which of the counts are the items of "items per core-second".
        expected: counts that every run must report exactly. Raises CountMismatch before any time is computed.
    """
    runs: dict[str, list[Outcome]] = {contestant.name: [] for contestant in contestants}
    for turn in range(rounds):
        for contestant in contestants if turn % 2 == 0 else list(contestants)[::-1]:
            if contestant.run is None:
                continue
            outcome = contestant.run()
            wrong = {name: outcome.counts.get(name) for name in expected if outcome.counts.get(name) != expected[name]}
            if wrong:
                raise CountMismatch(f"{contestant.name}: {wrong} where {dict(expected)} was asked for")
            runs[contestant.name].append(outcome)
    return [_row(contestant, runs[contestant.name], count) for contestant in contestants]


def _row(contestant: Contestant, runs: Sequence[Outcome], count: str) -> Row:
    if not runs:
        return Row(contestant.name, 0, 0.0, 0.0, 0, 0.0, (), {}, contestant.note)
    speeds = tuple(run.counts[count] / max(run.usage.cpu_s, 1 / _TICK) for run in runs)
    names = {name for run in runs for name in run.figures}
    return Row(
        name=contestant.name,
        items=runs[0].counts[count],
        cpu_s=statistics.median(run.usage.cpu_s for run in runs),
        wall_s=statistics.median(run.usage.wall_s for run in runs),
        peak_rss=max(run.usage.peak_rss for run in runs),
        per_core_second=statistics.median(speeds),
        rounds=speeds,
        figures={name: statistics.median(run.figures[name] for run in runs) for name in sorted(names)},
        note=contestant.note,
    )


def finish(benchmark: str, rows: Sequence[Row], bars: Sequence[Bar], item: str = "items") -> int:
    """Print the table (the first row is what the others are held against), then ``conclude``."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=f"{benchmark}: {platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    for name in ("contestant", item, "CPU s", "wall s", f"{item} / core-s", "first row is", "rounds", "peak RSS"):
        table.add_column(name, justify="left" if name == "contestant" else "right")
    for row in rows:
        if not row.compared:
            table.add_row(row.name, "", "", "", "not compared", "", "", "")
            continue
        ratio = rows[0].over(row)
        table.add_row(
            row.name,
            f"{row.items:,}",
            f"{row.cpu_s:.2f}",
            f"{row.wall_s:.1f}",
            f"{row.per_core_second:,.1f}",
            "" if row is rows[0] or ratio is None else f"{ratio:.2f}x",
            " ".join(f"{speed:,.1f}" for speed in row.rounds),
            f"{row.peak_rss / 2**20:,.0f} MiB",
        )
    console.print(table)
    for row in rows:
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in row.figures.items())
        if row.note or figures:
            console.print(f"  {row.name}: {'; '.join(filter(None, [row.note, figures]))}", highlight=False)
    return conclude(benchmark, [asdict(row) for row in rows], bars)


def conclude(benchmark: str, rows: Sequence[Mapping[str, Any]], bars: Sequence[Bar], **about: Any) -> int:
    """Print the bars and one JSON line with the ``rows`` and what else is to be known ``about`` them. Returns the exit
    code: 0 if no bar was missed."""
    for bar in bars:
        value = "" if bar.value is None else f"{bar.value:,.3g} {bar.unit}, "
        print(f"  {bar.verdict:>12}  {bar.name}: {value}bar {bar.sense} {bar.limit:g} {bar.unit}")
    record = {
        "benchmark": benchmark,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        **about,
        "rows": list(rows),
        "bars": [{**asdict(bar), "verdict": bar.verdict} for bar in bars],
    }
    print(json.dumps(record, sort_keys=True), flush=True)
    return 1 if any(bar.verdict == "MISSED" for bar in bars) else 0
