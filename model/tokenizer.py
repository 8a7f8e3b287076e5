"""Tokenizers: the released one by path, and a small byte-level one with the same special tokens by name.

Everything else asks for special tokens by *name* (``special_ids``), so the same processor serves both vocabularies.
The byte tokenizer gives byte b the id b; special tokens follow from 256 on (``<|endoftext|>``, ``<|im_start|>``,
``<|im_end|>``, ``<unk>``, ...); merges, if any, come last, so adding merges moves no other id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from pipelines.core.errors import ConfigError

# Qwen2's split pattern: contractions, words with their leading mark, single digits, punctuation, line ends, spaces.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VISUAL = ("<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<unit>", "</unit>")
# name -> "special" in the tokenizer's sense (dropped when decoding with skip_special_tokens)
BYTE_SPECIALS: tuple[tuple[str, bool], ...] = (
    *((name, True) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISUAL)),
    *((f"<{slash}{name}>", True) for name in ("ref", "box", "quad", "point") for slash in ("", "/")),
    *((f"<{slash}{name}>", False) for name in ("think", "tool_call", "tool_response") for slash in ("", "/")),
    *((f"<|reserved_{i}|>", True) for i in range(6)),
)
ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
REQUIRED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", *VISUAL[:7])


BYTES = [letter for _, letter in sorted(bytes_to_unicode().items())]
"""The printable character that stands for each byte in byte-level vocabularies (index = byte)."""


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the control tokens by name; ``ids["<image>"]`` or the properties below."""

    by_name: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        return self.by_name[name]

    @property
    def placeholder(self) -> int:
        """``<unk>``: the visual placeholder."""
        return self.by_name["<unk>"]

    @property
    def eos(self) -> tuple[int, ...]:
        """Ids that end a completion: ``<|im_end|>`` and ``<|endoftext|>``."""
        return (self.by_name["<|im_end|>"], self.by_name["<|endoftext|>"])

    @cached_property
    def visual(self) -> tuple[int, ...]:
        """Ids a decoder must never sample: they would announce a picture that is not there."""
        return tuple(self.by_name[name] for name in VISUAL if name in self.by_name)


def special_ids(tokenizer: PreTrainedTokenizerFast) -> SpecialIds:
    """Ids of all added tokens by name. Raises ConfigError when one of ``REQUIRED`` is missing."""
    found = dict(tokenizer.get_added_vocab())
    placeholder = tokenizer.convert_tokens_to_ids("<unk>")
    if isinstance(placeholder, int):
        found["<unk>"] = placeholder
    missing = [name for name in REQUIRED if found.get(name) is None]
    if missing:
        raise ConfigError(
            f"the tokenizer has no token {', '.join(missing)}", do="use a MiniCPM-V 4.5 or cookhouse tokenizer"
        )
    return SpecialIds(found)


def build_byte_tokenizer(directory: str | Path, merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """Write and return the byte-level tokenizer: 256 bytes, 32 special tokens, then one id per merge. ``merges`` are
    pairs in the byte-level alphabet, as in ``merges.txt``."""
    vocab = {letter: value for value, letter in enumerate(BYTES)}
    vocab.update({name: 256 + i for i, (name, _) in enumerate(BYTE_SPECIALS)})
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_core(vocab, merges, BYTE_SPECIALS),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        model_max_length=131072,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(directory)
    return tokenizer


def learn_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """The ``count`` most useful merges of byte-level BPE over ``texts`` (fewer when the texts hold no more pairs that occur
    twice), for ``build_byte_tokenizer``. Same texts, same merges: ties go by the pair's own order, not by hash."""
    core = _core({letter: value for value, letter in enumerate(BYTES)}, (), ())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + count, min_frequency=2, initial_alphabet=BYTES, special_tokens=[], show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(core.to_str())["model"]["merges"]]


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerFast:
    """From ``tokenizer.json``, or the released ``vocab.json`` and ``merges.txt``. Raises ConfigError when the folder holds
    neither, or lacks the special tokens."""
    folder = Path(directory)
    if (folder / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = _from_vocab(folder)
    else:
        do = "the folder must hold tokenizer.json, or vocab.json and merges.txt"
        raise ConfigError("no tokenizer found", where=str(folder), do=do)
    special_ids(tokenizer)
    return tokenizer


def _from_vocab(folder: Path) -> PreTrainedTokenizerFast:
    """The released data files hold no ``tokenizer.json``: build it from vocabulary, merges and added tokens."""
    vocab, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    added = sorted(settings["added_tokens_decoder"].items(), key=lambda item: int(item[0]))
    specials = [(token["content"], token["special"]) for _, token in added]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_core(vocab, merges, specials),
        **{name: settings.get(name) for name in (*ROLES, "chat_template")},
        model_max_length=settings.get("model_max_length", 131072),
        clean_up_tokenization_spaces=False,
    )
    for index, token in added:
        if tokenizer.convert_tokens_to_ids(token["content"]) != int(index):
            raise ConfigError(f"added token {token['content']} would not get id {index}", where=str(folder))
    return tokenizer


def _core(vocab: dict[str, int], merges: Sequence[tuple[str, str]], specials: Iterable[tuple[str, bool]]) -> Tokenizer:
    """Byte-level BPE as Qwen has it: NFC, the split pattern, bytes, merges; ``specials`` are (name, special)."""
    core = Tokenizer(models.BPE(vocab=vocab, merges=list(merges), fuse_unk=False))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(name, normalized=False, special=special) for name, special in specials])
    return core
