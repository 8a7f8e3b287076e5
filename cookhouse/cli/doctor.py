"""``cookhouse doctor``: is this machine ready? Every check says what to do when it is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from cookhouse.cli import options
from cookhouse.cli.precision import calibration, speeds, warn_of_emulation
from cookhouse.cli.services import ray_of
from cookhouse.project import Project
from pipelines.core.errors import ConfigError
from pipelines.core.storage import Place, delete
from pipelines.workflow.files import create_json, free_bytes
from pipelines.workflow.store import Store

EXTRAS = {
    "data": ("ray", "pymupdf", "pypdfium2", "av", "pillow", "webdataset", "pyarrow", "datasketch", "py3langid"),
    "ocr": ("paddleocr", "onnxruntime", "rapidocr"),
    "train": ("torch", "transformers", "deepspeed"),
    "tracking": ("mlflow",),
    "s3": ("s3fs",),
    "html": ("playwright",),
}
FREE_GB = 5.0
MEMORY_GB = 8.0


class Check(NamedTuple):
    """``state``: ok, note (works, but know this) or bad (something will not work)."""

    state: str
    name: str
    text: str

    @classmethod
    def of(cls, good: bool, name: str, text: str, otherwise: str = "", *, state: str = "bad") -> Check:
        """``text`` when it is good, else ``otherwise`` (default: the same text)."""
        return cls("ok", name, text) if good else cls(state, name, otherwise or text)


@click.command()
@options.overrides
@options.verbose
def doctor(overrides: tuple[str, ...]) -> int:
    """Check versions, CPU, disk, models and licences; exit 4 when something will not work."""
    project, held = options.opened(overrides)
    checks = [*machine(held.home), processor(), store(held.root), *packages(), *ocr_models(), *licences()]
    checks.append(ray(project, held))
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for check in checks:
        click.echo(f"{click.style(f'{check.state:<5}', fg=colours[check.state])}{check.name:<16}{check.text}")
    warn_of_emulation(project, project.steps)
    return 4 if any(check.state == "bad" for check in checks) else 0


def ray(project: Project, held: Store) -> Check:
    """The Ray that steps would run on."""
    address = project.settings.cluster.address
    try:
        state = ray_of(project, held).state()
    except ConfigError as error:
        return Check("bad", "Ray", f"{address}: {error.what}, {error.why}")
    if address is not None:
        return Check("ok" if state else "bad", "Ray", f"{address} {'answers' if state else 'does not answer'}")
    up = f"up at {state.get('dashboard', '(starting)')}" if state else "not running (run starts one)"
    return Check("ok", "local Ray", up)


def machine(home: Path) -> Iterator[Check]:
    """Python, cores, memory, disk."""
    good, version = (3, 11) <= sys.version_info[:2] <= (3, 13), platform.python_version()
    yield Check.of(good, "python", version, f"{version} (3.11 to 3.13 is needed)")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{os.cpu_count()} cores, {memory:.0f} GB memory"
    yield Check.of(memory >= MEMORY_GB, "machine", cores, state="note")
    free = free_bytes(home) / 2**30
    yield Check.of(free >= FREE_GB, "disk", f"{free:.0f} GB free at {home}", state="note")
    shared = Path("/dev/shm")
    if shared.exists():
        room = shutil.disk_usage(shared).free / 2**20
        yield Check.of(room > 256, "shared memory", f"{room:.0f} MB free at /dev/shm (Ray's object store)")


def processor() -> Check:
    """The CPU's name and what one core of it computes, measured; without torch the name alone."""
    from model.calibrate import cpu_name

    measured = calibration()
    if measured is None:
        return Check("ok", "cpu", f"{cpu_name()} (its speed is measured with torch)")
    told = f"{measured.cpu}: {speeds(measured)}"
    emulated = f"; bfloat16 is emulated, {measured.slowdown:.0f} times slower: keep steps on it at precision=fp32"
    return Check.of(not measured.emulated, "cpu", told, told + emulated, state="note")


def store(root: Place) -> Check:
    """Whether the store can be written, and whether a name in it can be taken only once: all commits rest on that."""
    probe = root / ".cookhouse" / f"probe-{secrets.token_hex(4)}.json"
    try:
        works = create_json(probe, {"take": 1}) and not create_json(probe, {"take": 2})
        delete(probe)
    except Exception as error:
        return Check("bad", "store", f"{root} cannot be written: {' '.join(str(error).split())}")
    broken = ": lets the same name be created twice; use a local disk, or an S3 store with conditional writes"
    return Check.of(works, "store", str(root), f"{root}{broken}")


def packages() -> Iterator[Check]:
    """Installed versions by extra; a missing package only closes the stages that need it."""
    for extra, names in EXTRAS.items():
        found, missing = [], []
        for name in names:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        text = ", ".join(found)
        if missing:
            text += f"{'; ' if found else ''}missing {', '.join(missing)}: pip install 'cookhouse[{extra}]'"
        yield Check.of(not missing, f"extra {extra}", text, state="note")


def ocr_models() -> Iterator[Check]:
    """The model files that scanned pages need, and each engine that can run them."""
    try:
        from pipelines.documents.ocr import RUNS, describe_models
    except Exception as error:
        yield Check("note", "ocr", f"not available: {error}; scanned pages are quarantined")
        return
    for engine in RUNS:
        told = describe_models(engine)
        files = [f"{part} {told[part]['sha256'][:12]}" for part in ("detection", "recognition") if part in told]
        missing = "not ready, scanned pages are quarantined: pip install 'cookhouse[ocr]'"
        models = f"models of {told['origin']}: {', '.join(files)}" if told["ready"] else ""
        yield Check.of(told["ready"], f"ocr {engine}", models, missing, state="note")


def licences() -> Iterator[Check]:
    """What a user of each page engine has to know."""
    if importlib.util.find_spec("pymupdf") is not None:
        yield Check(
            "note",
            "licence",
            "PyMuPDF (the default page engine) is AGPL-3.0 or commercial (Artifex): read the README before you offer it"
            " as a service, or set steps.documents.engine=pypdfium2",
        )
    if importlib.util.find_spec("pypdfium2") is not None:
        yield Check(
            "ok", "licence", "pypdfium2 (steps.documents.engine=pypdfium2) is Apache-2.0 or BSD-3, PDFium is BSD-3"
        )
