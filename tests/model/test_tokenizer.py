"""The released tokenizer by path and the byte tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from model.tokenizer import BYTE_SPECIALS, build_byte_tokenizer, learn_merges, load_tokenizer, special_ids
from pipelines.core.errors import ConfigError


def test_released_files_give_the_released_ids(golden, released_tokenizer):
    assert len(released_tokenizer) == 151748
    for row in golden.json("tokenizer/strings.json"):
        assert released_tokenizer.encode(row["text"], add_special_tokens=False) == row["ids"], row["text"]
        assert released_tokenizer.decode(row["ids"]) == row["decoded"]
        assert released_tokenizer.decode(row["ids"], skip_special_tokens=True) == row["decoded_skip_special"]


def test_released_special_ids(released_tokenizer):
    ids = special_ids(released_tokenizer)
    assert (ids.placeholder, ids.eos) == (128244, (151645, 151643))
    assert [ids[name] for name in ("<image>", "</slice>", "<image_id>", "</think>")] == [151669, 151680, 151681, 151668]


def test_a_saved_tokenizer_loads_the_same(released_tokenizer, tmp_path):
    released_tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    text = "<|im_start|>user\nGreat! 12 中文 <unk><think>\n"
    assert again.encode(text, add_special_tokens=False) == released_tokenizer.encode(text, add_special_tokens=False)
    assert special_ids(again).by_name == special_ids(released_tokenizer).by_name


@pytest.fixture(scope="module")
def reloaded(byte_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("again")
    byte_tokenizer.save_pretrained(folder)
    return load_tokenizer(folder)


def test_bytes_are_their_own_ids(reloaded):
    assert len(reloaded) == 288
    assert reloaded.encode("A é\n", add_special_tokens=False) == list("A é\n".encode())
    ids = special_ids(reloaded)
    assert [ids[name] for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>")] == [256, 257, 258, 259]
    assert reloaded.decode([72, 105, 258, 276], skip_special_tokens=True) == "Hi<think>"


@given(st.text(max_size=40))
def test_any_text_survives_the_bytes(byte_tokenizer, text):
    import unicodedata

    if any(name in text for name, _ in BYTE_SPECIALS):
        return
    assert byte_tokenizer.decode(byte_tokenizer.encode(text, add_special_tokens=False)) == unicodedata.normalize(
        "NFC", text
    )


def test_merges_come_after_everything_else(tmp_path):
    tokenizer = build_byte_tokenizer(tmp_path, merges=(("t", "h"), ("th", "e")))
    assert tokenizer.encode("the t", add_special_tokens=False) == [289, 32, 116]
    assert special_ids(tokenizer).eos == (258, 256)


TEXTS = ["the cat and the hat", "the rat on the mat: 123", "Größe 10 中文 中文"] * 3


def test_learned_merges_shorten_text_and_lose_nothing(tmp_path, byte_tokenizer):
    merges = learn_merges(TEXTS, 30)
    assert merges == learn_merges(TEXTS, 30)
    tokenizer = build_byte_tokenizer(tmp_path, merges)
    assert len(tokenizer) == 288 + len(merges)
    assert special_ids(tokenizer).by_name == special_ids(byte_tokenizer).by_name
    for text in (*TEXTS, "unseen: ö <|im_end|> 7"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
    assert 2 * len(tokenizer.encode(TEXTS[0])) < len(byte_tokenizer.encode(TEXTS[0]))
    assert not any(ch.isdigit() for pair in merges for part in pair for ch in part)  # digits stay single, as in Qwen


def test_nothing_to_merge():
    assert learn_merges([], 30) == []
    assert learn_merges(["abc"], 30) == []


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no tokenizer found"):
        load_tokenizer(tmp_path)
    core = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    core.decoder = decoders.ByteLevel()
    with pytest.raises(ConfigError, match="has no token"):
        special_ids(PreTrainedTokenizerFast(tokenizer_object=core))
