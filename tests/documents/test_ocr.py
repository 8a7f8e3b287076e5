"""OCR offline on ONNX Runtime, both engines, on scans made from known text."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.corruption.view import choose
from pipelines.documents import ocr
from pipelines.documents.build import read_here
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import PageContent, Render
from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task, cut_line
from pipelines.documents.scan import PageRef, ocr_setup, read_scan
from toy.corpus.pages import Scan, make_scans

PAGE = PageRef("pymupdf", "/nowhere.pdf", 0, Render(120, 1_000_000))
ENGINES = ["paddleocr", "rapidocr"]


@pytest.fixture(scope="module")
def scan() -> Scan:
    return make_scans(7, "test")[0]


def content_of(scan: Scan) -> PageContent:
    return PageContent(0, scan.image, np.zeros((0, 4), np.float32), (), 1.0, 0.0, (420, 300), 1.0)


def accuracy(expected: str, got: str) -> float:
    return SequenceMatcher(None, expected, got, autojunk=False).ratio()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_packaged_models_are_described_by_digest(engine: str) -> None:
    told = ocr.describe_models(engine)
    assert told["ready"]
    assert told["origin"] == "rapidocr"
    assert len(told["detection"]["sha256"]) == 64
    digest = ocr.models_digest(engine)
    assert digest.startswith(told["detection"]["sha256"][:16])
    assert engine in digest


def test_models_are_laid_out_once_for_paddleocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = ocr.model_folders(ocr.find_models())
    for folder in folders:
        assert tmp_path in folder.parents
        assert sorted(path.name for path in folder.iterdir()) == ["inference.onnx", "inference.yml"]
    before = (folders[1] / "inference.yml").stat().st_mtime_ns
    assert ocr.model_folders(ocr.find_models()) == folders
    assert (folders[1] / "inference.yml").stat().st_mtime_ns == before


def test_model_folders_from_config_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both"):
        ocr.find_models(str(tmp_path), None)
    with pytest.raises(ConfigError, match=r"has no inference\.onnx"):
        ocr.find_models(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("engine", ENGINES)
def test_scans_are_read_almost_without_error_and_boxes_cover_their_ink(engine: str, scan: Scan) -> None:
    settings = DocumentShards(ocr_engine=engine)  # type: ignore[arg-type]
    lines = read_here(settings)(PAGE, scan.image, ocr_setup(settings), "all", None)
    assert accuracy("\n".join(scan.lines), "\n".join(lines.texts)) > 0.95, f"{lines.texts} against {scan.lines}"
    assert min(lines.scores) > 0.8
    dark = scan.image.max(axis=2) < 90
    covered = np.zeros_like(dark)
    overlaps = []
    for x0, y0, x1, y1 in lines.boxes.astype(int).tolist():
        own = slice(max(0, y0), y1), slice(max(0, x0), x1)
        covered[own] = True
        rows, columns = np.nonzero(dark[own])
        ink = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # the smallest box around the line's ink
        overlaps.append(ink / dark[own].size)
    assert dark[covered].sum() > 0.97 * dark.sum()
    assert min(overlaps) > 0.5, f"box against ink, intersection over union: {overlaps}"


@pytest.mark.parametrize("engine", ENGINES)
def test_only_lines_that_may_be_chosen_are_read(engine: str, scan: Scan) -> None:
    settings = DocumentShards(  # type: ignore[arg-type]
        ocr_engine=engine, ocr_lines="chosen", ocr_sample=1, regions=(1, 1), tokens=(4, 12)
    )
    asked: list[tuple[Task, int]] = []
    here = read_here(settings)

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        asked.append((task, 0 if quads is None else len(quads)))
        return here(page, image, setup, task, quads)

    found = read_scan(content_of(scan), PAGE, "ab" * 32, settings, read, by_line=False)
    assert [task for task, _ in asked] == ["detect", "recognise"]
    assert asked[1][1] == found.facts["read"] < found.facts["detected"]
    assert 1 <= len(found.regions) <= found.facts["read"]
    everything = " ".join(scan.lines)
    for region in found.regions:
        best = max(accuracy(everything[at : at + len(region.text)], region.text) for at in range(len(everything)))
        assert best > 0.9, f"{region.text!r} is not in {everything!r}"
    assert found.tokens > sum(region.tokens for region in found.regions), "the share is of the whole page"


def test_a_line_read_badly_never_becomes_a_label(scan: Scan) -> None:
    settings = DocumentShards(ocr_lines="chosen", regions=(6, 6), tokens=(4, 30), region_share=1.0)
    boxes = np.array([[40, 40 + 40 * i, 440, 70 + 40 * i] for i in range(8)], dtype=np.float32)
    quads = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    image = np.full((500, 500, 3), 255, np.uint8)
    image[::4, ::3] = 0

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads_: np.ndarray | None) -> OcrLines:
        if task == "detect":
            return OcrLines(quads, boxes)
        assert quads_ is not None
        texts = [f"line at {int(quad[0][1])}" for quad in quads_]
        return OcrLines.of(list(quads_), texts, [0.2 if text.endswith("120") else 0.99 for text in texts])

    content = PageContent(0, image, np.zeros((0, 4), np.float32), (), 1.0, 0.0, (500, 500), 1.0)
    found = read_scan(content, PAGE, "ab" * 32, settings, read, by_line=True)
    assert [region.text for region in found.regions] == [f"line at {40 + 40 * i}" for i in range(8) if i != 2]


def paragraphs(count: int, lines: int) -> tuple[PageContent, OcrLines]:
    """A page of paragraphs as detection finds it: boxes of lines, and some ink everywhere."""
    tops = [30 + 150 * block + 26 * line for block in range(count) for line in range(lines)]
    boxes = np.array([[40, top, 440, top + 22] for top in tops], dtype=np.float32)
    image = np.full((60 + 150 * count, 500, 3), 255, np.uint8)
    image[::4, ::3] = 0
    content = PageContent(0, image, np.zeros((0, 4), np.float32), (), 1.0, 0.0, (500, 500), 1.0)
    return content, OcrLines(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), boxes)


def test_a_line_read_badly_parts_its_region() -> None:
    settings = DocumentShards(ocr_lines="chosen", regions=(6, 6), tokens=(4, 60), region_share=1.0)
    content, lines = paragraphs(2, 4)

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        if task == "detect":
            return lines
        assert quads is not None
        tops = [int(quad[0][1]) for quad in quads]
        texts = [f"these are the words of the line at {top}" for top in tops]
        return OcrLines.of(list(quads), texts, [0.3 if top == 56 else 0.97 for top in tops])

    found = read_scan(content, PAGE, "ab" * 32, settings, read, by_line=False)
    told = [[int(word) for word in region.text.split() if word.isdigit()] for region in found.regions]
    assert told == [[30], [82, 108], [180, 206, 232, 258]]
    assert all(region.bbox[3] <= 56 + 2 or region.bbox[1] >= 78 - 2 for region in found.regions)


def test_no_region_holds_the_ink_of_a_line_without_label() -> None:
    """Short lines are joined with what follows, but not over a line that was read badly."""
    settings = DocumentShards(ocr_lines="all", tokens=(4, 60))
    content, lines = paragraphs(2, 4)
    tops = [int(box[1]) for box in lines.boxes]
    texts = ["short one" if top == 30 else f"these are the words of the line at {top}" for top in tops]
    scores = [0.3 if top == 56 else 0.97 for top in tops]

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        assert task == "all"
        return OcrLines(lines.quads, lines.boxes, tuple(texts), tuple(scores))

    found = read_scan(content, PAGE, "ab" * 32, settings, read, by_line=False)
    told = [[int(word) for word in region.text.split() if word.isdigit()] for region in found.regions]
    assert told == [[82, 108], [180, 206, 232, 258]]
    assert not any(region.bbox[1] < 67 < region.bbox[3] for region in found.regions)


def test_the_size_of_a_page_is_put_right_by_what_was_read() -> None:
    """A line's shape says how many letters it holds, but a Chinese character counts as a whole token."""
    content, lines = paragraphs(6, 3)
    asked: list[int] = []

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        if task == "detect":
            return lines
        assert quads is not None
        asked.append(len(quads))
        return OcrLines.of(list(quads), ["\u5929\u5730" * 9] * len(quads), [0.99] * len(quads))

    settings = DocumentShards(ocr_lines="chosen", ocr_sample=0, regions=(2, 2), region_share=0.35)
    found = read_scan(content, PAGE, "ab" * 32, settings, read, by_line=False)
    assert asked == [6]
    assert found.tokens == pytest.approx(18 * 18, rel=0.05)
    drawn = choose(found.regions, found.tokens, settings.regions, settings.region_share, np.random.default_rng(0))
    assert len(drawn) == 2, "two of six equal paragraphs are a third of the page"


def test_lines_are_cut_upright() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:30, 10:60] = 200
    flat = np.array([[10, 20], [60, 20], [60, 30], [10, 30]], dtype=np.float32)
    assert cut_line(image, flat).shape == (10, 50, 3)
    assert (cut_line(image, flat)[2:-2, 2:-2] == 200).all()
    tall = np.array([[10, 20], [20, 20], [20, 70], [10, 70]], dtype=np.float32)
    assert cut_line(image, tall).shape == (10, 50, 3)


def test_other_regions_are_drawn_when_none_of_the_first_was_read_well() -> None:
    settings = DocumentShards(ocr_lines="chosen", ocr_sample=0, regions=(1, 1), tokens=(1, 30), region_share=0.2)
    boxes = np.array([[40, 40 + 60 * i, 440, 62 + 60 * i] for i in range(7)], dtype=np.float32)
    quads = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    image = np.full((500, 500, 3), 255, np.uint8)
    image[::4, ::3] = 0
    reads: list[int] = []

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads_: np.ndarray | None) -> OcrLines:
        if task == "detect":
            return OcrLines(quads, boxes)
        assert quads_ is not None
        reads.append(len(quads_))
        good = len(reads) == 2
        return OcrLines.of(list(quads_), ["some words of text"] * len(quads_), [0.99 if good else 0.3] * len(quads_))

    content = PageContent(0, image, np.zeros((0, 4), np.float32), (), 1.0, 0.0, (500, 500), 1.0)
    found = read_scan(content, PAGE, "ab" * 32, settings, read, by_line=False)
    assert reads == [1, 1]
    assert [region.text for region in found.regions] == ["some words of text"]
    assert found.facts["read"] == 2
