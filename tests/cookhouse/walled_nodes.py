"""A Ray cluster of a head without CPUs and two worker nodes of one CPU, in a process of its own. Each node has a home, a
temporary and a working folder that the processes of the others refuse (``walls/sitecustomize.py``).

    python walled_nodes.py FOLDER       ready ADDRESS, then for each line of stdin: ``lose one``; at their end it is over
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cluster_process import STORE, free_port, say

HERE = Path(__file__).parent


def environment(folder: Path, name: str) -> dict[str, str]:
    """What makes a process one of the node ``name``; its folders are made."""
    own = folder / name
    for kind in ("home", "tmp", "work"):
        (own / kind).mkdir(parents=True, exist_ok=True)
    paths = (HERE / "walls", HERE.parents[1], HERE.parent / "workflow")
    return {
        "HOME": str(own / "home"),
        "COOKHOUSE_HOME": str(own / "home" / "cookhouse"),
        "TMPDIR": str(own / "tmp"),
        "WALLS": str(folder),
        "WALLS_OWN": str(own),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }


def main(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = {}
    try:
        for name, cpus in (("head", 0), ("one", 1), ("two", 1)):
            changes = environment(folder, name)
            os.chdir(folder / name / "work")
            nodes[name] = cluster.add_node(
                num_cpus=cpus,
                env_vars=changes,
                dashboard_agent_listen_port=free_port(),
                object_store_memory=STORE,
            )
        cluster.wait_for_nodes()
        say(f"ready {cluster.address}")
        for line in sys.stdin:
            cluster.remove_node(nodes[line.split()[1]], allow_graceful=False)
            say("done")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
