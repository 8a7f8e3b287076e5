"""Two hosts on one machine: each has a network, host name, processes and mounts of its own, joined by a bridge without a
way out. Needs root. ``/tmp`` of each is its own, with home and working folder in it; what they share is what a machine
image holds: the interpreter and the packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import REPOSITORY

NET = "10.93.77"
HOME, WORK = "/tmp/home", "/tmp/work"
OWN = f"""
hostname $0
mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && mkdir {HOME} {WORK}
mount -t tmpfs tmpfs {HOME} && mount -t tmpfs tmpfs {WORK} && cd {WORK} && exec "$@"
"""


def missing() -> str:
    """What this machine lacks for two hosts, "" when nothing."""
    if os.geteuid() != 0:
        return "two hosts need root"
    tools = [tool for tool in ("ip", "nsenter", "unshare", "mount") if shutil.which(tool) is None]
    inside = [path for path in (REPOSITORY, Path(sys.prefix).resolve()) if path.is_relative_to("/tmp")]
    return f"two hosts need {', '.join(map(str, [*tools, *inside]))} on every host" if tools or inside else ""


@dataclass(frozen=True)
class Host:
    """``process`` is ``unshare``, whose child is the host's first process."""

    address: str
    process: subprocess.Popen[bytes]

    @property
    def first(self) -> str:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return children[0] if children else ""

    def run(self, line: Sequence[str], **changes: str) -> subprocess.CompletedProcess[str]:
        """A command on this host, in its working folder."""
        enter = ["nsenter", "-t", self.first, "--mount", "--net", "--uts", "--pid", f"--wdns={WORK}"]
        return subprocess.run([*enter, *line], env=environment(**changes), capture_output=True, text=True, check=False)


def environment(**changes: str) -> dict[str, str]:
    paths = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests" / "workflow")))
    own = {"HOME": HOME, "TMPDIR": "/tmp", "COOKHOUSE_HOME": f"{HOME}/cookhouse", "PYTHONPATH": paths}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, **own, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", **changes}


@contextmanager
def bridge() -> Iterator[str]:
    """The bridge between the hosts; yields this machine's address on it."""
    _ip("link add ckbr0 type bridge")
    try:
        _ip(f"addr add {NET}.254/24 dev ckbr0")
        _ip("link set ckbr0 up")
        yield f"{NET}.254"
    finally:
        _ip("link del ckbr0")


@contextmanager
def host(number: int, line: Sequence[str], **changes: str) -> Iterator[Host]:
    """A host whose first process runs ``line``; everything on it ends with the block."""
    name, address = f"ckhost{number}", f"{NET}.{number}"
    with ExitStack() as undo:
        _ip(f"netns add {name}")
        undo.callback(_ip, f"netns del {name}")
        _ip(f"link add ckv{number} type veth peer name eth0 netns {name}")
        _ip(f"link set ckv{number} master ckbr0 up")
        for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip(f"-n {name} {command}")
        enter = ["nsenter", f"--net=/run/netns/{name}", "unshare", "--uts", "--pid", "--mount", "--fork"]
        started = [*enter, "--kill-child", "--mount-proc", "sh", "-ec", OWN, name, *line]
        process = subprocess.Popen(started, env=environment(**changes))
        undo.callback(process.wait)
        undo.callback(process.kill)
        yield Host(address, process)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)
