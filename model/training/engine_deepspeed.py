"""The engine for gangs of processes: DeepSpeed ZeRO 0-3 over gloo (CPU) or NCCL. The only file that imports deepspeed.

Choices, each measured or forced:

* float32 master weights under ``torch_autocast`` instead of DeepSpeed's bf16 mode: on the CPU bfloat16 products are the
  gain (weights are cast once per pack), and weights-only handover between phases stays exact.
* ``managed_gradient_accumulation`` off: any number of packs may precede a step; ZeRO 0 and 1 communicate once a step.
* DeepSpeed averages over ranks; losses are multiplied by the world size, so gradients are sums (see ``engine``).
* Its shared-memory op is compiled on first use inside the first rank and can leave a stale lock: marked incompatible.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from model.training.engine import ADAMW, LossFn, StepResult, T, learning, on_host, set_rate
from model.training.lean import without
from model.training.phases import Optimizer, Part, Precision
from pipelines.core.errors import InfraError

if TYPE_CHECKING:
    from model.minicpmv import Supervised
    from model.pack import Pack

_BUCKET = 50_000_000
"""Elements of a communication bucket at most: one collective a step for the tiny model, small for an 8B one."""


@cache
def _deepspeed() -> Any:
    """The library, imported once for this process: it reads the accelerator's name from the environment while it is."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    deprecated = r".*is deprecated. Please use `torch.distributed.*"
    warnings.filterwarnings("ignore", message=deprecated, category=FutureWarning)
    with without("mlflow"):
        import deepspeed
        import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)  # its warnings repeat every step; skipped steps are counted and reported by the loop
    ops = deepspeed.ops
    if "__compatible_ops__" not in vars(ops):
        ops.__compatible_ops__ = {}  # its first access would probe compilers for seconds; nothing here needs the answer
    ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


class Gang:
    """The group of processes that meet where the environment says (Ray Train made the meeting already)."""

    def __init__(self) -> None:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if torch.cuda.is_available():
            torch.cuda.set_device(local % torch.cuda.device_count())
            self.device = torch.device("cuda", torch.cuda.current_device())
        else:
            self.device = torch.device("cpu")
        _deepspeed().init_distributed("nccl" if torch.cuda.is_available() else "gloo", verbose=False)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.first_of_machine = local == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        total = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def broadcast(self, value: T) -> T:
        held = [value]
        dist.broadcast_object_list(held, device=self.device)
        return held[0]

    def barrier(self) -> None:
        dist.barrier()


class DeepSpeedEngine(Gang):
    """``Engine`` over ``deepspeed.initialize``. One per process; every rank passes a model with the same weights, of which
    ``trains`` learn, with a fresh optimizer."""

    def __init__(
        self,
        model: nn.Module,
        trains: Sequence[Part],
        optimizer: Optimizer = ADAMW,
        *,
        lr_scale: Mapping[Part, float] | None = None,
        precision: Precision = "fp32",
        zero_stage: int = 1,
    ) -> None:
        super().__init__()
        self.module = model.to(self.device)
        self.settings, self.precision, self.zero_stage = optimizer, precision, zero_stage
        unused = () if zero_stage == 3 else ("deepspeed.runtime.zero.muon.muon_optimizer",)  # stage 3 needs it
        with warnings.catch_warnings(), without(*unused):
            warnings.simplefilter("ignore")
            self._engine, _, _, _ = _deepspeed().initialize(
                model=model,
                optimizer=learning(model, trains, optimizer, lr_scale),
                config=self._config(),
                dist_init_required=False,
            )

    def _config(self) -> dict[str, Any]:
        return {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": self.settings.clip if self.zero_stage else 0.0,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {
                "stage": self.zero_stage,
                "reduce_bucket_size": _BUCKET,
                "allgather_bucket_size": _BUCKET,
                "overlap_comm": False,
                "contiguous_gradients": False,
            },
            "torch_autocast": {"enabled": self.precision == "bf16", "dtype": "bfloat16"},
            "steps_per_print": 2**31,
        }

    def set_lr(self, lr: float) -> None:
        set_rate(self._engine.optimizer, lr)

    def backward(self, loss_fn: LossFn, pack: Pack) -> dict[str, float]:
        loss = loss_fn(self._engine(pack.to(self.device)))
        self._engine.backward(loss * self.world_size)
        return {"loss": float(loss.detach())}

    def step(self) -> StepResult:
        engine = self._engine
        if self.zero_stage == 0:
            return self._plain_step(engine)
        engine.step()  # ZeRO's optimizers skip a step whose global norm is not finite, on all ranks alike
        norm = engine.get_global_grad_norm()  # -1 stands for one that is not finite
        return StepResult(math.nan if norm is None or norm < 0 else float(norm), not engine.optimizer.overflow)

    def _plain_step(self, engine: Any) -> StepResult:
        """ZeRO 0 neither reports the norm nor skips a non-finite step: reduce, measure and clip here."""
        engine.buffered_allreduce_fallback(elements_per_buffer=_BUCKET)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf))
        if not math.isfinite(norm):
            engine.zero_grad()
            return StepResult(norm, False)
        engine.enable_backward_allreduce = False
        engine.step()
        return StepResult(norm, True)

    @torch.no_grad()
    def forward(self, pack: Pack) -> Supervised:
        return self._engine(pack.to(self.device))

    def save(self, directory: Path) -> None:
        self._engine.save_checkpoint(str(directory), tag="deepspeed", save_latest=False)

    def load(self, directory: Path) -> None:
        """Only called on folders whose manifest (sizes, sha256) was checked: DeepSpeed's files are pickles."""
        path, _ = self._engine.load_checkpoint(str(directory), tag="deepspeed")
        if path is None:
            raise InfraError("DeepSpeed found no checkpoint to load", where=str(directory))

    def export_weights(self, *, each_machine: bool = False) -> dict[str, Tensor]:
        keep = self.first_of_machine if each_machine else self.rank == 0
        state = {name: on_host(value) for name, value in self.module.state_dict().items()} if keep else {}
        if self.zero_stage == 3:  # what stands there are empty parts
            for name, parameter in self.module.named_parameters(remove_duplicate=False):
                with _deepspeed().zero.GatheredParameters([parameter]):  # one at a time: never all on a device
                    if keep:
                        state[name] = on_host(parameter)
        return state

    def close(self) -> None:
        self._engine.destroy()
        del self._engine, self.module
