"""Stage ``tokenizer``: byte-level BPE learned from the training texts of shards, for models too small for Qwen's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from pipelines.shards.index import SampleRef

TELL_EVERY = 500  # samples between two lines of progress


class TrainTokenizer(StageConfig):
    """Shards -> ``tokenizer.json``: 256 bytes, 32 special tokens, and up to ``merges`` learned ones (a model needs
    ``vocab_size`` 288 + merges). Texts are read until ``max_bytes``, every ``n``-th sample if there are more."""

    merges: Identity[int] = Field(default=1760, ge=1)
    max_bytes: Identity[int] = Field(default=50_000_000, ge=1)


@stage(
    "tokenizer",
    code_version=1,
    inputs=("shards",),
    engines=("tokenizers",),
    deterministic="bytes",
    uses_ray=False,
    limit=False,
    needs="train",
)
def train_tokenizer(config: TrainTokenizer, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Texts of the train split only: what is held out must not shape the vocabulary."""
    from model.tokenizer import build_byte_tokenizer, learn_merges
    from pipelines.core.errors import DataError
    from pipelines.shards.index import ShardIndex

    refs = ShardIndex.from_artifacts(inputs["shards"]).select(split="train")
    read = {"texts": 0, "bytes": 0}
    merges = learn_merges(_counted(refs, config.max_bytes, read, out), config.merges)
    if not merges:
        raise DataError("the shards hold no text to learn from", do="give steps whose samples have messages with text")
    tokenizer = build_byte_tokenizer(out.dir, merges)
    return {"samples": read["texts"], "read_bytes": read["bytes"], "merges": len(merges), "vocab_size": len(tokenizer)}


def _counted(refs: list[SampleRef], most: int, read: dict[str, int], out: Attempt) -> Iterator[str]:
    from pipelines.shards.read import read_json

    chosen = refs[:: max(1, sum(ref.length for ref in refs) // (8 * most))]
    for number, ref in enumerate(chosen):
        if number % TELL_EVERY == 0:
            out.events.progress(number, len(chosen), "samples read")
        if read["bytes"] >= most:
            return
        for text in texts_of(read_json(ref)):
            read["texts"] += 1
            read["bytes"] += len(text.encode())
            yield text


def texts_of(sample: Mapping[str, Any]) -> Iterator[str]:
    """Everything people or models wrote in a sample's messages."""
    from pipelines.shards.read import content_of

    for message in sample["messages"]:
        yield from (part["text"] for part in content_of(message) if part["type"] == "text")
        if message.get("thought"):
            yield message["thought"]
