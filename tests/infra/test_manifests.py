"""The files under infra/ against rules that schemas miss, and the batch script with a stub for Slurm."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load((ROOT / "infra/kuberay/rayjob.yaml").read_text())


def test_sidecar_mode_has_what_it_needs(job: dict) -> None:
    spec = job["spec"]
    assert spec["submissionMode"] == "SidecarMode" and "clusterSelector" not in spec
    assert spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["shutdownAfterJobFinishes"] and "deletionStrategy" not in spec  # ttl or rules, never both


def test_ray_version_is_the_pinned_one(job: dict) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_requests_equal_limits_and_token_auth(job: dict) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]  # gangs are fixed


def test_dockerfile_pins_its_base_and_drops_root() -> None:
    text = (ROOT / "infra/docker/Dockerfile").read_text()
    assert not re.search(r"^FROM \S+(:latest)?\s*$", text, re.MULTILINE)
    assert text.index("COPY . .") > text.index("constraints.txt") and re.search(r"^USER (?!root)", text, re.MULTILINE)


def test_batch_script_asks_for_a_recipe_and_starts_one(tmp_path: Path) -> None:
    script = ROOT / "infra/slurm/cookhouse.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    for name, body in (("scontrol", "echo node-1; echo node-2"), ("srun", 'echo "$@" > "$OUT"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "OUT": str(tmp_path / "out"),
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_JOB_ID": "12345",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_ON_NODE": "4",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    refused = subprocess.run(["bash", script], env=env, capture_output=True, text=True)
    assert refused.returncode != 0 and "RECIPE" in refused.stderr
    subprocess.run(["bash", script], env={**env, "RECIPE": "tiny"}, check=True)
    sent = (tmp_path / "out").read_text()
    assert "node-1:22345" in sent and "recipe=tiny" in sent and "--min-nodes 2" in sent
    assert "cluster.num_cpus=8 cluster.node_cpus=4" in sent
    assert not list((tmp_path / "artifacts/.cookhouse").glob("*.token"))
