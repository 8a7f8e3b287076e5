"""The process that owns a local Ray: it starts one, says where it is, and ends it when told to.

``python -m pipelines.workflow.backends.keeper options.json`` runs in a session of its own, so that Ctrl-C at the
terminal reaches the command and not Ray, and so that ending Ray means ending one known process. SIGTERM shuts Ray
down; if this process is killed, Ray's reaper takes the rest of its process group with it.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def main(path: str) -> int:
    options = json.loads(Path(path).read_text(encoding="utf-8"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())

    import ray
    from ray._private import parameter

    # Two things `ray start` has flags for and `ray.init` has not: a port of its own for the agent that takes jobs (the
    # default is one fixed port, so a second Ray on the machine would come up and never take a job), and no autoscaler.
    # `ray start` itself would add a client server that listens on every interface.
    parameter.RayParams = functools.partial(  # type: ignore[misc, assignment]
        parameter.RayParams, dashboard_agent_listen_port=options["agent_port"], no_monitor=True
    )
    context: Any = ray.init(
        num_cpus=options["num_cpus"],
        num_gpus=options["num_gpus"],
        _memory=options["memory"],
        object_store_memory=options["object_store_bytes"],
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=options["dashboard_port"],
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=options["temp_dir"],
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # ray.init installs its own
        signal.signal(number, lambda *_: stop.set())
    ready = {"address": context.address_info["gcs_address"], "dashboard": f"http://{context.dashboard_url}"}
    temporary = Path(options["ready_file"] + ".tmp")
    temporary.write_text(json.dumps(ready), encoding="utf-8")
    temporary.replace(options["ready_file"])
    stop.wait()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
