"""bfloat16 where the CPU emulates it: no step of the demo asks for it, and who asks is warned before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command

from benchmarks.demo import AVX2
from cookhouse.project import load_project
from pipelines.core.identity import identity_of

BF16 = ("steps.pretrain.precision=bf16", "steps.evaluate.precision=bf16")
DO = "do: steps.pretrain.precision=fp32 steps.evaluate.precision=fp32"
CALLS = {
    "demo": ["plan", "recipe=tiny"],
    "plan": ["plan", "recipe=tiny", *BF16],
    "json": ["plan", "recipe=tiny", *BF16, "--json"],
    "upstream": ["plan", "recipe=tiny", *BF16, "documents"],
    "accelerator": ["plan", "recipe=tiny", BF16[0], "steps.pretrain.gpus_per_worker=1"],
    "elsewhere": ["plan", "recipe=tiny", *BF16, "cluster=ray", "cluster.address=http://127.0.0.1:1"],
    "sweep": ["sweep", "recipe=tiny", BF16[0], "steps.sft.seed=1,2", "--dry-run"],
    "doctor": ["doctor"],
    "doctor of a recipe": ["doctor", "recipe=tiny", *BF16],
}
STAGE = """
from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import stage

class Half(StageConfig):
    precision: Identity[str] = "bf16"

@stage("half", code_version=1, deterministic="bytes", uses_ray=False)
def half(config: Half, inputs, out):
    return {"samples": 0}
"""
PROGRAM = """
import contextlib, io, json, sys
from cookhouse.cli.main import main
from model.calibrate import calibrate
said = {}
for name, words in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(words)
    said[name] = [out.getvalue(), err.getvalue()]
json.dump({"emulated": calibrate().emulated, "said": said}, sys.stdout)
"""


@pytest.fixture(scope="module")
def avx2(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a CPU without bfloat16 is found to be, and (stdout, stderr) of the commands there."""
    folder = tmp_path_factory.mktemp("avx2")
    _, environment = command(**AVX2)
    calls = {name: [*words, f"storage.root={folder / 'root'}"] for name, words in CALLS.items()}
    line = [sys.executable, "-c", PROGRAM, json.dumps(calls)]
    done = subprocess.run(line, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_step_of_the_demo_asks_for_a_type_that_avx2_emulates(avx2: dict) -> None:
    emulated = {"bf16"} if avx2["emulated"] else set()
    steps = load_project(["recipe=tiny"]).steps
    asked = {step.name: step.config.precision for step in steps if hasattr(step.config, "precision")}
    assert asked.keys() == {"pretrain", "sft", "evaluate"}
    assert emulated and not emulated & set(asked.values())


@pytest.mark.parametrize("name", ["demo", "upstream", "accelerator", "elsewhere"])
def test_nobody_is_warned_of_what_does_not_run_here(avx2: dict, name: str) -> None:
    out, err = avx2["said"][name]
    assert "RUN" in out
    assert "warning" not in err


@pytest.mark.parametrize("name", ["plan", "json", "doctor of a recipe"])
def test_who_asks_for_bfloat16_is_told_the_factor_and_what_to_set(avx2: dict, name: str) -> None:
    out, err = avx2["said"][name]
    assert "warning: pretrain, evaluate will be slow: asked for bf16" in err
    assert "GFLOP/s in float32" in err and "times as long" in err
    assert DO in err
    assert name != "json" or json.loads(out)["steps"]


def test_a_sweep_names_each_step_once(avx2: dict) -> None:
    _, err = avx2["said"]["sweep"]
    assert err.count("steps.pretrain.precision=fp32") == 1


def test_the_doctor_tells_the_cpu_and_its_speed(avx2: dict) -> None:
    out, err = avx2["said"]["doctor"]
    (line,) = [line for line in out.splitlines() if " cpu " in line]
    assert line.startswith("note")
    assert "bfloat16 is emulated" in line and "keep steps on it at precision=fp32" in line
    assert "warning" not in err


def test_run_warns_before_the_first_step_starts_also_of_a_stage_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STAGE)
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text(
        "# @package _global_\nsteps: {half: {stage: 'mine:half'}}\n"
    )
    line, environment = command("run", "recipe=mine", "cluster=inprocess", "tracking=none", **AVX2)
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("do: steps.half.precision=fp32") < done.stderr.index("1 of 1 steps to make")
    again = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "warning" not in again.stderr, "what exists costs nothing"


def test_the_stage_default_is_the_same_on_every_machine() -> None:
    """One recipe, one key: what a recipe leaves out may not be decided by the CPU."""
    steps = {step.name: step for step in load_project(["recipe=tiny", "~steps.pretrain.precision"]).steps}
    assert identity_of(steps["pretrain"].config)["precision"] == "fp32"
    asked = {step.name: getattr(step.config, "precision", None) for step in load_project(["recipe=backbones"]).steps}
    assert asked == {"vision": "fp32", "letters": "fp32", "language": "fp32", "bridge": None}
