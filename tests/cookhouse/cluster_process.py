"""A Ray cluster of a head and two worker nodes on this machine, in a process of its own, so that a Ray this test process is
connected to does not matter. It does what the lines of its stdin say and answers each with ``done``; at their end the
cluster is shut down.

    python cluster_process.py DASHBOARD_PORT     ready, then: ``lose worker`` | ``lose head``
"""

from __future__ import annotations

import socket
import sys

STORE = 80_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(dashboard_port: int) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": dashboard_port,
            "dashboard_agent_listen_port": free_port(),
            "object_store_memory": STORE,
        },
    )
    try:
        workers = [
            cluster.add_node(num_cpus=1, dashboard_agent_listen_port=free_port(), object_store_memory=STORE)
            for _ in range(2)
        ]
        cluster.wait_for_nodes()
        say("ready")
        for line in sys.stdin:
            if line.strip() == "lose worker":
                cluster.remove_node(workers.pop(0), allow_graceful=False)
            elif line.strip() == "lose head":
                cluster.remove_node(cluster.head_node, allow_graceful=False)
            else:
                raise ValueError(line)
            say("done")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
