"""Stages ``vision_backbone``, ``language_backbone`` and ``bridge``: the towers ``recipe=tiny`` starts from, and the map
between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from model.config import LanguageConfig, VisionConfig
from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from torch import Tensor

    from model.vision import VisionTower


class VisionBackbone(StageConfig):
    """Glyph sheets -> tower. ``blocks`` sheets of 50 cards each, one font face a block; ``test_blocks`` of held-out faces
    and words measure it."""

    vision: Identity[VisionConfig]
    steps: Identity[int] = 6000
    batch: Identity[int] = 24
    lr: Identity[float] = 1.5e-3
    blocks: Identity[int] = 400
    test_blocks: Identity[int] = 10
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    seed: Identity[int] = 0


@stage(
    "vision_backbone",
    code_version=1,
    engines=("torch", "pymupdf"),
    deterministic="numbers",
    uses_ray=False,
    limit=False,
    needs="train",
)
def train_vision_backbone(config: VisionBackbone, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``vision.safetensors`` holds the tower under its released names (``vpm.*``) in bfloat16."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from toy.towers.glyphs import CLASSES, glyph_sheets
    from toy.towers.vision import VisionPlan, glyph_accuracy, train_tower

    torch.set_num_threads(1)
    train = [glyph_sheets("train", config.seed, index, 50) for index in range(config.blocks)]
    images, labels = (np.concatenate([block[i] for block in train]) for i in range(2))
    del train
    plan = VisionPlan(config.steps, config.batch, config.lr, seed=config.seed, precision=config.precision)
    model = train_tower(config.vision, plan, images, labels, CLASSES, _told(out, config.steps))
    held = [glyph_sheets("test", config.seed, index, 50) for index in range(config.test_blocks)]
    sheets, names = (np.concatenate([block[i] for block in held]) for i in range(2))
    accuracy = glyph_accuracy(model, sheets, names, config.precision)
    tensors = {
        f"vpm.{name}": tensor.to(torch.bfloat16).contiguous() for name, tensor in model.tower.state_dict().items()
    }
    save_file(tensors, out.dir / "vision.safetensors")
    out.events.metrics(config.steps, {"eval/glyph_accuracy_held_out": accuracy})
    return {
        "samples": config.steps * config.batch,
        "optimizer_steps": config.steps,
        "main_metric": ["glyph_accuracy_held_out", accuracy],
    }


def _told(out: Attempt, steps: int) -> Callable[[int, dict[str, float]], None]:
    """Takes the figures of a step, and says how far that is."""
    out.events.progress(0, steps, "steps")

    def report(step: int, values: dict[str, float]) -> None:
        out.events.metrics(step, values)
        out.events.progress(step + 1, steps, "steps")

    return report


class LanguageBackbone(StageConfig):
    """Generated text -> decoder. ``text_share`` of the sequences are plain sentences, ``question_share`` questions about
    text cards, the rest text cards to read. Of sums in plain text all or only the ``results`` are supervised. With an
    input ``start`` training goes on from another decoder."""

    language: Identity[LanguageConfig]
    steps: Identity[int] = 4000
    batch: Identity[int] = 48
    lr: Identity[float] = 2e-3
    text_share: Identity[float] = 0.15
    question_share: Identity[float] = 0.5
    sums: Identity[Literal["all", "results"]] = "all"
    test_cards: Identity[int] = 500
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    seed: Identity[int] = 0


@stage(
    "language_backbone",
    code_version=2,
    optional_inputs=("start",),
    engines=("torch", "transformers", "pymupdf"),
    deterministic="numbers",
    uses_ray=False,
    limit=False,
    needs="train",
)
def train_language_backbone(config: LanguageBackbone, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``language.safetensors`` holds the decoder under its released names (``llm.*``) in bfloat16."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Qwen3ForCausalLM

    from model.minicpmv import language_config
    from toy.towers.language import LanguagePlan, answers_right, train_language
    from toy.towers.textcards import FORMS, TextCards

    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    llm = Qwen3ForCausalLM(language_config(config.language))
    if start := inputs.optional("start"):
        weights = load_file(start.path("language.safetensors"))
        llm.load_state_dict({name.removeprefix("llm."): tensor.float() for name, tensor in weights.items()})
    cards = TextCards(config.text_share, config.question_share, config.sums)
    plan = LanguagePlan(config.steps, config.batch, config.lr, seed=config.seed, precision=config.precision)
    train_language(llm, plan, cards.example, _told(out, config.steps))
    figures: dict[str, float] = {}
    for form in FORMS:
        tokens, whole = answers_right(llm, list(cards.held_out(form, config.test_cards)), config.precision)
        figures |= {f"eval/{form}_tokens_held_out": tokens, f"eval/{form}_whole_held_out": whole}
    tensors = {f"llm.{name}": tensor.to(torch.bfloat16).contiguous() for name, tensor in llm.state_dict().items()}
    save_file(tensors, out.dir / "language.safetensors")
    out.events.metrics(config.steps, figures)
    return {
        "samples": config.steps * config.batch,
        "optimizer_steps": config.steps,
        "main_metric": ["short_answers_held_out", figures["eval/short_whole_held_out"]],
        "metrics": figures,
    }


class Bridge(StageConfig):
    """Two towers -> the linear map between them. ``blocks`` of 25 glyph sheets, other ones than the tower was trained on."""

    vision: Identity[VisionConfig]
    blocks: Identity[int] = 36
    test_blocks: Identity[int] = 10
    ridge: Identity[float] = 1e-4
    seed: Identity[int] = 0


@stage(
    "bridge",
    code_version=2,
    inputs=("vision", "language"),
    engines=("torch", "pymupdf"),
    deterministic="numbers",
    uses_ray=False,
    limit=False,
    needs="train",
)
def fit_tower_bridge(config: Bridge, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``bridge.safetensors`` holds ``bridge [patch width, decoder width]`` in float32."""
    import torch
    from safetensors.torch import load_file, save_file

    from model.vision import VisionTower
    from toy.towers.bridge import fit_bridge, nearest_token_share
    from toy.towers.textcards import BLANK

    torch.set_num_threads(1)
    tower = VisionTower(config.vision)
    weights = load_file(inputs.one("vision").path("vision.safetensors"))
    tower.load_state_dict({name.removeprefix("vpm."): tensor.float() for name, tensor in weights.items()})
    language = load_file(inputs.one("language").path("language.safetensors"))
    embeddings = language["llm.model.embed_tokens.weight"].float()
    train = _features(tower.eval(), "train", config.seed, range(1000, 1000 + config.blocks), out)
    bridge = fit_bridge(train, embeddings, BLANK, config.ridge)
    held = list(_features(tower, "test", config.seed, range(config.test_blocks), out))
    features, tokens = (torch.cat([pair[i] for pair in held]) for i in range(2))
    share = nearest_token_share(bridge, features, tokens, embeddings, BLANK)
    save_file({"bridge": bridge.contiguous()}, out.dir / "bridge.safetensors")
    return {"samples": config.blocks * 25, "main_metric": ["nearest_token_held_out", share]}


def _features(
    tower: VisionTower, split: str, seed: int, blocks: range, out: Attempt
) -> Iterator[tuple[Tensor, Tensor]]:
    """Patch features ``[n, width]`` and the tokens of the glyphs of each patch ``[n, slots]``, a block at a time."""
    import torch

    from toy.towers.glyphs import glyph_sheets
    from toy.towers.language import NOTHING
    from toy.towers.textcards import BLANK, GLYPH_TOKENS
    from toy.towers.vision import patchify

    for number, index in enumerate(blocks):
        out.events.progress(number, len(blocks), f"{split} sheets of 25")
        images, labels = glyph_sheets(split, seed, index, 25)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
        with torch.no_grad():
            features = tower(patchify(pixels, tower.config.patch_size), torch.tensor([labels.shape[1:3]] * len(images)))
        tokens = torch.from_numpy(GLYPH_TOKENS[labels]).flatten(0, 2)
        tokens[tokens[:, 0] == NOTHING, 0] = BLANK
        yield features, tokens
