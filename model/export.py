"""A checkpoint as the released repository lays it out, for everything that opens that repository.

    config.json                    released fields, auto_map to the published modelling code, ours under "cookhouse"
    model-0000i-of-0000n.safetensors, model.safetensors.index.json
    generation_config.json, preprocessor_config.json
    tokenizer.json, tokenizer_config.json, vocab.json, merges.txt, added_tokens.json, special_tokens_map.json

Names and shapes are those of ``reference/paper.md`` 2.2; ``problems`` proves it against a released index. The modelling
files themselves are not copied: ``auto_map`` names them in the published repository, so loading there needs
``trust_remote_code=True`` and a network (or the files beside the weights).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from model.chat import TOOLS_HEAD, TOOLS_SHAPE, TOOLS_TAIL
from model.checkpoint import CONFIG, PREPROCESSOR, empty_model, load_config, preprocessor
from model.config import ModelConfig
from model.tokenizer import ROLES, load_tokenizer, special_ids
from model.weights import INDEX, read_weights
from pipelines.core.errors import ConfigError, DataError

PUBLISHED = "openbmb/MiniCPM-V-4_5"
GIB = 1 << 30
# The chat format for programs that know only templates: ``model/chat.py`` is the definition. User text is not protected
# here (a template sees one string): only our processor keeps ``<|im_end|>`` typed by a user as letters.
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
for _name, _text in (("HEAD", TOOLS_HEAD), ("TAIL", TOOLS_TAIL), ("SHAPE", TOOLS_SHAPE)):
    CHAT_TEMPLATE = CHAT_TEMPLATE.replace(_name, repr(_text))
_LAYER = re.compile(r"\.layers\.(\d+)\.")


def export_model(source: str | Path, target: str | Path, dtype: torch.dtype, shard_bytes: int = 5 * GIB) -> list[Path]:
    """Write the folder ``source`` (any layout ``load_model`` reads) to ``target``; returns the files written. Memory: one
    shard. Raises ConfigError when ``target`` already holds a model, DataError when the weights do not fit."""
    config, folder = load_config(source), Path(target)
    if (folder / CONFIG).exists():
        raise ConfigError("there is a model already", where=str(folder), do="give a new folder, or delete this one")
    tokenizer, state = load_tokenizer(source), read_weights(source)
    fits(config, {name: tuple(tensor.shape) for name, tensor in state.items()}, str(source))
    folder.mkdir(parents=True, exist_ok=True)
    _write_shards(folder, state, dtype, shard_bytes)
    _write_tokenizer(folder, tokenizer)
    _json(folder / "generation_config.json", generation_config(config, tokenizer))
    _json(folder / PREPROCESSOR, preprocessor(config) | {"auto_map": _PROCESSORS})
    _json(
        folder / CONFIG,
        {"_name_or_path": PUBLISHED, **config.to_released()}
        | {"auto_map": _MODELS, "torch_dtype": str(dtype).removeprefix("torch."), "transformers_version": "4.51.0"},
    )
    return sorted(path for path in folder.iterdir() if path.is_file())


def fits(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises DataError unless names and shapes are exactly those of a model of this configuration."""
    if wrong := _unfit(config, shapes):
        raise DataError(
            f"{len(wrong)} tensors do not fit config.json",
            where=where,
            why=f"first: {wrong[0]}",
            do="check that config.json and the weights are of the same model",
        )


def _unfit(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    wanted = expected(config)
    return [
        f"{name} is {shapes.get(name, 'missing')}, the model has {wanted.get(name, 'no such tensor')}"
        for name in sorted(wanted.keys() | shapes.keys())
        if wanted.get(name) != shapes.get(name)
    ]


def expected(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor a checkpoint of this configuration holds."""
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}
    if config.language.tie_word_embeddings:
        del shapes["llm.lm_head.weight"]
    return shapes


def problems(folder: str | Path, released: str | Path | None = None) -> list[str]:
    """What is wrong with an exported folder, in sentences: every tensor the index names must lie in its shard, in the shape
    the configuration asks for, and the sizes add up. With ``released`` (the published ``model.safetensors.index.json``)
    the names must also be the released ones: all of them for a model of the released size, else those of a layer."""
    where = Path(folder)
    config, index = load_config(where), _index(where / INDEX)
    found: dict[str, tuple[int, ...]] = {}
    wrong, total = [], 0
    for shard in sorted(set(index["weight_map"].values())):
        with safe_open(where / shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                found[name] = tuple(tensor.shape)
                total += tensor.nbytes
                if index["weight_map"].get(name) != shard:
                    wrong.append(f"{name} lies in {shard}, the index says {index['weight_map'].get(name, 'nothing')}")
    wrong += [
        f"the index names {name}, no shard holds it" for name in sorted(index["weight_map"].keys() - found.keys())
    ]
    wrong += _unfit(config, found)
    if total != index["metadata"]["total_size"]:
        wrong.append(f"the tensors have {total} bytes, the index says {index['metadata']['total_size']}")
    if released is not None:
        wrong += _against(found.keys(), _index(Path(released))["weight_map"].keys(), config)
    return wrong


def _against(names: Iterable[str], released: Iterable[str], config: ModelConfig) -> list[str]:
    ours, theirs = set(names), set(released)
    counts = [
        len({match[1] for name in theirs if name.startswith(part) and (match := _LAYER.search(name))})
        for part in ("llm.", "vpm.")
    ]
    if counts != [config.language.num_hidden_layers, config.vision.num_hidden_layers]:
        ours, theirs = ({_LAYER.sub(".layers.*.", name) for name in all_names} for all_names in (ours, theirs))
    if config.language.tie_word_embeddings:
        theirs -= {"llm.lm_head.weight"}
    return [f"not in the released index: {name}" for name in sorted(ours - theirs)] + [
        f"only in the released index: {name}" for name in sorted(theirs - ours)
    ]


def generation_config(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = special_ids(tokenizer)
    return {
        "bos_token_id": config.language.bos_token_id,
        "eos_token_id": list(ids.eos),
        "pad_token_id": ids["<|endoftext|>"],
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "chat_template_kwargs": {"enable_thinking": False},
        "transformers_version": "4.51.0",
    }


_MODELS = {
    "AutoConfig": f"{PUBLISHED}--configuration_minicpm.MiniCPMVConfig",
    "AutoModel": f"{PUBLISHED}--modeling_minicpmv.MiniCPMV",
    "AutoModelForCausalLM": f"{PUBLISHED}--modeling_minicpmv.MiniCPMV",
}
_PROCESSORS = {
    "AutoProcessor": f"{PUBLISHED}--processing_minicpmv.MiniCPMVProcessor",
    "AutoImageProcessor": f"{PUBLISHED}--image_processing_minicpmv.MiniCPMVImageProcessor",
}


def _write_shards(folder: Path, state: Mapping[str, Tensor], dtype: torch.dtype, shard_bytes: int) -> None:
    """Shards of at most ``shard_bytes`` (a larger tensor has one of its own), then the index."""
    size = torch.empty(0, dtype=dtype).element_size()
    shards: list[list[str]] = [[]]
    filled = 0
    for name in sorted(state):
        needed = state[name].numel() * size
        if shards[-1] and filled + needed > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += needed
    where: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: state[name].to(dtype).contiguous() for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
    total = sum(tensor.numel() for tensor in state.values()) * size
    _json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})


def _write_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """``tokenizer.json`` and the files the released tokenizer class reads."""
    tokenizer.save_pretrained(folder)
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json, merges.txt
    added = sorted((token["id"], token["content"]) for token in core["added_tokens"])
    _json(folder / "added_tokens.json", {name: id_ for id_, name in added if name not in core["model"]["vocab"]})
    roles = {name: getattr(tokenizer, name) for name in ROLES}
    special = [token["content"] for token in core["added_tokens"] if token["special"]]
    _json(folder / "special_tokens_map.json", {**roles, "additional_special_tokens": special})
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in core["added_tokens"]}
    settings |= {
        "tokenizer_class": "MiniCPMVTokenizerFast",
        "auto_map": {"AutoTokenizer": [f"{PUBLISHED}--tokenization_minicpmv_fast.MiniCPMVTokenizerFast", None]},
        "added_tokens_decoder": decoder,
        "additional_special_tokens": special,
        "chat_template": tokenizer.chat_template or CHAT_TEMPLATE,
        **roles,
    }
    _json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").unlink(missing_ok=True)  # it stands in tokenizer_config.json, as released


def _index(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError("there is no index of tensors", where=str(path), do="give a model.safetensors.index.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
