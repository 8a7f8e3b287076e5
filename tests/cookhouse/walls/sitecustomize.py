"""On ``PYTHONPATH``: a process with ``WALLS`` in its environment refuses every folder under it but its own, ``WALLS_OWN``.
The nodes of a test's cluster share a machine and may share no file."""

import os
import sys

AROUND, OWN = os.environ.get("WALLS", ""), os.environ.get("WALLS_OWN", "")
EVENTS = {"open", "os.chdir", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"}


def refuse(event: str, arguments: tuple) -> None:
    if event not in EVENTS:
        return
    for argument in arguments[:2]:
        if isinstance(argument, str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(argument))
            if path.startswith(AROUND + os.sep) and not (path + os.sep).startswith(OWN + os.sep):
                raise PermissionError(f"{path} is of another node than {OWN}")


if AROUND:
    sys.addaudithook(refuse)
