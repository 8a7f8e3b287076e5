"""The stage from files to shards, in process: every page accounted for, the same bytes whatever the order of work."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest
from stage_runs import plain_folder, run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.core.errors import DataError
from pipelines.core.executor import InProcess
from pipelines.documents import build
from pipelines.shards.manifest import Row, read_manifest
from pipelines.workflow.stage import Artifact
from toy.corpus.cards import write_cards
from toy.corpus.pages import write_pages

MakePdf = Callable[..., Path]
SMALL = {"ocr": False, "views_per_page": 2, "unit_cost": 60}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("corpus")
    rows = write_cards(folder, 3, 30, 10) + write_pages(folder, 3)
    keep = ("cards-", "table-test", "scripts-test", "scans-test", "bad-")
    rows = [row for row in rows if row["file"].removeprefix("documents/").startswith(keep)]
    for path in (folder / "documents").iterdir():
        if not path.name.startswith(keep):
            path.unlink()
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return plain_folder(folder, "corpus")


def rows_of(artifact: Artifact) -> list[Row]:
    return [row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)]


def shards(artifact: Artifact) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifact.glob("shards/*.tar")}


def samples(artifact: Artifact) -> Iterator[dict]:
    for path in artifact.glob("shards/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    yield json.load(file)


@pytest.fixture(scope="module")
def built(corpus: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = tmp_path_factory.mktemp("store")
    return run_stage_inprocess(build_document_shards, DocumentShards(**SMALL), {"sources": corpus}, store)


def test_every_planned_view_has_a_row(built: Artifact) -> None:
    rows = rows_of(built)
    told = Counter((row.tags[0], row.status, row.category) for row in rows)
    assert told == {
        ("card", "ok", None): 80,
        ("page", "ok", None): 10,
        ("scan", "filtered", "policy"): 4,
        ("bad", "quarantined", "encrypted"): 1,
        ("bad", "quarantined", "parse"): 2,
    }
    assert (
        built.stats["planned"] == len(rows) == built.stats["ok"] + built.stats["filtered"] + built.stats["quarantined"]
    )
    assert sum(built.stats["regions"].values()) == built.stats["main_metric"][1]


def test_declared_splits_hold_and_shards_hold_one(built: Artifact) -> None:
    for row in rows_of(built):
        assert row.split == ("test" if "-test" in row.source else "train")
        assert row.shard is None or row.shard.startswith(f"shards/{row.split}-")


def test_targets_number_the_regions_in_reading_order(built: Artifact) -> None:
    families = Counter()
    for sample in samples(built):
        regions = sample["meta"]["regions"]
        families[sample["meta"]["family"]] += 1
        assert [region["index"] for region in regions] == list(range(1, len(regions) + 1))
        assert sample["messages"][-1]["content"] == "\n".join(f"{r['index']}: {r['text']}" for r in regions)
        assert sample["mode"] == "none"
        assert sample["kind"] == "document"
        if sample["meta"]["family"] == "card":
            tops = [region["bbox"][1] for region in regions]
            assert tops == sorted(tops)
            assert any(region["level"] != "high" for region in regions), "a card is never hidden as a whole"
            assert sample["messages"][0]["content"][1]["text"] == "Read."
        else:
            assert 1 <= len(regions) <= 6
    assert families == {"card": 80, "page": 10}


def test_cards_are_labelled_with_their_own_words(built: Artifact, corpus: Artifact) -> None:
    document = pymupdf.open(corpus.path("documents/cards-test-000.pdf"))
    expected = {number: sorted(page.get_text().split()) for number, page in enumerate(document)}
    seen = 0
    for sample in samples(built):
        if sample["meta"]["source"] == "documents/cards-test-000.pdf":
            text = " ".join(region["text"] for region in sample["meta"]["regions"])
            assert sorted(text.split()) == expected[sample["meta"]["page"]]
            seen += 1
    assert seen == 2 * len(expected)


def test_views_of_a_page_are_other_draws_of_the_same_text(built: Artifact) -> None:
    by_page: dict[tuple[str, int], list[dict]] = {}
    for sample in samples(built):
        if sample["meta"]["family"] == "card":
            by_page.setdefault((sample["meta"]["source"], sample["meta"]["page"]), []).append(sample)
    assert all(
        len(views) == 2 and len({v["messages"][-1]["content"] for v in views}) == 1 for views in by_page.values()
    )
    differing = sum(views[0]["meta"]["regions"] != views[1]["meta"]["regions"] for views in by_page.values())
    assert differing > 0.9 * len(by_page)


@pytest.mark.parametrize("workers", [2, 4])
def test_bytes_do_not_depend_on_workers_or_order(
    built: Artifact, corpus: Artifact, tmp_path: Path, workers: int
) -> None:
    class OutOfOrder(InProcess):
        def map(self, function, units, resources, *, at_once):  # type: ignore[no-untyped-def]
            assert at_once == workers
            for unit in reversed(list(units)):
                yield unit, function(unit)

    config = DocumentShards(**SMALL, workers=workers)
    again = run_stage_inprocess(build_document_shards, config, {"sources": corpus}, tmp_path, executor=OutOfOrder())
    assert again.key == built.key
    assert shards(again) == shards(built)
    assert rows_of(again) == rows_of(built)
    assert again.path("plan.parquet").read_bytes() == built.path("plan.parquet").read_bytes()


def test_a_killed_stage_keeps_its_finished_units(
    built: Artifact, corpus: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(job: build.PageJob, folder: Path) -> dict:
        if len(made) == 3:
            raise RuntimeError("killed")
        made.append(job.unit.name)
        return original(job, folder)

    made: list[str] = []
    original = build.build_page_unit
    monkeypatch.setattr(build, "build_page_unit", dies)
    config = DocumentShards(**SMALL)
    with pytest.raises(RuntimeError, match="killed"):
        run_stage_inprocess(build_document_shards, config, {"sources": corpus}, tmp_path)
    monkeypatch.setattr(
        build, "build_page_unit", lambda job, folder: made.append(job.unit.name) or original(job, folder)
    )
    again = run_stage_inprocess(build_document_shards, config, {"sources": corpus}, tmp_path)
    assert len(made) == len(set(made)) == built.stats["units"], "no unit was made twice"
    assert shards(again) == shards(built)


def test_a_users_folder_with_every_kind_of_trouble(make_pdf: MakePdf, tmp_path: Path, sentence: str) -> None:
    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), sentence * 6)

    good = make_pdf("in/good.pdf", [text, lambda page: None, text])
    (good.parent / "zcopy.pdf").write_bytes(good.read_bytes())
    (good.parent / "empty.pdf").write_bytes(b"")
    (good.parent / "page.html.pdf").write_bytes(b"<html>not found</html>")
    (good.parent / "cut.pdf").write_bytes(good.read_bytes()[:200])
    (good.parent / "notes.txt").write_text("not a document")
    make_pdf("in/locked.pdf", [text], encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="a", owner_pw="b")
    config = DocumentShards(source=str(good.parent), max_quarantine_share=1.0)
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    told = {(row.source, row.item): (row.status, row.category) for row in rows_of(artifact)}
    assert told == {
        ("good.pdf", 0): ("ok", None),
        ("good.pdf", 1): ("filtered", "empty_text"),
        ("good.pdf", 2): ("ok", None),
        ("zcopy.pdf", -1): ("filtered", "duplicate"),
        ("empty.pdf", -1): ("quarantined", "parse"),
        ("page.html.pdf", -1): ("quarantined", "parse"),
        ("cut.pdf", -1): ("quarantined", "parse"),
        ("locked.pdf", -1): ("quarantined", "encrypted"),
    }
    assert str(tmp_path) not in "".join(row.reason or "" for row in rows_of(artifact))
    with pytest.raises(DataError, match="quarantined"):
        run_stage_inprocess(
            build_document_shards, DocumentShards(source=str(good.parent), max_quarantine_share=0.1), {}, tmp_path / "b"
        )


def test_limit_takes_the_first_files(make_pdf: MakePdf, tmp_path: Path, sentence: str) -> None:
    for name in ("in/a.pdf", "in/b.pdf", "in/c.pdf"):
        path = make_pdf(name, [lambda page, name=name: page.insert_textbox((40, 40, 380, 400), name + sentence * 4)])
    config = DocumentShards(source=str(path.parent))
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store", limit=2)
    assert sorted(row.source for row in rows_of(artifact)) == ["a.pdf", "b.pdf"]


def test_a_page_that_breaks_our_own_code_costs_that_page(
    make_pdf: MakePdf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence: str
) -> None:
    texts = ["fine ", "poison ", "fine too "]
    path = make_pdf(
        "in/a.pdf", [lambda page, t=t: page.insert_textbox((40, 40, 380, 400), t + sentence) for t in texts]
    )
    original = build.find_regions

    def breaks(image, words, *rest, **more):  # type: ignore[no-untyped-def]
        if words[0].text == "poison":
            raise ZeroDivisionError(f"on {path}")
        return original(image, words, *rest, **more)

    monkeypatch.setattr(build, "find_regions", breaks)
    config = DocumentShards(source=str(path.parent), views_per_page=2)
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    told = {(row.item, row.key[-2:]): (row.category, row.reason) for row in rows_of(artifact)}
    poisoned = ("parse", "ZeroDivisionError: on a.pdf")
    assert told == {
        (page, f"{view:02d}"): poisoned if page == 1 else (None, None) for page in range(3) for view in (0, 1)
    }


def test_a_page_that_kills_the_reader_costs_that_page(
    make_pdf: MakePdf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence: str
) -> None:
    """The target crashes, hangs or eats memory on single pages; the rest of the file is written."""
    path = make_pdf("in/a.pdf", [lambda page: page.insert_textbox((40, 40, 380, 400), sentence * 4)] * 8)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(build, "CHILD", "poison_reader:answer")
    config = DocumentShards(source=str(path.parent), page_deadline_s=1.0, max_quarantine_share=1.0)
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    told = {row.item: row.category for row in rows_of(artifact)}
    assert told == {0: None, 1: "timeout", 2: None, 3: "crash", 4: None, 5: "oom", 6: "render", 7: None}
