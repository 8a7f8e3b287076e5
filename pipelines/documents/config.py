"""Settings of the documents stage. Frozen, typed, every field marked; the stage's own config adds source and
workers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipelines.core.identity import Identity, Record, Runtime, StageConfig


class Levels(Record):
    """Weights of the corruption levels, drawn independently per region."""

    low: float = Field(default=0.4, ge=0)
    moderate: float = Field(default=0.3, ge=0)
    high: float = Field(default=0.3, ge=0)

    @property
    def weights(self) -> tuple[float, float, float]:
        return (self.low, self.moderate, self.high)


class Templates(Record):
    """Words around the text. ``line`` has the fields ``index`` (from 1, in reading order) and ``text``."""

    card: str = "Read."
    page: str = "Read the text in the numbered boxes."
    line: str = "{index}: {text}"

    @field_validator("line")
    @classmethod
    def _has_text(cls, value: str) -> str:
        value.format(index=1, text="")
        if "{text}" not in value:
            raise ValueError("the template needs the field {text}")
        return value


class DocumentSettings(StageConfig):
    """Everything that decides the bytes of a document sample, and the limits that keep bad files cheap.

    Pages are rendered at ``dpi`` with at most ``max_pixels``; pages of family ``card`` at 72 dpi. A page whose longer
    side is under ``card_side`` pixels has every line as a region, a larger one draws ``regions`` (least, most) of
    ``tokens`` tokens that hold at most ``region_share`` of its text."""

    seed: Identity[int] = 0
    split_seed: Identity[int] = 0
    engine: Identity[Literal["pymupdf"]] = "pymupdf"
    views_per_page: Identity[int] = Field(1, ge=1)
    levels: Identity[Levels] = Levels()
    templates: Identity[Templates] = Templates()
    dpi: Identity[int] = Field(120, ge=18, le=600)
    max_pixels: Identity[int] = Field(1_806_336, ge=10_000)
    card_side: Identity[int] = Field(300, ge=0)
    tokens: Identity[tuple[int, int]] = (8, 200)
    regions: Identity[tuple[int, int]] = (1, 6)
    region_share: Identity[float] = Field(0.3, gt=0, le=1)
    jpeg_quality: Identity[int] = Field(92, ge=1, le=100)
    max_pages: Identity[int] = Field(20_000, ge=1)
    unit_cost: Identity[int] = Field(1200, ge=1)
    ocr: Identity[bool] = True
    ocr_min_score: Identity[float] = Field(0.9, ge=0, le=1)
    ocr_side: Identity[int] = Field(960, ge=64)
    ocr_detection_model_dir: Runtime[str | None] = None
    ocr_recognition_model_dir: Runtime[str | None] = None
    ocr_threads: Runtime[int] = Field(1, ge=1)
    page_deadline_s: Runtime[float] = Field(15.0, gt=0)
    ocr_deadline_s: Runtime[float] = Field(90.0, gt=0)
    memory_bytes: Runtime[int] = 2 << 30
    max_quarantine_share: Runtime[float] = 0.5
