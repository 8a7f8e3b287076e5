"""The whole model: tower -> resampler -> rows written into the text embeddings -> Qwen3 -> logits where needed.

A training step sees one ``Pack``. The visual rows overwrite the embeddings of their placeholders in a fresh tensor (an
in-place scatter would cut the gradient), each sample attends to itself only, and the output head runs only at positions
whose *next* token is supervised: at a vocabulary of 151,748 the head on prompts would cost more than the attention.

Shapes (T tokens of a pack, K supervised): input_ids ``[T]`` -> inputs_embeds ``[T, D]`` -> hidden ``[T, D]`` ->
logits ``[K, vocabulary]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from model.attention import LANGUAGE_ATTENTION, Blocks, Kernel
from model.config import LanguageConfig, ModelConfig
from model.pack import IGNORE, IMAGE_VIEW, Encoded, Pack, pack
from model.resampler import Resampler
from model.vision import VisionTower

VISUAL_RUN = 16_384  # patches; 16 views of 448x448 pixels


@dataclass(frozen=True)
class Supervised:
    """Predictions at the positions whose next token is supervised, in the order of the pack.

    logits ``[K, vocabulary]``, targets ``[K]`` (the next token), sample ``[K]`` (index of the sample in the pack),
    positions ``[K]`` (index of the target token in the pack).
    """

    logits: Tensor
    targets: Tensor
    sample: Tensor
    positions: Tensor

    def logprobs(self) -> Tensor:
        """log p(target), ``[K]`` in float32."""
        return -F.cross_entropy(self.logits.float(), self.targets, reduction="none")


def language_config(config: LanguageConfig) -> Qwen3Config:
    """Our record as a transformers configuration, with the packed attention selected."""
    qwen = Qwen3Config(
        **config.model_dump(exclude={"rope_theta"}),
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        hidden_act="silu",
        attention_bias=False,
        use_sliding_window=False,
    )
    qwen._attn_implementation = LANGUAGE_ATTENTION
    return qwen


def _runs(pack: Pack) -> Iterator[tuple[Tensor, Tensor, tuple[tuple[int, ...], ...]]]:
    """Patches, sizes and packages in runs of whole packages, each of at most ``VISUAL_RUN`` patches (or one package)."""
    lengths = pack.tgt_sizes.prod(1).tolist()
    view, taken = 0, 0
    run: list[tuple[int, ...]] = []
    first_view = first_patch = 0
    for package in pack.packages:
        size = sum(lengths[view : view + len(package)])
        if run and taken + size > VISUAL_RUN:
            yield pack.patches[first_patch : first_patch + taken], pack.tgt_sizes[first_view:view], tuple(run)
            first_patch, first_view, taken, run = first_patch + taken, view, 0, []
        run.append(package)
        view, taken = view + len(package), taken + size
    yield pack.patches[first_patch:], pack.tgt_sizes[first_view:], tuple(run)


class MiniCPMV(nn.Module):
    """``forward(pack) -> Supervised``. Parts: ``llm`` (Qwen3ForCausalLM), ``vpm``, ``resampler``."""

    given: Tensor | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.llm = Qwen3ForCausalLM(language_config(config.language))
        self.vpm = VisionTower(config.vision)
        self.resampler = Resampler.of(config)

    @property
    def device(self) -> torch.device:
        return self.llm.lm_head.weight.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MiniCPMV:
        """``to``, ``bfloat16`` and friends; the frequencies of the rotary positions stay float32, as they do wherever a
        checkpoint is loaded in 16 bits (rounded, position 1,000 would be off by several)."""
        super()._apply(fn, recurse)
        old = self.llm.model.rotary_emb
        if old.inv_freq.dtype != torch.float32:
            self.llm.model.rotary_emb = Qwen3RotaryEmbedding(self.llm.config).to(old.inv_freq.device)
        return self

    def set_attention(self, kernel: Kernel) -> None:
        """Of tower, resampler and packs in the decoder (``model/attention.py``); decoding steps always use SDPA."""
        self.vpm.attention = self.resampler.attention = kernel

    def blocks(self, pack: Pack) -> Blocks:
        """The samples of a pack as attention blocks; lengths up to a quarter apart share a group."""
        return Blocks.of(pack.lengths, self.device, slack=0.25, kernel=self.vpm.attention)

    def visual(self, pack: Pack) -> Tensor:
        """``[G, Q, D]`` of all image views and video packages. Without gradients long videos go through in runs of at most
        ``VISUAL_RUN`` patches, so that memory does not grow with their length."""
        if self.given is not None:
            return self.given.unflatten(0, (-1, self.config.query_num))
        if torch.is_grad_enabled() or len(pack.patches) <= VISUAL_RUN:
            return self._visual(pack.patches, pack.tgt_sizes, pack.packages)
        return torch.cat([self._visual(*run) for run in _runs(pack)])

    def _visual(self, patches: Tensor, sizes: Tensor, packages: tuple[tuple[int, ...], ...]) -> Tensor:
        return self.resampler(self.vpm(patches, sizes), sizes, packages)

    @contextmanager
    def giving(self, rows: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the pictures of the next pack are these rows (in the order of its samples), not computed."""
        self.given = torch.cat(list(rows))
        try:
            yield
        finally:
            self.given = None

    @torch.no_grad()
    def visual_rows(self, samples: Sequence[Encoded]) -> list[Tensor]:
        """Resampler rows ``[V, D]`` of each sample, all samples in one pass; ``V`` is 0 for text alone."""
        counts = [int((sample.image_bound[:, 1] - sample.image_bound[:, 0]).sum()) for sample in samples]
        joined = pack(samples).to(self.device, self.llm.lm_head.weight.dtype)
        if not joined.packages:
            return [torch.zeros(0, self.config.language.hidden_size)] * len(samples)
        # A view would pickle them all.
        return [part.clone() for part in self.visual(joined).flatten(0, 1).split(counts)]

    def embed(self, pack: Pack) -> Tensor:
        """inputs_embeds ``[T, D]`` with visual rows in place of the placeholders; ValueError when they differ in number. In
        training a pack without pictures still sends one blank patch through tower and resampler, with weight 0: gradients
        then exist on every rank (ZeRO aborts or hangs otherwise)."""
        text = self.llm.model.embed_tokens(pack.input_ids)
        if not pack.packages:
            if not self.training:
                return text
            blank = self._visual(
                text.new_zeros(1, self.config.vision.patch_dim), torch.ones(1, 2).long(), (IMAGE_VIEW,)
            )
            return text + 0.0 * blank.sum().to(text.dtype)
        rows = self.visual(pack).flatten(0, 1)
        if len(rows) != len(pack.visual_positions):
            raise ValueError(f"{len(rows)} visual rows for {len(pack.visual_positions)} placeholders")
        return text.index_copy(0, pack.visual_positions, rows.to(text.dtype))

    def hidden(self, pack: Pack, rows: Tensor | None = None, cache: object | None = None) -> Tensor:
        """Last hidden states ``[T, D]``, each sample attending to itself only; of ``rows`` ``[K]`` (positions in the
        pack) alone ``[K, D]``. ``cache``: see ``model/decode.py``."""
        blocks = self.blocks(pack)
        if rows is not None and blocks.back is not None:
            rows = blocks.back.index_select(0, rows)
        embeds, positions = blocks.gather(self.embed(pack))[None], blocks.gather(pack.position_ids)[None]
        states = self.decode(embeds, positions, rows, past_key_values=cache, blocks=blocks)
        return states if rows is not None else blocks.restore(states)

    def decode(self, embeds: Tensor, positions: Tensor, rows: Tensor | None = None, **attention: object) -> Tensor:
        """``[B, L, D]`` and positions ``[B, L]`` through the decoder and its last norm -> ``[B * L, D]``, or of ``rows``
        ``[K]`` of the flattened B * L alone ``[K, D]``: what follows the last attention is computed for these only (the
        same numbers; with a quarter of the tokens supervised about a tenth of the decoder's work).

        ``attention`` goes to every layer (``blocks``, ``attention_mask``, ``past_key_values``).
        """
        decoder = self.llm.model
        attention["position_embeddings"] = decoder.rotary_emb(embeds, positions)
        *layers, last = decoder.layers
        states = embeds
        for layer in layers:
            states = layer(states, **attention)
        attended, _ = last.self_attn(last.input_layernorm(states), **{"attention_mask": None, **attention})
        states = (states + attended).flatten(0, 1)
        if rows is not None:
            states = states.index_select(0, rows)
        return decoder.norm(states + last.mlp(last.post_attention_layernorm(states)))

    def forward(self, pack: Pack) -> Supervised:
        kept = pack.labels != IGNORE
        kept[pack.cu_seqlens[:-1].to(kept.device)] = False  # the first token of a sample follows nothing
        positions = kept.nonzero()[:, 0]
        logits = self.llm.lm_head(self.hidden(pack, positions - 1))
        ends = pack.cu_seqlens[1:].to(positions.device)
        return Supervised(logits, pack.labels[positions], torch.bucketize(positions, ends, right=True), positions)
