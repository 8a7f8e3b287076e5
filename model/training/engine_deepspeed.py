"""The engine for gangs of processes: DeepSpeed ZeRO 0-3 over gloo (CPU) or NCCL. The only file that imports deepspeed.

Choices, each measured or forced:

* float32 master weights under ``torch_autocast`` instead of DeepSpeed's bf16 mode: on the CPU bfloat16 products are the
  gain (weights are cast once per pack), and weights-only handover between phases stays exact.
* ``managed_gradient_accumulation`` off: any number of packs may precede a step; ZeRO 0 and 1 communicate once a step.
* DeepSpeed averages over ranks; losses are multiplied by the world size, so gradients are sums (see ``engine``).
* A phase change means new parameter groups: the DeepSpeed engine is rebuilt in the same process group on fresh
  parameters (its hooks stay on the old ones), weights only.
* Its shared-memory op is compiled on first use inside the first rank and can leave a stale lock: marked incompatible.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.training.engine import ADAMW, LossFn, Precision, StepResult, adamw, freeze, parameter_groups, set_rate
from model.training.phases import Optimizer, Part
from pipelines.core.errors import ConfigError, InfraError

if TYPE_CHECKING:
    from model.minicpmv import Supervised
    from model.pack import Pack

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
warnings.filterwarnings("ignore", message=r".*is deprecated. Please use `torch.distributed.*", category=FutureWarning)

from model.training.lean import without  # noqa: E402

with without("mlflow"):
    import deepspeed  # the accelerator must be named before
    import deepspeed.ops
from deepspeed.utils import logger  # noqa: E402
from torch import distributed as dist  # noqa: E402

logger.setLevel(logging.ERROR)  # its warnings repeat every step; skipped steps are counted and reported by the loop

_BUCKET = 50_000_000
"""Elements of a communication bucket at most: one collective a step for the tiny model, small for an 8B one."""


def start_process_group() -> None:
    """Join the process group: Ray Train made it already, torchrun and local launch set its variables."""
    ops = deepspeed.ops
    if "__compatible_ops__" not in vars(ops):
        ops.__compatible_ops__ = {}  # its first access would probe compilers for seconds; nothing here needs the answer
    ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo", verbose=False)


class DeepSpeedEngine:
    """``Engine`` over ``deepspeed.initialize``. One per process; every rank passes a model with the same weights."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer = ADAMW,
        *,
        precision: Precision = "fp32",
        zero_stage: int = 1,
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        start_process_group()
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.device = (
            torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        )
        self._model = model.to(self.device)
        self.settings, self.precision, self.zero_stage = optimizer, precision, zero_stage
        self._engine: Any = None

    @property
    def module(self) -> nn.Module:
        return self._model

    def _ready(self) -> Any:
        if self._engine is None:
            raise ConfigError("the engine has nothing to train yet", do="call set_trainable first")
        return self._engine

    def set_trainable(self, parts: Sequence[Part], lr_scale: Mapping[Part, float] | None = None) -> None:
        self._release()
        freeze(self._model, parts)
        self._model.train()
        groups = parameter_groups(self._model, self.settings, lr_scale)
        unused = () if self.zero_stage == 3 else ("deepspeed.runtime.zero.muon.muon_optimizer",)  # stage 3 needs it
        with warnings.catch_warnings(), without(*unused):
            warnings.simplefilter("ignore")
            self._engine, _, _, _ = deepspeed.initialize(
                model=self._model,
                optimizer=adamw(groups, self.settings),
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
        set_rate(self._ready().optimizer, lr)

    def backward(self, loss_fn: LossFn, pack: Pack) -> dict[str, float]:
        engine = self._ready()
        supervised = engine(pack.to(self.device))
        loss = loss_fn(supervised)
        engine.backward(loss * self.world_size)
        return {"loss": float(loss.detach())}

    def step(self) -> StepResult:
        engine = self._ready()
        if self.zero_stage == 0:
            return self._plain_step(engine)
        engine.step()  # ZeRO's optimizers skip a step whose global norm is not finite, on all ranks alike
        norm = engine.get_global_grad_norm()  # -1 stands for one that is not finite
        return StepResult(math.nan if norm is None or norm < 0 else float(norm), not engine.optimizer.overflow)

    def _plain_step(self, engine: Any) -> StepResult:
        """ZeRO 0 neither reports the norm nor skips a non-finite step: reduce, measure and clip here."""
        engine.buffered_allreduce_fallback(elements_per_buffer=_BUCKET)
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf))
        if not math.isfinite(norm):
            engine.zero_grad()
            return StepResult(norm, False)
        engine.enable_backward_allreduce = False
        engine.step()
        return StepResult(norm, True)

    @torch.no_grad()
    def forward(self, pack: Pack) -> Supervised:
        return self._ready()(pack.to(self.device))

    def sum(self, values: Sequence[float]) -> list[float]:
        total = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def barrier(self) -> None:
        dist.barrier()

    def save(self, directory: Path) -> None:
        self._ready().save_checkpoint(str(directory), tag="deepspeed", save_latest=False)

    def load(self, directory: Path) -> None:
        """Only called on folders whose manifest (sizes, sha256) was checked: DeepSpeed's files are pickles."""
        path, _ = self._ready().load_checkpoint(str(directory), tag="deepspeed")
        if path is None:
            raise InfraError("DeepSpeed found no checkpoint to load", where=str(directory))

    def export_weights(self) -> dict[str, Tensor]:
        return self._weights(on_all_ranks=False)

    def _weights(self, on_all_ranks: bool) -> dict[str, Tensor]:
        keep = on_all_ranks or self.rank == 0
        if self.zero_stage < 3 or self._engine is None:
            state = self._model.state_dict() if keep else {}
            return {name: value.detach().to("cpu", torch.float32).clone() for name, value in state.items()}
        gathered = {}
        for name, parameter in self._model.named_parameters():  # one at a time: the full model never lies on one device
            with deepspeed.zero.GatheredParameters([parameter]):
                if keep:
                    gathered[name] = parameter.detach().to("cpu", torch.float32).clone()
        if keep:
            gathered.update(
                {
                    name: value.detach().cpu().clone()
                    for name, value in self._model.state_dict().items()
                    if name not in gathered
                }
            )
        return gathered

    def _release(self) -> None:
        """Take the weights back from DeepSpeed: fresh parameters, no hooks, no optimizer."""
        if self._engine is None:
            return
        weights = self._weights(on_all_ranks=True)
        self._engine.destroy()
        self._engine = None
        for path, module in self._model.named_modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    value = weights[f"{path}.{name}" if path else name]
                    module._parameters[name] = nn.Parameter(value.to(self.device))
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.destroy()
            self._engine = None
