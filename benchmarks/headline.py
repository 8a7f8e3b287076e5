"""The paper's headline: time to the first token and peak memory on a video, 3D packages against Qwen2.5-VL.

    python -m benchmarks.headline [--size small|8b] [--frames 96 384]

Both sides get the same frames (random pixels, prepared beforehand), a decoder of the same width and depth, random
weights, and SDPA attention; each runs in a process of its own. Ours packs six frames into one package of visual tokens;
Qwen2.5-VL (transformers) merges two frames and 2x2 patches. The paper reports 8.7 % of the time and 46.7 % of the memory
over a whole run of Video-MME on 8 A100; here only time to first token is measured, at equal frames and resolution.

``small`` keeps the released proportions at an eighth of the widths (224x224 pixels and 16 tokens a package, so that
visual tokens stay 1 : 12) and runs on a CPU. ``8b`` is the released size in bfloat16 and wants one GPU of 80 GB.
Time is CPU seconds on a CPU, wall seconds between synchronisations on a GPU. Memory is the peak above the bare
interpreter (weights, inputs, activations, cache); on a GPU what the allocator held at its peak.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Contestant, Meter, compare, emit, finish, run_command

PAPER_TIME, PAPER_MEMORY = 0.087, 0.467
QUESTION = 24  # tokens of text


@dataclass(frozen=True)
class Size:
    """``side``: patches along a frame; ``queries``: tokens of a package; towers as (width, layers, heads, mlp)."""

    language: dict[str, Any]
    side: int
    queries: int
    ours: tuple[int, int, int, int]
    theirs: tuple[int, int, int, int]
    full_attention: tuple[int, ...]


SIZES = {
    "small": Size(
        {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 1,
         "intermediate_size": 1536, "vocab_size": 4096},
        16, 16, (144, 4, 2, 538), (160, 5, 2, 428), (4,),
    ),
    "8b": Size(
        {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
         "intermediate_size": 12288, "vocab_size": 151748},
        32, 64, (1152, 27, 16, 4304), (1280, 32, 16, 3420), (7, 15, 23, 31),
    ),
}  # fmt: skip


def build_ours(size: Size, frames: int, device: str, dtype: Any) -> tuple[Any, int]:
    """(a call that gives the first token, visual tokens)."""
    import torch

    from model.config import LanguageConfig, ModelConfig, VisionConfig
    from model.decode import generate
    from model.minicpmv import MiniCPMV
    from model.pack import Encoded
    from model.resampler import init_resampler

    width, layers, heads, mlp = size.ours
    config = ModelConfig(
        language=LanguageConfig(**size.language, head_dim=128, max_position_embeddings=131072),
        vision=VisionConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=mlp
        ),
        query_num=size.queries,
    )
    with torch.device(device):
        model = MiniCPMV(config).eval()
    init_resampler(model.resampler, torch.Generator(device).manual_seed(0))
    packages = tuple(tuple(range(start, min(start + 6, frames))) for start in range(0, frames, 6))
    span = size.queries + 3  # <image>, </image> and the newline
    bounds = torch.tensor([(index * span + 1, index * span + 1 + size.queries) for index in range(len(packages))])
    ids = torch.randint(0, 4000, (len(packages) * span + QUESTION,))
    sample = Encoded(
        ids,
        torch.full_like(ids, -100),
        torch.randn(frames * size.side**2, 588).to(dtype),
        torch.full((frames, 2), size.side),
        packages,
        bounds,
    )
    return lambda: generate(model, [sample], max_new_tokens=1, eos_ids=()), len(packages) * size.queries


def build_theirs(size: Size, frames: int, device: str, dtype: Any) -> tuple[Any, int]:
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    width, layers, heads, mlp = size.theirs
    video, start, end = 4001, 4002, 4003
    config = Qwen2_5_VLConfig(
        text_config={
            **size.language,
            "max_position_embeddings": 131072,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={
            "hidden_size": width,
            "depth": layers,
            "num_heads": heads,
            "intermediate_size": mlp,
            "out_hidden_size": size.language["hidden_size"],
            "fullatt_block_indexes": list(size.full_attention),
        },
        video_token_id=video,
        image_token_id=4000,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
    config._attn_implementation = "sdpa"
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    tokens = frames // 2 * (size.side // 2) ** 2
    text = torch.randint(0, 4000, (QUESTION,))
    ids = torch.cat([torch.tensor([start]), torch.full((tokens,), video), torch.tensor([end]), text])[None].to(device)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.randn(frames // 2 * size.side**2, 1176).to(device, dtype),
        "video_grid_thw": torch.tensor([[frames // 2, size.side, size.side]], device=device),
        "mm_token_type_ids": 2 * (ids == video).int(),
    }
    return lambda: model.generate(**inputs, max_new_tokens=1, do_sample=False, pad_token_id=0), tokens


def child(side: str, size: str, frames: int) -> None:
    """One contestant: build, one call on two frames to warm up, measure the call."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_default_dtype(dtype)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build = build_ours if side == "ours" else build_theirs
    with torch.inference_mode():
        build(SIZES["small"], 12, device, dtype)[0]()  # libraries load, kernels are chosen
        bare = _resident()
        first_token, visual = build(SIZES[size], frames, device, dtype)
        _reset_peak()
        with Meter() as meter:
            first_token()
            if device == "cuda":
                torch.cuda.synchronize()
    seconds = meter.usage.wall_s if device == "cuda" else meter.usage.cpu_s
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM") - bare
    emit({"videos": 1, "frames": frames}, meter.usage, {"visual": visual, "seconds": seconds, "peak": peak})


def _status(name: str) -> int:
    """A line of ``/proc/self/status`` in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _resident() -> int:
    return _status("VmRSS")


def _reset_peak() -> None:
    import torch

    Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--frames", type=int, nargs="+", default=[96, 384])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.size, options.frames[0])
        return 0
    code = 0
    for frames in options.frames:

        def run(side: str, frames: int = frames) -> Any:
            command = [sys.executable, "-m", "benchmarks.headline", "--child", side, "--size", options.size]
            return run_command([*command, "--frames", str(frames)])

        rows = compare(
            [
                Contestant("3D packages of six", lambda run=run: run("ours")),  # type: ignore[misc]
                Contestant("Qwen2.5-VL (transformers)", lambda run=run: run("theirs")),  # type: ignore[misc]
            ],
            "videos",
            {"videos": 1, "frames": frames},
            options.rounds,
        )
        ours, theirs = (row.figures for row in rows)
        for row in rows:
            peak = row.figures["peak"] / 2**20
            print(
                f"{row.name}: {row.figures['visual']:.0f} visual tokens, {row.figures['seconds']:.2f} s, {peak:.0f} MiB"
            )
        bars = [
            Bar("time to first token against Qwen2.5-VL", ours["seconds"] / theirs["seconds"], "<=", PAPER_TIME),
            Bar("peak memory against Qwen2.5-VL", ours["peak"] / theirs["peak"], "<=", PAPER_MEMORY),
        ]
        code |= finish(f"headline {options.size}, {frames} frames", rows, bars, "videos")
    return code


if __name__ == "__main__":
    sys.exit(main())
