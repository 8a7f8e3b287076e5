"""The contract of every engine: gradients are sums, frozen parts stay, a bad step changes nothing, resume is exact.

The DeepSpeed half runs two real processes over gloo (``gang_worker.py``), once for all ZeRO stages.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import gang_worker
import pytest
import tiny
import torch

from model.checkpoint import load_model
from model.training.engine import TorchEngine
from model.training.job import ModelSource
from model.training.launch import launch
from model.training.loop import token_loss
from model.training.phases import PREFIX, Optimizer

ALL = ("resampler", "vision", "language")
STAGES = (0, 1, 2, 3)


def engine(trains=ALL, model=None, lr_scale=None) -> TorchEngine:
    return TorchEngine(model or tiny.tiny_model(), trains, Optimizer(eps=1e-3), lr_scale=lr_scale)


def step_over(groups: list[list[int]]) -> dict[str, torch.Tensor]:
    made = engine()
    made.set_lr(1e-3)
    packs = tiny.packs(groups, text_only=(4,))
    total = sum(pack.supervised for pack in packs)
    for pack in packs:
        made.backward(partial(token_loss, total=total), pack)
    made.step()
    return made.export_weights()


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_one_step_is_the_same_however_samples_fall_into_packs() -> None:
    one_big = step_over([[1, 2, 3, 4, 5, 6]])
    assert distance(one_big, step_over([[1], [2], [3], [4], [5], [6]])) < 1e-6
    assert distance(one_big, step_over([[6, 1], [4], [3, 5, 2]])) < 1e-6


def test_only_the_chosen_parts_move() -> None:
    made = engine(("resampler", "vision"))
    start = {name: value.clone() for name, value in made.module.state_dict().items()}
    gang_worker.train_steps(made, 1)
    moved = {name for name, value in made.export_weights().items() if not torch.equal(value, start[name])}
    assert not any(name.startswith(PREFIX["language"]) for name in moved)
    assert {"vpm.embeddings.patch_embedding.weight", "resampler.query"} <= moved


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_step_without_finite_gradient_changes_nothing(factor: float) -> None:
    made = engine()
    gang_worker.train_steps(made, 1)
    before = made.export_weights()
    made.backward(lambda supervised: token_loss(supervised, 1) * factor, tiny.packs([[1]])[0])
    result = made.step()
    assert not result.updated
    assert not math.isfinite(result.grad_norm)
    assert distance(before, made.export_weights()) == 0
    assert math.isfinite(gang_worker.train_steps(made, 1)[0])


def test_saving_and_loading_continues_to_the_same_bytes(tmp_path: Path) -> None:
    made = engine()
    gang_worker.train_steps(made, 2)
    made.save(tmp_path)
    gang_worker.train_steps(made, 2)
    expected = made.export_weights()
    other = engine(model=tiny.tiny_model(seed=9))
    other.load(tmp_path)
    gang_worker.train_steps(other, 2)
    assert distance(expected, other.export_weights()) == 0


def test_the_rate_of_a_part_can_be_scaled() -> None:
    made = engine(lr_scale={"vision": 0.0})
    start = made.export_weights()
    gang_worker.train_steps(made, 1)
    moved = {name.split(".")[0] for name, value in made.export_weights().items() if not torch.equal(value, start[name])}
    assert moved == {"llm", "resampler"}


def test_bfloat16_keeps_float32_weights_and_nearly_the_same_loss() -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        made = TorchEngine(tiny.tiny_model(), ALL, precision=precision)
        losses.append(made.backward(partial(token_loss, total=10), tiny.packs([[1, 2]])[0])["loss"])
        assert {p.dtype for p in made.module.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the results of two processes that trained under every ZeRO stage."""
    folder = tmp_path_factory.mktemp("gang")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(gang_worker.__file__)
    ranks = []
    for rank in range(2):
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        log = (folder / f"rank-{rank}.log").open("w")
        command = [sys.executable, str(script), str(folder), *map(str, STAGES)]
        ranks.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        codes = [process.wait(timeout=400) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert codes == [0, 0], (folder / "rank-0.log").read_text()[-3000:]
    return folder


@pytest.fixture(scope="module")
def alone() -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same two phases in one process: gradient norms and final weights."""
    made = engine(("resampler",))
    norms = gang_worker.train_steps(made, 2)
    made = engine(model=made.module)
    norms += gang_worker.train_steps(made, 4)
    return norms, made.export_weights()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_under_deepspeed_equal_one_process(gang: Path, alone, stage: int) -> None:
    """Over a phase change, unequal packs, and a pack without picture on one rank; then resume, then a bad step."""
    made = torch.load(gang / f"zero-{stage}.pt", weights_only=True)
    norms, weights = alone
    assert made["norms"] == pytest.approx(norms, rel=1e-5)
    assert distance(made["weights"], weights) < 2e-6
    assert made["again"] == made["norms"][-2:], "training from the checkpoint repeats the same norms"
    assert distance(made["resumed"], made["weights"]) == 0
    assert made["updated"] is False, "one rank's bad gradient skips the step on both"
    assert distance(made["after_bad"], made["resumed"]) == 0
    assert math.isfinite(made["recovered"][0])


def test_the_gang_is_quiet_and_compiles_nothing(gang: Path) -> None:
    for rank in range(2):
        log = (gang / f"rank-{rank}.log").read_text()
        assert "deprecated" not in log
        assert "shm_comm" not in log
        assert len(log.splitlines()) < 20, log


@pytest.mark.parametrize("zero_stage", [None, 1])
def test_tied_weights_stay_tied_over_a_phase_change(tmp_path: Path, samples, zero_stage: int | None) -> None:
    """One tensor is decoder head and token embedding, before, between and after: nothing of what either learned is lost."""
    config = tiny.CONFIG.model_copy(
        update={"language": tiny.CONFIG.language.model_copy(update={"tie_word_embeddings": True})}
    )
    source, world = ModelSource(config=config), 1 if zero_stage is None else 2
    start = source.model(config, 3)
    job = tiny.make_job(samples, tmp_path, model=source, zero_stage=zero_stage, world_size=world)
    launch("local", job)
    made, _ = load_model(job.folder / "model")
    assert made.llm.lm_head.weight is made.llm.model.embed_tokens.weight
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in start.parameters())
    assert not torch.equal(made.llm.lm_head.weight, start.llm.lm_head.weight)
    if zero_stage is None:
        file = job.folder / "checkpoints" / "step-000010" / "torch.pt"
        held = torch.load(file, weights_only=True)["model"]
        assert torch.equal(held["llm.lm_head.weight"], held["llm.model.embed_tokens.weight"])
        assert torch.equal(held["llm.lm_head.weight"], made.llm.lm_head.weight)
