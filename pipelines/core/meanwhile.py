"""Something to look at again and again while something else works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pipelines.core.errors import CookhouseError


@contextmanager
def meanwhile(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call ``look`` from a thread every ``every_s`` seconds while the block works. A store that does not answer a look, or a
    terminal that is gone, ends the looking and not the work."""
    over = threading.Event()

    def loop() -> None:
        with suppress(CookhouseError, OSError):
            while not over.wait(every_s):
                look()

    thread = threading.Thread(target=loop, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
