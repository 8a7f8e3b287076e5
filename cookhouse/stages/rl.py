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

from pipelines.core.executor import Executor
from pipelines.workflow.stage import Attempt, Inputs, stage
from rl.settings import ReinforceConfig

if TYPE_CHECKING:
    from rl.crew.protocol import Crew
    from rl.records import Group, Question

SAMPLED_PROMPTS, SAMPLED_COMPLETIONS = 8, 2


@stage(
    "rl",
    code_version=1,
    inputs=("model", "questions"),
    engines=("torch", "transformers"),
    deterministic="numbers",
    needs="rl",
)
def reinforce(config: ReinforceConfig, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """All seeds share one crew: the learner goes back to the input weights between them. ``--limit N`` takes N
    questions."""
    from rl.questions import load_questions

    questions = load_questions(inputs["questions"], config.question_kinds, config.families, out.limit)
    finished = out.units()
    todo = [seed for seed in config.seeds if f"seed-{seed}" not in finished]
    if todo:
        crew = _crew(inputs.one("model").path("model"), config, out.executor)
        try:
            for seed in todo:
                out.events.emit("note", text=f"rl: seed {seed}")
                _Seed(crew, questions, config, out, seed).run()
        finally:
            crew.close()
    receipts = [out.units()[f"seed-{seed}"] for seed in config.seeds]
    last = {name: sum(r["last"].get(name, 0.0) for r in receipts) / len(receipts) for name in receipts[0]["last"]}
    return {
        "samples": sum(receipt["completions"] for receipt in receipts),
        "main_metric": ["rl/reward/mean", last.get("reward/mean")],
        "questions": len(questions),
        "first": {name: sum(r["first"][name] for r in receipts) / len(receipts) for name in receipts[0]["first"]},
        "last": last,
        "ledger": {f"seed-{seed}": receipt["ledger"] for seed, receipt in zip(config.seeds, receipts, strict=True)},
    }


def _crew(model: Path, config: ReinforceConfig, executor: Executor) -> Crew:
    """Ray actors where work leaves this process."""
    if executor.distributed:
        from rl.crew.ray import RayCrew

        return RayCrew(model, config)
    from rl.crew.local import LocalCrew

    return LocalCrew(model, config)


class _Seed:
    """One seed's run with its files and units. What a resumed run must remember besides tensors (curves, samples,
    counts) travels in the checkpoint's receipt."""

    def __init__(self, crew: Crew, questions: list[Question], config: ReinforceConfig, out: Attempt, seed: int) -> None:
        self.crew, self.questions, self.config, self.out, self.seed = crew, questions, config, out, seed
        self.curve: list[dict[str, float]] = []
        self.samples: list[dict[str, Any]] = []
        self.spent: dict[str, int] = {}
        self.kept: Path | None = None

    def run(self) -> None:
        from rl.controller import Controller, Watch
        from rl.prompts import PromptPlan

        config = self.config
        plan = PromptPlan(
            self.questions,
            seed=self.seed,
            prompts_per_step=config.prompts_per_step,
            long_share=config.long_share,
            chunk=config.chunk,
        )
        first, checkpoint = self._resume()
        self.crew.start(first, checkpoint)
        self.controller = Controller(self.crew, plan, config, Watch(self._metrics, self._groups, self._checkpoint))
        self._tell(first)
        self.controller.run(first)
        folder = f"seed-{self.seed}"
        self.crew.export(self.out.dir / folder / "model")
        with (self.out.dir / folder / "rollouts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.samples)
        files = [
            path.relative_to(self.out.dir).as_posix()
            for path in sorted((self.out.dir / folder).rglob("*"))
            if path.is_file()
        ]
        self.out.commit_unit(
            folder,
            {
                "files": files,
                "completions": config.group * config.prompts_per_step * config.steps,
                "ledger": self._ledger(),
                "first": _mean(self.curve[: max(1, len(self.curve) // 5)]),
                "last": _mean(self.curve[-max(1, len(self.curve) // 5) :]),
            },
        )
        self._drop_checkpoint()

    def _resume(self) -> tuple[int, Path | None]:
        """(updates done, folder of the learner's state) of the newest whole checkpoint of this seed, or (0, None)."""
        prefix = f"checkpoint-seed-{self.seed}-"
        found = [receipt for name, receipt in self.out.units().items() if name.startswith(prefix)]
        for receipt in sorted(found, key=lambda item: -item["step"]):
            folder = self.out.path(receipt["folder"])
            if folder.is_dir():
                self.curve, self.samples, self.spent = receipt["curve"], receipt["samples"], receipt["ledger"]
                return receipt["step"], folder
        return 0, None

    def _metrics(self, step: int, values: dict[str, float]) -> None:
        """Steps of later seeds follow those of earlier ones, so that one chart shows every seed's rise."""
        self.curve.append(values)
        at = self.config.seeds.index(self.seed) * self.config.steps + step
        self.out.events.metrics(
            at, {f"rl/{name}": value for name, value in values.items()} | {"rl/seed": float(self.seed)}
        )
        self._tell(step + 1)

    def _tell(self, done: int) -> None:
        """Progress counts the updates of all seeds."""
        before = self.config.seeds.index(self.seed) * self.config.steps
        self.out.events.progress(before + done, len(self.config.seeds) * self.config.steps, "updates")

    def _groups(self, step: int, groups: list[Group]) -> None:
        """Some answers of the first and the last batch, and of those after each checkpoint."""
        if step % self.config.checkpoint_every and step + 1 != self.config.steps:
            return
        for group in groups[:: max(1, len(groups) // SAMPLED_PROMPTS)]:
            prompt, version = group.rollout.prompt, group.rollout.version
            for completion, reward, advantage in list(
                zip(group.rollout.completions, group.rewards, group.advantages, strict=True)
            )[:SAMPLED_COMPLETIONS]:
                self.samples.append(
                    {
                        "step": step,
                        "version": version.step,
                        "fingerprint": version.fingerprint,
                        "prompt": prompt.uid,
                        "sample": prompt.question.key,
                        "kind": prompt.question.kind,
                        "mode": prompt.mode,
                        "expected": prompt.question.answer,
                        "text": completion.text,
                        "finish": completion.finish,
                        "verdict": reward.judgement.verdict,
                        "reward": round(reward.total, 4),
                        "advantage": round(advantage, 4),
                    }
                )

    def _checkpoint(self, step: int) -> None:
        """Learner state in ``scratch`` (not part of the result), its receipt last; then the older one may go."""
        folder = self.out.scratch / f"seed-{self.seed}-step-{step}"
        self.crew.save(folder)
        self.out.commit_unit(
            f"checkpoint-seed-{self.seed}-{step:06d}",
            {
                "step": step,
                "folder": folder.relative_to(self.out.dir).as_posix(),
                "state": sorted(
                    path.relative_to(self.out.dir).as_posix() for path in folder.rglob("*") if path.is_file()
                ),
                "curve": self.curve,
                "samples": self.samples,
                "ledger": self._ledger(),
            },
        )
        self._drop_checkpoint()
        self.kept = folder

    def _drop_checkpoint(self) -> None:
        if self.kept is not None:
            shutil.rmtree(self.kept, ignore_errors=True)
            self.kept = None

    def _ledger(self) -> dict[str, int]:
        counts = self.controller.ledger.counts
        return {name: self.spent.get(name, 0) + counts.get(name, 0) for name in {*self.spent, *counts}}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every name over the rows that have it."""
    names = {name for row in rows for name in row}
    return {
        name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in sorted(names)
    }
