from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipelines.images.words import split_of, word_split
from toy.corpus.clips import PLANS, write_clips
from toy.corpus.pictures import PICTURES, write_pictures
from toy.corpus.texts import LINES, write_texts

Writer = Callable[[Path, int], list[dict]]


def digests(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("writer", [write_clips, write_pictures, write_texts])
def test_one_seed_gives_the_same_bytes_twice_and_another_seed_others(writer: Writer, tmp_path: Path) -> None:
    first, again, other = (writer(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again
    assert digests(tmp_path / "a") == digests(tmp_path / "b") != digests(tmp_path / "c")
    assert [row["file"] for row in first] == [row["file"] for row in other]
    assert all((tmp_path / "a" / row["file"]).is_file() for row in first)
    assert {row["split"] for row in first} == {"train", "test"}


def test_clips_cover_the_formats_people_bring() -> None:
    assert len(PLANS) >= 8
    assert len({plan.codec for plan in PLANS}) >= 6
    assert {plan.suffix for plan in PLANS} == {".mp4", ".avi", ".webm", ".mov", ".mkv"}
    assert {plan.rate for plan in PLANS} >= {5, 30}
    assert sum(plan.uneven for plan in PLANS) == 1
    assert all(2 <= plan.seconds <= 4 for plan in PLANS)


def test_words_of_clips_keep_their_split(tmp_path: Path) -> None:
    for row in write_clips(tmp_path, 3):
        if row["family"] == "bad":
            continue
        sidecar = json.loads((tmp_path / row["file"]).with_suffix(".json").read_text())
        for question in sidecar["questions"]:
            if question["question"].startswith("Which word"):
                assert word_split(question["answer"]) == row["split"]
                assert question["answer"] in sidecar["captions"][0]


def test_captions_of_test_pictures_never_occur_in_training(tmp_path: Path) -> None:
    splits = {row["file"].split("/")[1]: row["split"] for row in write_pictures(tmp_path, 0)}
    captions: dict[str, set[str]] = {"train": set(), "test": set()}
    lines = (tmp_path / "images" / "captions.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        split = splits[line["file"]]
        captions[split].add(line["caption"])
        word = re.fullmatch(r"The word (\w+) in \w+\.", line["caption"])
        assert split == (word_split(word[1]) if word else split_of("caption", line["caption"]))
    assert len(lines) == PICTURES
    assert not captions["train"] & captions["test"]
    assert len(captions["test"]) >= 5
    assert Image.open(tmp_path / "images" / "picture-000.png").size == (224, 112)


def test_words_of_texts_keep_their_split(tmp_path: Path) -> None:
    for row in write_texts(tmp_path, 0):
        texts = [json.loads(line)["text"] for line in (tmp_path / row["file"]).read_text().splitlines()]
        assert len(texts) == LINES[row["split"]]
        words = {word.lower() for text in texts for word in re.findall(r"[A-Za-z]+", text)}
        assert {word_split(word) for word in words} == {row["split"]}
