"""The learner: judged groups in, a moved policy out. A plain class over a training engine; it knows no Ray.

One object per rank. Rank r computes its packs of the global plan; the engine adds gradients up over ranks (its
contract: a plain sum), so dividing by the global token count is all the normalisation there is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from model.checkpoint import load_model, save_model
from model.minicpmv import Supervised
from model.training.engine import Engine, StepResult, TorchEngine
from model.training.phases import PREFIX, Optimizer
from pipelines.core.errors import CookhouseError
from rl.algorithm import ppo_clip, token_logprobs
from rl.policy import Policy
from rl.records import Group, LearnReport, PolicyVersion
from rl.settings import ReinforceConfig
from rl.transport import Weights, flatten
from rl.tree import Branch, PromptTensors, TreePack, plan_packs, split_minibatches, tree_cost, tree_pack

_SUMS = ("loss", "entropy", "kl", "clip_high", "clip_low", "tokens")


class Learner:
    """Holds the training engine of the current seed. ``step`` counts its updates."""

    engine: Engine
    step = 0

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.model_dir, self.config = model_dir, config

    def build(self, policy: Policy) -> Engine:
        """One process computes by itself, several are a gang."""
        config = self.config
        settings = Optimizer(betas=(0.9, 0.95), weight_decay=config.weight_decay, clip=config.grad_clip)
        if config.learners == 1:
            return TorchEngine(policy, config.trains, settings, device="cuda" if config.learner_gpus else "cpu")
        from model.training.engine_deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(policy, config.trains, settings)

    def start(self, step: int = 0, checkpoint: Path | None = None) -> None:
        """Begin a seed: the weights of the input model and a fresh optimizer, or what ``save`` wrote after ``step``
        updates."""
        if hasattr(self, "engine"):
            self.engine.close()
        network, self.processor = load_model(self.model_dir)
        self.engine = self.build(Policy.adopt(network))
        if checkpoint is not None:
            self.engine.load(checkpoint)
        self.step = step

    def learn(self, groups: Sequence[Group], *tensors: Sequence[PromptTensors]) -> LearnReport:
        """One batch: ``minibatches`` updates. ``tensors`` hold the prompts of all groups. Metrics are means over the sampled
        tokens of informative groups, ``parity`` the largest difference to the sampler's log-probabilities where both used
        one version. Raises CookhouseError when it is broken: the sampler would teach another model than it runs."""
        begun = time.perf_counter()
        prompts = {prompt.uid: prompt for part in tensors for prompt in part}
        totals = dict.fromkeys(_SUMS, 0.0)
        norms: list[float] = []
        parity: float | None = None
        for number, part in enumerate(split_minibatches(groups, self.config.minibatches)):
            fresh = number == 0 and all(group.version.step == self.step for group in part)
            sums, widest, result = self._update(part, prompts)
            for name, value in zip(_SUMS, self.engine.sum([sums[name] for name in _SUMS]), strict=True):
                totals[name] += value
            norms += [result.grad_norm] if result is not None and result.updated else []
            if fresh and result is not None:
                ranks = range(self.engine.world_size)
                parity = max(self.engine.sum([widest if rank == self.engine.rank else 0.0 for rank in ranks]))
                self._check(parity)
        rate = self._rate()
        self.step += 1
        seen = max(1.0, totals["tokens"])
        metrics = {name: totals[name] / seen for name in ("entropy", "kl", "clip_high", "clip_low")}
        metrics |= {"loss": totals["loss"], "grad_norm": sum(norms) / len(norms) if norms else 0.0}
        metrics |= {"updates": float(len(norms)), "lr": rate}
        if parity is not None:
            metrics["parity_max_abs"] = parity
        return LearnReport(self.step, metrics, int(totals["tokens"]), time.perf_counter() - begun)

    def _rate(self) -> float:
        """Linear warm-up over ``warmup`` batches, then constant (paper 5.1)."""
        return self.config.lr * min(1.0, (self.step + 1) / (self.config.warmup + 1))

    def _update(
        self, groups: Sequence[Group], prompts: Mapping[str, PromptTensors]
    ) -> tuple[dict[str, float], float, StepResult | None]:
        """Gradient of one minibatch and the step. Third value: None when no group was informative."""
        sums = dict.fromkeys(_SUMS, 0.0)
        denominator = sum(group.tokens for group in groups)  # informative or not
        kept = [group for group in groups if group.informative]
        if not kept:
            return sums, 0.0, None
        rows = [(prompts[group.prompt.uid], branches(group)) for group in kept]
        costs = [tree_cost(len(prompt), group) for prompt, group in rows]
        widest = 0.0
        for pack in plan_packs(costs, self.config.token_budget, self.engine.world_size)[self.engine.rank]:
            chosen = [rows[index] for index in pack] or [_silent(rows[costs.index(min(costs))])]
            tree = tree_pack([prompt for prompt, _ in chosen], [group for _, group in chosen])
            loss = _Loss(tree, self.config, denominator)
            sums["loss"] += self.engine.backward(loss, tree)["loss"]  # type: ignore[arg-type]
            if pack:
                widest = max(widest, loss.widest)
                for name, value in loss.sums.items():
                    sums[name] += value
        self.engine.set_lr(self._rate())
        return sums, widest, self.engine.step()

    def _check(self, parity: float) -> None:
        if not parity <= self.config.parity_limit:
            raise CookhouseError(
                f"rollout and learner disagree: log-probabilities differ by up to {parity:.2e}",
                where=f"update {self.step}, version {self.step}, limit {self.config.parity_limit:g}",
                why="both must be the same network with the same weights; in float32 they agree to about 1e-6",
                do="look for weights that did not arrive, another temperature, or a changed prompt",
            )

    def publish(self) -> tuple[PolicyVersion | None, Weights | None]:
        """The trained parts as one buffer, and which version they are (rank 0; None elsewhere). Tied tensors travel
        once."""
        prefixes = tuple(PREFIX[part] for part in self.config.trains)
        state = self.engine.export_weights()
        if self.engine.rank:
            return None, None
        names = [name for name, _ in self.engine.module.named_parameters() if name.startswith(prefixes)]
        weights = flatten(self.step, {name: state[name] for name in names})
        return weights.version, weights

    def save(self, directory: Path) -> None:
        """This rank's files of a checkpoint."""
        directory.mkdir(parents=True, exist_ok=True)
        self.engine.save(directory)

    def export(self, directory: Path) -> None:
        """Rank 0 writes the ``model/`` folder."""
        if self.engine.rank == 0:
            save_model(directory, self.engine.module, self.processor)  # type: ignore[arg-type]
        self.engine.barrier()


class _Loss:
    """The engine's loss function for one pack; keeps the sums the report needs."""

    def __init__(self, tree: TreePack, config: ReinforceConfig, denominator: int) -> None:
        self.tree, self.config, self.denominator = tree, config, denominator
        self.sums: dict[str, float] = {}
        self.widest = 0.0

    def __call__(self, supervised: Supervised) -> torch.Tensor:
        logprobs, entropy = token_logprobs(supervised.logits, supervised.targets, self.config.temperature)
        behaviour, advantages = self.tree.behaviour.to(logprobs.device), self.tree.advantages.to(logprobs.device)
        loss, sums = ppo_clip(logprobs, behaviour, advantages, self.config.clip_low, self.config.clip_high)
        self.sums = {name: float(value) for name, value in sums.items()}
        self.sums |= {"entropy": float(entropy.sum()), "tokens": float(len(logprobs))}
        self.widest = float((logprobs.detach() - behaviour).abs().max())
        return loss / self.denominator


def branches(group: Group) -> list[Branch]:
    """The rollouts of a group as the learner reads them; those with advantage zero stay (entropy, KL)."""
    return [
        Branch(rollout.token_ids, rollout.logprobs, advantage)
        for rollout, advantage in zip(group.rollouts, group.advantages, strict=True)
        if rollout.token_ids
    ]


def _silent(row: tuple[PromptTensors, list[Branch]]) -> tuple[PromptTensors, list[Branch]]:
    """The same row without any gradient: what a rank computes when it has no pack left and must keep step."""
    prompt, group = row
    return prompt, [Branch(branch.token_ids, branch.logprobs, 0.0) for branch in group]
