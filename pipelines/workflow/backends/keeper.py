"""The process that owns a local Ray: it starts one, says where it is, and ends it when told to.

``python -m pipelines.workflow.backends.keeper options.json`` runs in a session of its own, so that Ctrl-C at the
terminal reaches the command and not Ray, and so that ending Ray means ending one known process. SIGTERM shuts Ray
down; if this process is killed, Ray's reaper takes the rest of its process group with it.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pipelines.workflow.files import read_json, write_json

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(path: str) -> int:
    options: Any = read_json(Path(path))
    stop = threading.Event()

    def listen() -> None:
        for number in ENDS:
            signal.signal(number, lambda *_: stop.set())

    listen()
    import ray
    from ray._private import parameter

    # Two things `ray start` has flags for and `ray.init` has not: a port of its own for the agent that takes jobs (the
    # default is one fixed port, so a second Ray on the machine would come up and never take a job), and no autoscaler.
    # `ray start` itself would add a client server that listens on every interface, and no flag of it prevents that.
    parameter.RayParams = functools.partial(  # type: ignore[misc, assignment]
        parameter.RayParams, dashboard_agent_listen_port=options["agent_port"], no_monitor=True
    )
    context: Any = ray.init(
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        configure_logging=False,
        **options["init"],
    )
    listen()  # ray.init installs its own
    ready = {"address": context.address_info["gcs_address"], "dashboard": f"http://{context.dashboard_url}"}
    write_json(Path(options["ready_file"]), ready)
    stop.wait()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
