"""Stages ``vision_backbone``, ``language_backbone`` and ``bridge``, which make the towers ``recipe=tiny`` starts from and
the map between them, and ``reading_start``, which makes the resampler's first weights of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from model.config import ModelConfig, VisionConfig
from pipelines.core.identity import ExternalFile, Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from torch import Tensor

    from model.pack import Pack
    from model.vision import VisionTower

SHEETS = 24
"""Glyph sheets in a pack that is measured or fitted on, and text cards in one."""
UNSEEN = 100_000
"""Number of the first pack that the bridge is fitted on: the tower has not learned on it."""


tower_stage = partial(stage, deterministic="numbers", uses_ray=False, limit=False, needs="train")


class Backbone(StageConfig):
    """``batch`` examples a step."""

    model: Identity[ModelConfig]
    steps: Identity[int]
    batch: Identity[int]
    lr: Identity[float]
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    seed: Identity[int] = 0


class VisionBackbone(Backbone):
    """Glyph sheets -> tower. ``test_packs`` of 24 sheets in held-out faces and words measure it."""

    steps: Identity[int] = 6000
    batch: Identity[int] = 24
    lr: Identity[float] = 1.5e-3
    test_packs: Identity[int] = 20


@tower_stage("vision_backbone", code_version=2, engines=("torch", "pymupdf"))
def train_vision_backbone(config: VisionBackbone, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``vision.safetensors`` holds the tower under its released names (``vpm.*``) in bfloat16."""
    from toy.towers.training import learn, save_part
    from toy.towers.vision import GlyphReader, glyph_accuracy, glyph_loss, sheet_pack

    vision = config.model.vision

    def draw(step: int) -> Pack:
        return sheet_pack(vision, "train", config.seed, step, config.batch)

    engine = learn(GlyphReader(vision, config.seed), "vision", draw, config, out, loss=glyph_loss)
    held = (sheet_pack(vision, "test", config.seed, n, SHEETS, clean=True) for n in range(config.test_packs))
    accuracy = glyph_accuracy(engine, held)
    save_part(engine, "vpm.", out.dir / "vision.safetensors")
    return _told(config, out, {"glyph_accuracy_held_out": accuracy}, "glyph_accuracy_held_out")


class LanguageBackbone(Backbone):
    """Generated text -> decoder. ``question_share`` of the sequences are questions about text cards, some plain
    sentences and sums, the rest text cards to read. With an input ``start`` training goes on from another decoder."""

    steps: Identity[int] = 4000
    batch: Identity[int] = 48
    lr: Identity[float] = 2e-3
    question_share: Identity[float] = 0.5
    test_cards: Identity[int] = 500


@tower_stage(
    "language_backbone", code_version=3, optional_inputs=("start",), engines=("torch", "transformers", "pymupdf")
)
def train_language_backbone(config: LanguageBackbone, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``language.safetensors`` holds the decoder under its released names (``llm.*``) in bfloat16."""
    import torch

    from model.processor import Processor
    from model.starting import language_state
    from model.tokenizer import build_byte_tokenizer
    from pipelines.core.seeds import generator
    from toy.towers.language import CardPack, CardReader, answers_right, card_pack
    from toy.towers.textcards import FORMS, TextCards
    from toy.towers.training import learn, save_part

    torch.manual_seed(config.seed)
    model = CardReader(config.model)
    if start := inputs.optional("start"):
        model.llm.load_state_dict(language_state(start.path("language.safetensors"), config.model.language))
    processor = Processor(config.model, build_byte_tokenizer(out.scratch / "tokenizer"))
    cards = TextCards(processor, config.question_share)
    width = config.model.language.hidden_size

    def draw(step: int) -> CardPack:
        rng = generator("text cards", config.seed, step)
        return card_pack([cards.example(rng) for _ in range(config.batch)], width, rng)

    engine = learn(model, "language", draw, config, out)
    figures: dict[str, float] = {}
    for form in FORMS:
        held = list(cards.held_out(form, config.test_cards))
        packs = (card_pack(held[at : at + SHEETS], width) for at in range(0, len(held), SHEETS))
        tokens, whole = answers_right(engine, packs)
        figures |= {f"{form}_tokens_held_out": tokens, f"{form}_whole_held_out": whole}
    save_part(engine, "llm.", out.dir / "language.safetensors")
    return _told(config, out, figures, "short_whole_held_out")


class Bridge(StageConfig):
    """Two towers -> the linear map between them, fitted on ``packs`` of 24 glyph sheets the tower was not trained on."""

    vision: Identity[VisionConfig]
    packs: Identity[int] = 36
    test_packs: Identity[int] = 10
    ridge: Identity[float] = 1e-4
    seed: Identity[int] = 0


@tower_stage("bridge", code_version=3, inputs=("vision", "language"), engines=("torch", "pymupdf"))
def fit_tower_bridge(config: Bridge, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``bridge.safetensors`` holds ``bridge [patch width, decoder width]`` in float32."""
    import torch
    from safetensors.torch import load_file, save_file

    from model.starting import tower_state
    from model.vision import VisionTower
    from toy.towers.reading import fit_bridge, nearest_token_share
    from toy.towers.textcards import BLANK

    torch.set_num_threads(1)
    tower = VisionTower(config.vision).requires_grad_(False)
    tower.load_state_dict(tower_state(inputs.one("vision").path("vision.safetensors"), config.vision))
    language = load_file(inputs.one("language").path("language.safetensors"))
    embeddings = language["llm.model.embed_tokens.weight"].float()
    train = _features(tower, "train", config.seed, range(UNSEEN, UNSEEN + config.packs), out)
    bridge = fit_bridge(train, embeddings, BLANK, config.ridge)
    held = zip(*_features(tower, "test", config.seed, range(config.test_packs), out), strict=True)
    features, tokens = (torch.cat(part) for part in held)
    share = nearest_token_share(bridge, features, tokens, embeddings, BLANK)
    save_file({"bridge": bridge.contiguous()}, out.dir / "bridge.safetensors")
    return {"samples": config.packs * SHEETS, "main_metric": ["nearest_token_held_out", share]}


class ReadingStart(StageConfig):
    """``bridge``: the map between the towers; ``language``: the decoder whose embeddings it aims at; ``seed``: that of the
    published initialisation underneath."""

    model: Identity[ModelConfig]
    language: Identity[ExternalFile]
    bridge: Identity[ExternalFile]
    seed: Identity[int] = 0


@tower_stage("reading_start", code_version=1, engines=("torch",))
def make_reading_start(config: ReadingStart, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """``start.safetensors`` holds the resampler under its released names (``resampler.*``) in float32."""
    import torch
    from safetensors.torch import load_file, save_file

    from model.resampler import Resampler
    from toy.towers.reading import init_reading

    torch.set_num_threads(1)
    resampler = Resampler.of(config.model)
    embeddings = load_file(config.language.locate())["llm.model.embed_tokens.weight"].float()
    init_reading(resampler, config.seed, load_file(config.bridge.locate())["bridge"].float(), embeddings)
    tensors = {f"resampler.{name}": tensor.contiguous() for name, tensor in resampler.state_dict().items()}
    save_file(tensors, out.dir / "start.safetensors")
    return {"samples": len(tensors), "main_metric": ["tensors", len(tensors)]}


def _told(config: Backbone, out: Attempt, figures: dict[str, float], main: str) -> dict[str, Any]:
    """The statistics of a tower's step; its figures become metrics."""
    named = {f"eval/{name}": value for name, value in figures.items()}
    out.events.metrics(config.steps, named)
    return {
        "samples": config.steps * config.batch,
        "optimizer_steps": config.steps,
        "main_metric": [main, figures[main]],
        "metrics": named,
    }


def _features(tower: VisionTower, split: str, seed: int, packs: range, out: Attempt) -> Iterator[tuple[Tensor, Tensor]]:
    """Patch features ``[n, width]`` and the tokens of the glyphs of each patch ``[n, slots]``, a pack at a time."""
    from toy.towers.textcards import patch_tokens
    from toy.towers.vision import sheet_pack

    for number, index in enumerate(packs):
        out.events.progress(number, len(packs), f"{split} packs of {SHEETS}")
        pack = sheet_pack(tower.config, split, seed, index, SHEETS, clean=True)
        yield tower(pack.patches, pack.tgt_sizes), patch_tokens(pack.labels)
