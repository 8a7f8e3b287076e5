"""What turns packs into updates. One protocol, two engines: ``TorchEngine`` here (one process, no DeepSpeed) and
``DeepSpeedEngine`` in ``engine_deepspeed``; a test compares them.

The contract every engine keeps: **the gradient of a step is the plain sum, over all packs of all ranks since the last
step, of the gradients of their losses.** Nothing is averaged behind the caller's back, so a loss divided by the number
of tokens of the whole step gives the same update however the samples are split over packs and ranks.
A step whose gradient is not finite changes nothing on any rank and says so (``updated`` is False).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from model.training.phases import PREFIX, Optimizer, Part, Precision
from pipelines.core.errors import ConfigError

if TYPE_CHECKING:
    from model.minicpmv import Supervised
    from model.pack import Pack

ADAMW = Optimizer()
LossFn = Callable[["Supervised"], Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class StepResult:
    """``grad_norm``: global L2 norm before clipping, over all parts and ranks. ``updated`` False: it was not finite,
    the weights did not move."""

    grad_norm: float
    updated: bool


class Group(Protocol):
    """The processes of a gang. All call the same methods in the same order."""

    rank: int
    world_size: int

    def sum(self, values: Sequence[float]) -> list[float]:
        """Elementwise sum over the ranks."""

    def broadcast(self, value: T) -> T:
        """What rank 0 gave."""

    def barrier(self) -> None: ...


class Engine(Group, Protocol):
    """Forward, backward, update of one phase: what learns is chosen when it is built, all else stays byte-identical.
    ``backward`` is called equally often on all ranks."""

    @property
    def module(self) -> nn.Module:
        """The network; with ZeRO-3 its parameters are partitioned."""

    def set_lr(self, lr: float) -> None: ...

    def backward(self, loss_fn: LossFn, pack: Pack) -> dict[str, float]:
        """Forward ``pack``, add the gradient of ``loss_fn(supervised)`` (a scalar). Returns ``{"loss": its value}``."""

    def step(self) -> StepResult:
        """Clip, update, clear the gradients."""

    def forward(self, pack: Pack) -> Supervised:
        """Forward without gradient (reference or old-policy log-probabilities)."""

    def save(self, directory: Path) -> None:
        """Write this rank's files of weights, optimizer and step into ``directory`` (the same on every rank)."""

    def load(self, directory: Path) -> None:
        """Read what ``save`` wrote, with the same trainable parts and world size."""

    def export_weights(self, *, each_machine: bool = False) -> dict[str, Tensor]:
        """The full state in float32 on the CPU, gathered on rank 0 (or on the first rank of each machine); an empty dict on
        the other ranks."""

    def close(self) -> None:
        """Let go of the network and the optimizer."""


def freeze(model: nn.Module, parts: Sequence[Part]) -> None:
    """``requires_grad`` for the parameters of ``parts`` and for no other.

    Raises ConfigError for a part the model does not have, or a parameter that belongs to no part."""
    found = set()
    for name, parameter in model.named_parameters():
        part = _part_of(name)
        parameter.requires_grad_(part in parts)
        found.add(part)
    if missing := [part for part in parts if part not in found]:
        raise ConfigError(f"the model has no parameters of part {', '.join(missing)}", do="correct `trains`")


def _part_of(name: str) -> Part:
    for part, prefix in PREFIX.items():
        if name.startswith(prefix):
            return part
    raise ConfigError(f"parameter {name!r} belongs to no part", why=f"parts are named by prefix: {PREFIX}")


def parameter_groups(
    model: nn.Module, settings: Optimizer, lr_scale: Mapping[Part, float] | None = None
) -> list[dict[str, Any]]:
    """AdamW groups of the trainable parameters: per part, matrices with weight decay, vectors (norms, biases) without.

    Each group holds ``scale``, the factor of its learning rate. Parts with scale 1 share groups: fewer, larger buffers.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = (lr_scale or {}).get(_part_of(name), 1.0)
            shape = getattr(parameter, "ds_shape", parameter.shape)  # ZeRO-3 keeps the true shape beside the parameter
            groups.setdefault((scale, len(shape) > 1), []).append(parameter)
    return [
        {"params": groups[scale, decayed], "weight_decay": settings.weight_decay if decayed else 0.0, "scale": scale}
        for scale, decayed in sorted(groups)
    ]


def learning(
    model: nn.Module, trains: Sequence[Part], settings: Optimizer, lr_scale: Mapping[Part, float] | None
) -> torch.optim.AdamW:
    """The model in training mode, ``trains`` alone unfrozen, and their fresh optimizer. Fused: one pass over each buffer,
    on the CPU too. ``lr`` is set per step."""
    freeze(model.train(), trains)
    groups = parameter_groups(model, settings, lr_scale)
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """``lr`` times each group's ``scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """bf16 runs matrix products in bfloat16 over float32 master weights; norms, softmax and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def on_host(tensor: Tensor) -> Tensor:
    """A copy in float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


class Alone:
    """The group of one process."""

    rank, world_size = 0, 1

    def sum(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]

    def broadcast(self, value: T) -> T:
        return value

    def barrier(self) -> None:
        pass


class TorchEngine(Alone):
    """One process, plain PyTorch. The reference in tests, and the engine of machines without DeepSpeed. ``trains`` learn,
    with a fresh optimizer."""

    def __init__(
        self,
        model: nn.Module,
        trains: Sequence[Part],
        optimizer: Optimizer = ADAMW,
        *,
        lr_scale: Mapping[Part, float] | None = None,
        precision: Precision = "fp32",
        device: torch.device | str = "cpu",
    ) -> None:
        self.device, self.precision, self.clip = torch.device(device), precision, optimizer.clip or math.inf
        self.module = model.to(self.device)
        self.optimizer = learning(self.module, trains, optimizer, lr_scale)

    def set_lr(self, lr: float) -> None:
        set_rate(self.optimizer, lr)

    def backward(self, loss_fn: LossFn, pack: Pack) -> dict[str, float]:
        with autocast(self.device, self.precision):
            supervised = self.module(pack.to(self.device))
        loss = loss_fn(supervised)
        loss.backward()
        return {"loss": float(loss.detach())}

    def step(self) -> StepResult:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.clip))
        updated = math.isfinite(norm)
        if updated:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(norm, updated)

    @torch.no_grad()
    def forward(self, pack: Pack) -> Supervised:
        with autocast(self.device, self.precision):
            return self.module(pack.to(self.device))

    def save(self, directory: Path) -> None:
        state = {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, directory / "torch.pt")

    def load(self, directory: Path) -> None:
        state = torch.load(directory / "torch.pt", map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export_weights(self, *, each_machine: bool = False) -> dict[str, Tensor]:
        return {name: on_host(value) for name, value in self.module.state_dict().items()}

    def close(self) -> None:
        del self.module, self.optimizer
