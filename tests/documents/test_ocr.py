"""PaddleOCR offline on ONNX Runtime, on scans made from known text."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.corpus.pages import make_scans
from pipelines.documents import build, ocr
from pipelines.documents.config import DocumentSettings
from pipelines.documents.engine import PageContent

SETTINGS = DocumentSettings()


def test_the_packaged_models_are_described_by_digest() -> None:
    told = ocr.describe_models()
    assert told["ready"]
    assert told["origin"] == "rapidocr"
    assert len(told["detection"]["sha256"]) == 64
    assert ocr.models_digest().startswith(told["detection"]["sha256"][:16])


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


def test_scans_are_read_almost_without_error_and_boxes_cover_their_ink() -> None:
    (scan, *_) = make_scans(7, "test")
    content = PageContent(0, scan.image, None, (), 1.0, 0.0, (420, 300), 1.0)  # type: ignore[arg-type]
    lines = build._read_scan(content, SETTINGS)
    match = SequenceMatcher(None, "\n".join(scan.lines), "\n".join(lines.texts), autojunk=False)
    assert match.ratio() > 0.95, f"{lines.texts} against {scan.lines}"
    assert min(lines.scores) > 0.8
    dark = scan.image.max(axis=2) < 90
    inside = 0
    for x0, y0, x1, y1 in lines.boxes.astype(int).tolist():
        inside += int(dark[max(0, y0) : y1, max(0, x0) : x1].sum())
    assert inside > 0.97 * dark.sum()
