"""Stage ``rl``: the fine-tuned model answers train questions and learns from verifiable rewards, once per seed.

In: ``model`` (weights of ``sft``) and ``questions`` (shards; only their train split is read). Out per seed:
``seed-{s}/model/`` and ``seed-{s}/rollouts.jsonl`` (sampled answers along the way). A finished seed is a unit; so is
the learner's state every ``checkpoint_every`` updates, so a killed run goes on from there with the same numbers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import DataError
from pipelines.core.storage import sha256_of
from pipelines.workflow.stage import Attempt, Inputs, stage
from rl.settings import ReinforceConfig

if TYPE_CHECKING:
    from rl.crew.protocol import Crew
    from rl.records import Group, Question

SAMPLED_PROMPTS, SAMPLED_ROLLOUTS = 8, 2


@stage(
    "rl",
    code_version=2,
    inputs=("model", "questions"),
    engines=("torch", "transformers"),
    deterministic="numbers",
    needs="rl",
)
def reinforce(config: ReinforceConfig, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """All seeds share one crew: the learner goes back to the input weights between them. ``--limit N`` takes N
    questions."""
    from rl.crew.protocol import crew_of
    from rl.prompts import load_questions

    questions = load_questions(inputs["questions"], config.question_kinds, config.families, out.limit)
    finished = out.units()
    todo = [seed for seed in config.seeds if f"seed-{seed}" not in finished]
    if todo:
        crew = crew_of(out.executor, inputs.one("model").path("model"), config)
        try:
            for seed in todo:
                out.events.emit("note", text=f"rl: seed {seed}")
                _Seed(crew, questions, config, out, seed).run()
        finally:
            crew.close()
    receipts = [out.units()[f"seed-{seed}"] for seed in config.seeds]
    last = _mean([receipt["last"] for receipt in receipts])
    return {
        "samples": sum(receipt["completions"] for receipt in receipts),
        "main_metric": ["rl/reward/mean", last.get("reward/mean")],
        "questions": len(questions),
        "first": _mean([receipt["first"] for receipt in receipts]),
        "last": last,
        "ledger": {f"seed-{seed}": receipt["ledger"] for seed, receipt in zip(config.seeds, receipts, strict=True)},
    }


class _Seed:
    """One seed's run with its files and units. What a resumed run must remember besides tensors (curves, samples,
    counts) travels in the checkpoint's receipt."""

    def __init__(self, crew: Crew, questions: list[Question], config: ReinforceConfig, out: Attempt, seed: int) -> None:
        from rl.controller import Controller, Watch
        from rl.prompts import PromptPlan

        self.crew, self.config, self.out, self.seed = crew, config, out, seed
        self.before = config.seeds.index(seed) * config.steps  # updates of the seeds before
        self.curve: list[dict[str, float]] = []
        self.samples: list[dict[str, Any]] = []
        self.kept: Path | None = None
        watch = Watch(self._metrics, self._groups, self._checkpoint)
        self.controller = Controller(crew, PromptPlan(questions, config, seed), config, watch)

    def run(self) -> None:
        first = 0
        if (found := self._newest()) is not None:
            first, self.curve, self.samples = found["step"], found["curve"], found["samples"]
            self.controller.flow.counts.update(found["ledger"])
        self.crew.start(first, self.out.path(found["folder"]) if found else None)
        self._tell(first)
        counts = self.controller.run(first).counts
        folder = f"seed-{self.seed}"
        self.crew.export(self.out.dir / folder / "model")
        with (self.out.dir / folder / "rollouts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.samples)
        fifth = max(1, len(self.curve) // 5)
        self.out.commit_unit(
            folder,
            {
                "files": self._files(self.out.dir / folder),
                "completions": self.config.group * self.config.prompts_per_step * self.config.steps,
                "ledger": dict(counts),
                "first": _mean(self.curve[:fifth]),
                "last": _mean(self.curve[-fifth:]),
            },
        )
        self._drop_checkpoint()

    def _newest(self) -> dict[str, Any] | None:
        """The receipt of this seed's newest checkpoint that is still there. Its files are unpickled, so only what we
        wrote is taken: raises DataError for a file that changed."""
        found = [one for name, one in self.out.units().items() if name.startswith(f"checkpoint-seed-{self.seed}-")]
        for receipt in sorted(found, key=lambda item: -item["step"]):
            if not self.out.path(receipt["folder"]).is_dir():
                continue
            for path, told in ((self.out.path(name), told) for name, told in receipt["digests"].items()):
                if sha256_of(path) != told:
                    raise DataError(
                        "a checkpoint file changed after it was written",
                        where=str(path),
                        do="remove that checkpoint folder; the seed goes on from the one before, or from the start",
                    )
            return receipt
        return None

    def _metrics(self, step: int, values: dict[str, float]) -> None:
        """Steps of later seeds follow those of earlier ones, so that one chart shows every seed's rise."""
        self.curve.append(values)
        named = {f"rl/{name}": value for name, value in values.items()} | {"rl/seed": float(self.seed)}
        self.out.events.metrics(self.before + step, named)
        self._tell(step + 1)

    def _tell(self, done: int) -> None:
        """Progress counts the updates of all seeds."""
        self.out.events.progress(self.before + done, len(self.config.seeds) * self.config.steps, "updates")

    def _groups(self, step: int, groups: list[Group]) -> None:
        """Some answers of the first and the last batch, and of those after each checkpoint."""
        if step % self.config.checkpoint_every and step + 1 != self.config.steps:
            return
        for group in groups[:: max(1, len(groups) // SAMPLED_PROMPTS)]:
            question = group.prompt.question
            rows = zip(group.rollouts, group.rewards, group.advantages, strict=True)
            self.samples += [
                {
                    "step": step,
                    "version": rollout.version.step,
                    "fingerprint": rollout.version.fingerprint,
                    "prompt": group.prompt.uid,
                    "sample": question.key,
                    "kind": question.kind,
                    "mode": question.mode,
                    "expected": question.answer,
                    "text": rollout.text,
                    "finish": rollout.finish,
                    "verdict": reward.judgement.verdict,
                    "reward": round(reward.total, 4),
                    "advantage": round(advantage, 4),
                }
                for rollout, reward, advantage in list(rows)[:SAMPLED_ROLLOUTS]
            ]

    def _checkpoint(self, step: int) -> None:
        """Learner state in ``scratch`` (not part of the result), its receipt last; then the older one may go."""
        folder = self.out.scratch / f"seed-{self.seed}-step-{step}"
        self.crew.save(folder)
        state = self._files(folder)
        self.out.commit_unit(
            f"checkpoint-seed-{self.seed}-{step:06d}",
            {
                "step": step,
                "folder": folder.relative_to(self.out.dir).as_posix(),
                "state": state,
                "digests": {name: sha256_of(self.out.dir / name) for name in state},
                "curve": self.curve,
                "samples": self.samples,
                "ledger": dict(self.controller.flow.counts),
            },
        )
        self._drop_checkpoint()
        self.kept = folder

    def _files(self, folder: Path) -> list[str]:
        return sorted(path.relative_to(self.out.dir).as_posix() for path in folder.rglob("*") if path.is_file())

    def _drop_checkpoint(self) -> None:
        if self.kept is not None:
            shutil.rmtree(self.kept, ignore_errors=True)
            self.kept = None


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every name over the rows that have it."""
    names = {name for row in rows for name in row}
    return {
        name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in sorted(names)
    }
