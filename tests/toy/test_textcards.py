"""Text cards look to the decoder like real samples of the processor, and keep the splits apart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from model.config import ModelConfig
from model.processor import Processor
from model.tokenizer import build_byte_tokenizer
from pipelines.images.words import word_split
from toy.corpus.cards import Card, Face, pair_split, set_card
from toy.corpus.typeset import open_pdf
from toy.towers.language import NOTHING, card_pack
from toy.towers.textcards import BLANK, FORMS, TextCards, draw, grid_tokens, plain

TINY = Path(__file__).resolve().parents[2] / "conf" / "model" / "tiny.yaml"
CARD = Card("add", ("12 + 7",), "What is the sum?", "19", "12 + 7 = 19")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    config = ModelConfig.model_validate(yaml.safe_load(TINY.read_text(encoding="utf-8")))
    return Processor(config, build_byte_tokenizer(tmp_path_factory.mktemp("bytes")))


@pytest.mark.parametrize("form", ["short", "long"])
def test_a_text_card_has_a_grid_where_its_picture_would_stand(form: str, processor: Processor) -> None:
    sample = TextCards(processor, question_share=0.5).sample(CARD, form)
    assert sample.image_bound.diff().tolist() == [[64]]
    assert len(grid_tokens(CARD, Face("helv"), np.random.default_rng(0))) == 64
    said = processor.tokenizer.decode(sample.input_ids[sample.labels != -100])
    assert ("12 + 7 = 19" in said) == (form == "long")
    assert said.rstrip().endswith("19<|im_end|>")
    assert (sample.labels == -100).sum() > 64


def test_a_clean_grid_spells_the_lines_where_they_stand() -> None:
    rng = np.random.default_rng(3)

    class Clean:
        """Draws as ``rng`` does where lines are placed, and misreads nothing."""

        def __getattr__(self, name: str):
            return getattr(rng, name)

        def random(self, size=None):
            return np.ones(size) if size is not None else 0.0

    card = Card("read", ("till fox", "umbrella"), "", "", "")
    grid = grid_tokens(card, Face("helv"), Clean()).reshape(4, 16, 3)
    rows = ["".join(chr(t) if t != BLANK else " " for t in row[row != NOTHING].ravel()) for row in grid]
    assert [re.sub(" +", " ", row).strip() for row in rows if row.strip()] == ["till fox", "umbrella"]
    assert (grid[..., 1] != NOTHING).any(), "narrow glyphs share cells"


def test_held_out_cards_have_only_test_words_and_pairs() -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for _ in range(60):
            card, _ = draw(rng, split)
            words = [word for line in card.lines for word in re.findall("[a-z]+", line)]
            assert all(word_split(word) == split for word in words)
            if card.kind == "add":
                a, b = (int(n) for n in re.findall(r"\d+", card.lines[-1]))
                assert pair_split(a, b) == split


def test_the_stream_holds_all_forms_and_is_a_function_of_its_generator(processor: Processor) -> None:
    cards = TextCards(processor, question_share=0.5)
    first, again = ([cards.example(np.random.default_rng([1, n])) for n in range(80)] for _ in range(2))
    a, b = (card_pack(examples, 4, np.random.default_rng(2)) for examples in (first, again))
    assert all(bool((getattr(a, name) == getattr(b, name)).all()) for name in ("input_ids", "labels", "cells", "noise"))
    texts = [bytes(t for t in sample.input_ids.tolist() if t < 256).decode() for sample, _ in first]
    assert sum("Read.\n" in text for text in texts) > 5
    assert sum("user" not in text for text in texts) > 5
    assert {len(list(cards.held_out(form, 3))) for form in FORMS} == {3}


def test_of_sums_in_plain_text_only_results_are_supervised() -> None:
    for sample in (plain(np.random.default_rng(n), "train") for n in range(20)):
        text = bytes(sample.input_ids[:-1].tolist()).decode()
        kept = bytes(sample.labels[(sample.labels >= 0) & (sample.labels < 256)].tolist()).decode()
        assert kept == ("".join(re.findall(r"(?<==) \d+", text)) or text)


def test_a_drawn_card_stands_where_the_face_says() -> None:
    document = open_pdf()
    placed = set_card(document, Face("helv"), CARD, np.random.default_rng(0))
    words = document[0].get_text("words")
    assert placed[0].line == "12 + 7"
    assert words[0][0] == pytest.approx(placed[0].x, abs=1.5)
    assert words[0][1] < placed[0].baseline < words[0][3]
