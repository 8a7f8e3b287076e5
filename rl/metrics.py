"""Numbers of one batch by name, per mode where the mode matters. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rl.records import VERDICTS, Group, LearnReport


@dataclass(frozen=True)
class Rolling:
    """What it took to roll and judge a batch: prompts that could not be rolled with the reasons, seconds until the last
    group was there, workers replaced on the way."""

    failures: dict[str, str]
    seconds: float
    replaced: int


def batch_metrics(groups: Sequence[Group], rolling: Rolling, report: LearnReport) -> dict[str, float]:
    """Means over rollouts; ``frac_zero_std``: share of groups without information; the learner's own figures under their
    names."""
    values: dict[str, float] = {}
    rewards = [reward for group in groups for reward in group.rewards]
    if rewards:
        values["reward/mean"] = sum(reward.total for reward in rewards) / len(rewards)
        values["frac_zero_std"] = sum(not group.informative for group in groups) / len(groups)
    for mode in ("short", "long"):
        own = [group for group in groups if group.prompt.mode == mode]
        judged = [reward.judgement for group in own for reward in group.rewards]
        if judged:
            rollouts = [rollout for group in own for rollout in group.rollouts]
            values[f"reward/{mode}"] = sum(reward.total for group in own for reward in group.rewards) / len(judged)
            values[f"accuracy/{mode}"] = sum(item.verdict == "correct" for item in judged) / len(judged)
            values[f"format/{mode}"] = sum(item.format for item in judged) / len(judged)
            values[f"length/{mode}"] = sum(len(item.token_ids) for item in rollouts) / len(rollouts)
            values[f"truncated/{mode}"] = sum(item.finish == "length" for item in rollouts) / len(rollouts)
    verdicts = Counter(reward.judgement.verdict for reward in rewards)
    values |= {f"verdict/{name}": float(verdicts[name]) for name in VERDICTS}
    values |= report.metrics
    values |= {
        "tokens": float(sum(group.tokens for group in groups)),
        "tokens_trained": float(report.tokens),
        "failed_prompts": float(len(rolling.failures)),
        "replaced_workers": float(rolling.replaced),
        "staleness": float(report.step - 1 - min((g.version.step for g in groups), default=report.step - 1)),
        "seconds/rollout": rolling.seconds,
        "seconds/learn": report.seconds,
    }
    return values
