"""Our layout against the released one, and our decoding against ``transformers`` generate, on this machine.

    python -m benchmarks.model [vision|generate] [--size small|layer]

* vision: tower + resampler on a document page in 9+1 slices, a photo and 12 frames (two packages of six). ``small``
  keeps the released proportions (heads of 72 channels, view lengths, tower to resampler cost) at a quarter of the width
  and depth; ``layer`` is one layer at the released width.
* generate: greedy decoding of equal prompts without an end token, same tokens asserted.

Floors (issue 6): vision at least 1.5 times the padded layout; generate at least as fast at batch 1 and 16. Equal
outputs are asserted before anything is timed; turns, CPU seconds and ratios as in ``benchmarks/harness.py``.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from transformers import Qwen3ForCausalLM

from benchmarks.harness import Bar, Contestant, Meter, Outcome, compare, finish
from benchmarks.padded import padded_visual
from model.config import LanguageConfig, ModelConfig, SliceConfig, VisionConfig
from model.decode import generate
from model.images import cut, patchify
from model.minicpmv import MiniCPMV, language_config
from model.pack import Encoded
from model.resampler import Resampler, init_resampler
from model.vision import VisionTower, init_vision

VISION_FLOOR, GENERATE_FLOOR = 1.5, 1.0
SIZES = {
    "small": (VisionConfig(hidden_size=288, num_hidden_layers=7, num_attention_heads=4, intermediate_size=1076), 512),
    "layer": (VisionConfig(hidden_size=1152, num_hidden_layers=1, num_attention_heads=16, intermediate_size=4304), 512),
}


def measured(work: Callable[[], object], counts: dict[str, int]) -> Callable[[], Outcome]:
    """A contestant of this process."""

    def run() -> Outcome:
        gc.collect()
        with Meter() as meter:
            work()
        return Outcome(counts, meter.usage)

    return run


def mixed_batch() -> tuple[Tensor, list[tuple[int, int]], list[tuple[int, ...]]]:
    """Patches, sizes and packages of the page, the photo and the frames."""
    torch.manual_seed(0)
    page, photo, frame = (
        Image.effect_noise(size, 60).convert("RGB") for size in ((1344, 1344), (640, 480), (854, 480))
    )
    views = []
    for image, limit in ((page, 9), (photo, 9), *[(frame, 1)] * 12):
        views += [patchify(view, 14) for view in cut(image, SliceConfig(max_slice_nums=limit))[0]]
    frames = tuple(range(0, 120, 10))
    packages: list[tuple[int, ...]] = [(-1,)] * (len(views) - 12) + [frames[:6], frames[6:]]
    return torch.cat([view.patches for view in views]), [(view.rows, view.cols) for view in views], packages


def vision(size: str, rounds: int, dtype: torch.dtype) -> int:
    """Prints the figures; 1 when the floor was missed."""
    config, width = SIZES[size]
    tower, resampler = VisionTower(config).eval(), Resampler(64, width, config.hidden_size)
    generator = torch.Generator().manual_seed(0)
    init_vision(tower, generator)
    init_resampler(resampler, generator)
    patches, sizes, packages = mixed_batch()
    tower, resampler, patches = tower.to(dtype), resampler.to(dtype), patches.to(dtype)
    tgt = torch.tensor(sizes)
    counts = {"views": len(sizes), "packages": len(packages), "patches": len(patches)}

    def ours() -> Tensor:
        return resampler(tower(patches, tgt), tgt, packages)

    def theirs() -> Tensor:
        return padded_visual(tower, resampler, patches, sizes, packages)

    with torch.inference_mode():
        difference = (ours().float() - theirs().float()).abs().max().item()
        assert difference < (1e-4 if dtype == torch.float32 else 0.3), difference
        rows = compare(
            [Contestant("packed", measured(ours, counts), f"largest difference {difference:.1e}"),
             Contestant("padded, as released", measured(theirs, counts))],
            "views", {"views": 25, "packages": 15, "patches": 25688}, rounds,
        )  # fmt: skip
    bar = Bar("views per core-second against the padded layout", rows[0].over(rows[1]), ">=", VISION_FLOOR)
    return finish(f"vision {size} {str(dtype).removeprefix('torch.')}", rows, [bar], "views")


def decoder_config() -> ModelConfig:
    """29M parameters: large enough that the layers, not Python alone, take the time."""
    language = LanguageConfig(
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=1536,
        vocab_size=4096,
        max_position_embeddings=4096,
    )
    tower = VisionConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32)
    return ModelConfig(language=language, vision=tower)


def decoding(batch: int, rounds: int, new: int, prompt: int = 128) -> int:
    """Prints the figures; 1 when the floor was missed."""
    torch.manual_seed(0)
    model = MiniCPMV(decoder_config()).eval()
    plain = Qwen3ForCausalLM(language_config(model.config.language)).eval()
    plain.generation_config.eos_token_id = None
    plain.set_attn_implementation("sdpa")
    plain.load_state_dict(model.llm.state_dict())
    ids = torch.randint(0, model.config.language.vocab_size, (batch, prompt))
    samples = [Encoded(row, torch.full_like(row, -100)) for row in ids]

    def ours() -> list[list[int]]:
        return [list(row[0].token_ids) for row in generate(model, samples, max_new_tokens=new, eos_ids=())]

    def theirs() -> list[list[int]]:
        out = plain.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        return [row[prompt:].tolist() for row in out]

    with torch.inference_mode():
        mine, reference = ours(), theirs()
        assert all(len(row) == new for row in (*mine, *reference))
        assert mine == reference, "greedy tokens differ"
        counts = {"tokens": batch * new}
        rows = compare(
            [Contestant("cookhouse", measured(ours, counts)), Contestant("transformers", measured(theirs, counts))],
            "tokens", counts, rounds,
        )  # fmt: skip
    bar = Bar(f"tokens per core-second at batch {batch}", rows[0].over(rows[1]), ">=", GENERATE_FLOOR)
    return finish(f"generate, batch {batch}", rows, [bar], "tokens")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", choices=["vision", "generate"])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    code = 0
    if options.part in (None, "vision"):
        code |= vision(options.size, options.rounds, getattr(torch, options.dtype))
    if options.part in (None, "generate"):
        code |= decoding(1, 2 * options.rounds + 1, 64)
        code |= decoding(16, 2 * options.rounds + 1, 32)
    return code


if __name__ == "__main__":
    sys.exit(main())
