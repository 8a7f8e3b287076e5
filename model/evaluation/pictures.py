"""Visual rows of test pictures, computed once for every use of a picture.

A question is asked in two modes and of several models, and what reinforcement learning trains is mostly the decoder:
tower and resampler, half of the work of answering a short question, then give the same rows again and again. They are
computed first, in chunks of their own, and kept in a file beside the predictions while the step runs. Rows are named by
the weights that made them (the file) and by the pixels they show, so a picture that no file holds is simply computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from model.checkpoint import load_model
from model.evaluation.chunks import Pictures, Weights
from model.minicpmv import MiniCPMV
from model.pack import Encoded
from model.processor import Processor
from model.training.phases import PREFIX
from model.weights import read_weights
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.storage import put
from pipelines.shards.index import SampleRef
from pipelines.shards.read import decode_parts, pictures_shown, read_sample

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@lru_cache(maxsize=1)
def load(weights: Weights) -> tuple[MiniCPMV, Processor]:
    """The model of a folder, kept between the chunks of one process. Raises ConfigError for a GPU that is not here."""
    torch.set_num_threads(weights.threads)
    if weights.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "evaluation was given a GPU and torch finds none",
            where="steps.<evaluate>.worker_gpus",
            do="set worker_gpus: 0, or run it where CUDA is",
        )
    model, processor = load_model(weights.folder, dtype=PRECISIONS[weights.precision])
    return model.to(weights.device).eval(), processor


def visual_digest(folder: str | Path) -> str:
    """sha256 (16 hex digits) of everything a visual row depends on: tower, resampler and the configuration."""
    state = hashlib.sha256(json.dumps(json.loads((Path(folder) / "config.json").read_text()), sort_keys=True).encode())
    prefixes = (PREFIX["vision"], PREFIX["resampler"])
    for name, tensor in sorted(read_weights(Path(folder)).items()):
        if name.startswith(prefixes):
            state.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            state.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return state.hexdigest()[:16]


def pictures_of(ref: SampleRef) -> dict[str, Image.Image]:
    """The pictures of a sample by part name. Raises DataError when it holds none."""
    found = decode_parts({name: data for name, data in read_sample(ref).items() if name.endswith(("jpg", "png"))})
    if not found:
        raise DataError(
            f"test sample {ref.key!r} holds no picture", where=ref.shard, do="evaluate samples with pictures"
        )
    return found


def shown_pictures(sample: Mapping[str, object], pictures: Mapping[str, Image.Image]) -> Mapping[str, Image.Image]:
    """The pictures under the part names this sample asks for; another sample's single picture takes the single name.
    Raises DataError when that is not possible."""
    wanted = pictures_shown(sample["messages"])  # type: ignore[arg-type]
    if set(wanted) <= set(pictures):
        return {name: pictures[name] for name in wanted}
    if len(wanted) == 1 and len(pictures) == 1:
        return {wanted[0]: next(iter(pictures.values()))}
    raise DataError(f"a sample asks for pictures {wanted}, the other holds {sorted(pictures)}")


def run_pictures(chunk: Pictures) -> int:
    """Compute and write the rows of a chunk's pictures; returns how many pictures."""
    model, processor = load(chunk.weights)
    samples = [json.loads(read_sample(ref)["json"]) for ref in chunk.refs]
    pictures = [shown_pictures(sample, pictures_of(ref)) for sample, ref in zip(samples, chunk.refs, strict=True)]
    encoded = processor.encode_batch(
        [(s["messages"][:-1], images, s["mode"]) for s, images in zip(samples, pictures, strict=True)], generation=True
    )
    computed = (rows.cpu() for rows in model.visual_rows(encoded))
    rows = dict(zip(map(_pixels, pictures), computed, strict=True))
    put(Path(chunk.output), save(rows))
    return len(rows)


def rows_for(
    model: MiniCPMV,
    files: Iterable[str],
    prompts: Sequence[Encoded],
    pictures: Sequence[Mapping[str, Image.Image]],
) -> list[Tensor]:
    """Rows ``[V, D]`` of each prompt, from the files that hold them; the others are computed in one pass."""
    names = [_pixels(images) for images in pictures]
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, "pt") as rows:
            found |= {name: rows.get_tensor(name) for name in set(names).intersection(rows.keys())}
    missing = [index for index, name in enumerate(names) if name not in found]
    if missing:
        computed = model.visual_rows([prompts[index] for index in missing])
        found |= {names[index]: rows for index, rows in zip(missing, computed, strict=True)}
    return [found[name].to(model.device) for name in names]


def _pixels(pictures: Mapping[str, Image.Image]) -> str:
    """sha256 of what a sample shows, in order."""
    state = hashlib.sha256()
    for image in pictures.values():
        state.update(f"{image.mode}{image.size}".encode())
        state.update(image.tobytes())
    return state.hexdigest()
