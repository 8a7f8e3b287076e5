"""Filters and near-duplicates: what is left out has a row with its reason, its figures and the start of its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.core.seeds import split_of
from pipelines.documents.config import Filters
from pipelines.documents.filters import judge_text, language_of
from pipelines.documents.probe import PERMUTATIONS, find_matches, sign
from pipelines.shards.manifest import Row, read_manifest

MakePdf = Callable[..., Path]
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft danach durch den Wald nach Hause. "
ENGLISH = "The quick brown fox jumps over the lazy dog and afterwards walks home through the quiet forest. "


def text_of(seed: int, words: int = 400) -> str:
    rng = np.random.default_rng(seed)
    return " ".join("".join(rng.choice(list("abcdefghij"), 5)) for _ in range(words))


def pages_of(*texts: str) -> list[Callable[[pymupdf.Page], object]]:
    return [lambda page, text=text: page.insert_textbox((30, 30, 390, 560), text, fontsize=8) for text in texts]


def rows_of(folder: Path, store: Path, **options: object) -> list[Row]:
    artifact = run_stage_inprocess(build_document_shards, DocumentShards(source=str(folder), **options), {}, store)  # type: ignore[arg-type]
    rows = [row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)]
    assert len(rows) == artifact.stats["planned"] == artifact.stats["ok"] + artifact.stats["filtered"]
    return rows


def test_languages_are_told_apart() -> None:
    assert [language_of(text * 3) for text in (GERMAN, ENGLISH, "これは日本語で書かれた文章です。")] == [
        "de",
        "en",
        "ja",
    ]


def test_rules_say_what_they_saw() -> None:
    verdict, facts = judge_text(GERMAN * 3, Filters(languages=("en", "fr")))
    assert verdict is not None
    assert (verdict.category, verdict.reason) == ("language", "written in de, not in en, fr")
    assert facts == {"characters": len(GERMAN) * 3, "language": "de", "text": (GERMAN * 3)[:200]}
    kept, facts = judge_text(ENGLISH, Filters(languages=("en",), characters=(10, 500)))
    assert kept is None
    assert "text" not in facts


def test_a_page_left_out_by_a_rule_keeps_its_text_in_its_row(make_pdf: MakePdf, tmp_path: Path) -> None:
    path = make_pdf("in/a.pdf", pages_of(GERMAN * 6, ENGLISH * 6, "Too short to keep here"))
    options = {"filters": {"languages": ["en"], "characters": [60, 5000]}, "views_per_page": 2}
    rows = {row.item: row for row in rows_of(path.parent, tmp_path / "store", **options) if row.key.endswith("-v01")}
    assert [rows[page].category for page in range(3)] == ["language", None, "length"]
    detail = json.loads(rows[0].detail)
    assert detail["text"]["text"].startswith("Der schnelle braune")
    assert detail["route"]["route"] == "born_digital"
    assert json.loads(rows[2].detail)["text"] == {"characters": 22, "text": "Too short to keep here"}


def test_similar_texts_match_and_others_do_not() -> None:
    base = text_of(1).split()
    texts = {
        "a.pdf": " ".join(base),
        "b.pdf": " ".join([*base[:390], "another", "end"]),
        "c.pdf": text_of(2),
        "d.pdf": " ".join(["new", "start", *base[8:], "and", "end"]),
    }
    signatures = {name: sign(text) for name, text in texts.items()}
    assert all(one is not None and one.shape == (PERMUTATIONS,) for one in signatures.values())
    matches = find_matches(signatures, 0.8)  # type: ignore[arg-type]
    assert set(matches) == {"b.pdf", "d.pdf"}
    assert {match.first for match in matches.values()} == {"a.pdf"}
    assert all(0.8 <= match.similarity <= 1 for match in matches.values())
    shuffled = {name: signatures[name] for name in ("d.pdf", "c.pdf", "a.pdf", "b.pdf")}
    assert find_matches(shuffled, 0.8) == matches  # type: ignore[arg-type]
    assert sign("too few words for a signature") is None


def test_han_text_has_pieces_too() -> None:
    text = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
    assert sign(text) is not None


@pytest.mark.parametrize("action", ["split", "drop"])
def test_near_duplicate_files(make_pdf: MakePdf, tmp_path: Path, action: str) -> None:
    """Twelve files, each with a twin that differs in a few words: twins never end on two sides of the split."""
    for number in range(12):
        words = text_of(number).split()
        make_pdf(f"in/{number:02d}-a.pdf", pages_of(" ".join(words)))
        path = make_pdf(f"in/{number:02d}-b.pdf", pages_of(" ".join([*words[:395], "slightly", "other", "end"])))
    digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(path.parent.iterdir())]
    parting = next(seed for seed in range(100) if split_of(digests[0], seed) != split_of(digests[1], seed))
    rows = rows_of(path.parent, tmp_path / "store", filters={"near_duplicates": action}, split_seed=parting)
    if action == "split":
        for number in range(12):
            assert len({row.split for row in rows if row.source.startswith(f"{number:02d}-")}) == 1
        assert all(row.status == "ok" for row in rows)
    else:
        dropped = [row for row in rows if row.status != "ok"]
        assert sorted(row.source for row in dropped) == [f"{n:02d}-b.pdf" for n in range(12)]
        assert {row.category for row in dropped} == {"near_duplicate"}
        assert all(f"like {row.source[:2]}-a.pdf" in (row.reason or "") for row in dropped)
