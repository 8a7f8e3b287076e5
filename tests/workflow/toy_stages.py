"""Three tiny stages for the tests of the workflow: numbers, their squares, the sum. They misbehave when told to."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, InfraError
from pipelines.core.identity import Identity, Record, Runtime, Source, StageConfig, TaskConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class Shape(Record):
    low: float = 0.4
    high: float = 0.6


class Numbers(TaskConfig):
    """``gate`` names a file that holds how many units may be made while it is there; ``crash`` one that holds what to do
    once: ``unit:action``. ``slip`` is added to number 2, though no key knows of it."""

    source: Source[str | None] = None
    count: Identity[int] = 4
    shape: Identity[Shape] = Shape()
    gate: Runtime[str] = ""
    crash: Runtime[str] = ""
    slip: Runtime[int] = 0
    workers: Runtime[int] = 1


class Squares(StageConfig):
    power: Identity[int] = 2
    crash: Runtime[str] = ""


class Total(StageConfig):
    bias: Identity[int] = 0


def wait_at(gate: str, index: int) -> None:
    """Until the file lets unit ``index`` through, or is gone."""
    with suppress(FileNotFoundError):
        while gate and index >= int(Path(gate).read_text()):
            time.sleep(0.01)


def misbehave(crash: str, point: str) -> None:
    """Do once what the file ``crash`` says for this point: ``kill``, ``exit``, ``infra``, ``data``, ``interrupt``,
    ``full``, ``leak``."""
    file = Path(crash)
    if not crash or not file.is_file():
        return
    wanted, _, action = file.read_text().partition(":")
    if wanted != point:
        return
    file.unlink()
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "infra":
        raise InfraError("a node went away")
    elif action == "data":
        raise DataError("three of four inputs are bad", do="look at them")
    elif action == "interrupt":
        raise KeyboardInterrupt
    elif action == "full":
        raise OSError(28, "No space left on device", "/somewhere/big")
    elif action == "leak":
        secret = os.environ["PLANTED_TOKEN"]
        sys.stdout.write(f"login with {secret} and no newline")
        sys.stderr.write(f"warning: {secret}\n")
        raise ValueError(f"the server refused {secret}")
    elif action == "bug":
        raise ZeroDivisionError("division by zero")


def write_units(count: int, out: Attempt, crash: str, value: Any, gate: str = "") -> int:
    """One file a unit; returns how many were made now and not adopted."""
    done = out.units()
    made = 0
    misbehave(crash, "start")
    for index in range(count):
        if f"u{index}" in done:
            continue
        wait_at(gate, index)
        path = out.dir / "parts" / f"{index}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(value(index)))
        misbehave(crash, f"before-{index}")
        out.commit_unit(f"u{index}", {"files": [f"parts/{index}.txt"], "value": value(index)})
        misbehave(crash, f"after-{index}")
        made += 1
        out.events.progress(index + 1, count, "numbers")
        sys.stdout.write(f"unit {index}\n")
    misbehave(crash, "end")
    return made


@stage("toy_numbers", code_version=1, engines=("numpy",), deterministic="bytes", uses_ray=False)
def numbers(config: Numbers, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    count = min(config.count, out.limit or config.count)
    if "source" in inputs.sources:
        count = len(inputs.sources["source"])
    made = write_units(count, out, config.crash, lambda i: i + (config.slip if i == 2 else 0), config.gate)
    return {"samples": count, "made": made, "main_metric": ["count", count]}


@stage("toy_squares", code_version=1, inputs=("numbers",), deterministic="bytes", uses_ray=False, limit=False)
def squares(config: Squares, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    values = [int(path.read_text()) for path in inputs.one("numbers").glob("parts/*.txt")]
    made = write_units(len(values), out, config.crash, lambda index: values[index] ** config.power)
    return {"samples": len(values), "made": made}


@stage(
    "toy_total",
    code_version=1,
    inputs=("terms",),
    optional_inputs=("more",),
    deterministic="bytes",
    uses_ray=False,
    limit=False,
)
def total(config: Total, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    artifacts = (*inputs["terms"], *inputs["more"])
    value = config.bias + sum(int(path.read_text()) for item in artifacts for path in item.glob("parts/*.txt"))
    (out.dir / "total.txt").write_text(str(value))
    return {"samples": 1, "main_metric": ["total", value]}


class Spread(TaskConfig):
    count: Identity[int] = 12
    gate: Runtime[str] = ""
    workers: Runtime[int] = 2


def one_number(job: tuple[int, str], folder: Path) -> dict[str, Any]:
    index, gate = job
    wait_at(gate, index)
    path = folder / "parts" / f"{index}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(index))
    return {"files": [f"parts/{index}.txt"], "pid": os.getpid()}


@stage("toy_spread", code_version=1, deterministic="bytes")
def spread(config: Spread, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Numbers made by tasks on the nodes of a cluster."""
    done = out.units()
    jobs = {f"u{index}": (index, config.gate) for index in range(config.count) if f"u{index}" not in done}
    for _ in out.build(one_number, jobs, config.task, at_once=config.workers):
        out.events.progress(len(out.units()), config.count, "numbers")
    return {"samples": config.count, "made": len(jobs)}


REGISTRY = {name: f"toy_stages:{name[4:]}" for name in ("toy_numbers", "toy_squares", "toy_total")}
