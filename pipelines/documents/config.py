"""Settings of the documents stage, as its jobs carry them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipelines.core.cpus import Room
from pipelines.core.executor import Demand, Resources
from pipelines.core.identity import Identity, LocalPath, Record, Runtime, Source
from pipelines.corruption.view import Address
from pipelines.documents.layout import Layout
from pipelines.shards.settings import ShardSettings


class Levels(Record):
    """Weights of the corruption levels, drawn independently per region."""

    low: float = Field(default=0.4, ge=0)
    moderate: float = Field(default=0.3, ge=0)
    high: float = Field(default=0.3, ge=0)

    @property
    def weights(self) -> tuple[float, float, float]:
        return (self.low, self.moderate, self.high)


_LINE: tuple[dict[str, Any], str] = ({"index": 1, "text": ""}, "{text}")
TEMPLATE_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "line": _LINE,
    "single_line": _LINE,
    "coordinates": ({"boxes": ""}, "{boxes}"),
    "box": ({"index": 1, "x0": 0, "y0": 0, "x1": 0, "y1": 0}, ""),
}
"""Template -> fields it may name, with values to try it with, and the one that it must name."""


class Templates(Record):
    """Words around the text. Prompts: ``card``, ``page`` (numbered boxes), ``single`` (one box), ``coordinates`` (with
    ``{boxes}``: one ``box`` line a region), ``parser``. Answers: ``line`` with the fields ``index`` (from 1, in reading
    order) and ``text``, ``single_line`` for a single region."""

    card: str = "Read."
    page: str = "Read the text in the numbered boxes."
    line: str = "{index}: {text}"
    single: str = "Read the text in the box."
    single_line: str = "{text}"
    coordinates: str = "Read the text at these places (left top right bottom, in thousandths of the page):\n{boxes}"
    box: str = "{index}: {x0} {y0} {x1} {y1}"
    parser: str = "Read the page."

    @field_validator("line", "single_line", "coordinates", "box")
    @classmethod
    def _fillable(cls, value: str, info: ValidationInfo) -> str:
        fields, needed = TEMPLATE_FIELDS[str(info.field_name)]
        value.format(**fields)
        if needed not in value:
            raise ValueError(f"the template needs the field {needed}")
        return value


class Filters(Record):
    """What is left out, with a row that says so and keeps the start of the text.

    ``languages``: ISO 639-1 codes that pages may be written in, none = all. ``characters``: (least, most) of a page,
    most 0 = no limit. ``near_duplicates``: files whose texts share at least ``similarity`` of their five-word pieces
    are put into one split (``split``), or all but the first are left out (``drop``)."""

    languages: tuple[str, ...] = ()
    characters: tuple[int, int] = (0, 0)
    near_duplicates: Literal["off", "split", "drop"] = "off"
    similarity: float = Field(default=0.8, gt=0, le=1)

    @property
    def any_page(self) -> bool:
        return bool(self.languages) or self.characters != (0, 0)


class DocumentShards(ShardSettings):
    """Everything that decides the bytes of a document sample, and the limits that keep bad files cheap.

    Pages are rendered at ``dpi`` with at most ``max_pixels``; pages of family ``card`` at 72 dpi. A page whose longer
    side is under ``card_side`` pixels has every line as a region, a larger one draws ``regions`` (least, most) of
    ``tokens`` tokens that hold at most ``region_share`` of its text.

    ``layout: plain`` takes any three narrow pieces on one baseline for a table row. ``columns`` keeps running text in narrow
    columns apart, reads tables of two columns by row, leaves captions alone and reads columns between whatever crosses
    them.

    ``jpeg_colour: compact`` renders, damages and stores pages without colour in one channel, and the rest (with the
    coloured marks of ``boxes`` and ``single``) as 4:2:0; ``full`` stores every page as 4:4:4.

    ``target: parser`` writes the whole page's text for an undamaged page (the baseline of the paper's ablation).
    ``form: online`` stores pages clean with all their regions; the training loader draws a view at every visit.
    A unit is cut at ``unit_cost``, ``unit_samples`` and about ``unit_bytes``, whichever comes first.

    ``ocr_lines: chosen`` detects all lines of a scan and reads only those that may be asked for, and ``ocr_sample``
    others to judge the page. With ``ocr_actors`` the OCR runs in a pool of Ray actors with ``ocr_cpus`` and
    ``ocr_gpus`` each instead of in the workers."""

    source: Source[str | None] = None
    seed: Identity[int] = 0
    engine: Identity[Literal["pymupdf", "pypdfium2"]] = "pymupdf"
    target: Identity[Literal["corrupted", "parser"]] = "corrupted"
    form: Identity[Literal["stored", "online"]] = "stored"
    address: Identity[Address] = "boxes"
    views_per_page: Identity[int] = Field(1, ge=1)
    levels: Identity[Levels] = Levels()
    templates: Identity[Templates] = Templates()
    filters: Identity[Filters] = Filters()
    dpi: Identity[int] = Field(120, ge=18, le=600)
    max_pixels: Identity[int] = Field(1_806_336, ge=10_000)
    card_side: Identity[int] = Field(300, ge=0)
    tokens: Identity[tuple[int, int]] = (8, 200)
    layout: Identity[Layout] = "columns"
    regions: Identity[tuple[int, int]] = (1, 6)
    region_share: Identity[float] = Field(0.3, gt=0, le=1)
    jpeg_quality: Identity[int] = Field(92, ge=1, le=100)
    jpeg_colour: Identity[Literal["full", "compact"]] = "full"
    max_pages: Identity[int] = Field(20_000, ge=1)
    unit_cost: Identity[int] = Field(1200, ge=1)
    unit_samples: Identity[int] = Field(10_000, ge=1)
    unit_bytes: Identity[int] = Field(512 << 20, ge=1 << 20)
    ocr: Identity[bool] = True
    ocr_engine: Identity[Literal["paddleocr", "rapidocr"]] = "paddleocr"
    ocr_device: Identity[Literal["cpu", "gpu"]] = "cpu"
    ocr_lines: Identity[Literal["all", "chosen"]] = "all"
    ocr_sample: Identity[int] = Field(4, ge=0)
    ocr_min_score: Identity[float] = Field(0.9, ge=0, le=1)
    ocr_side: Identity[int] = Field(960, ge=64)
    ocr_detection_model_dir: Runtime[LocalPath | None] = None
    ocr_recognition_model_dir: Runtime[LocalPath | None] = None
    ocr_threads: Runtime[int] = Field(1, ge=1)
    ocr_actors: Runtime[int] = Field(0, ge=0)
    ocr_cpus: Runtime[float] = Field(1.0, ge=0)
    ocr_gpus: Runtime[float] = Field(0.0, ge=0)
    page_deadline_s: Runtime[float] = Field(15.0, gt=0)
    ocr_deadline_s: Runtime[float] = Field(90.0, gt=0)
    memory_bytes: Runtime[int] = 2 << 30

    @property
    def ocr_actor(self) -> Resources:
        """What each actor of the pool reserves."""
        return Resources(self.ocr_cpus, self.ocr_gpus)

    @property
    def _pool(self) -> Resources:
        return self.ocr_actor.times(self.ocr_actors if self.ocr else 0)

    def sized(self, room: Room) -> Self:
        """Workers that follow the cluster leave alone what the OCR actors hold."""
        left = room.whole.plus(self._pool.times(-1))
        return self.model_copy(update={"workers": self.workers or left.holds(self.task)})

    def demand(self) -> Demand:
        return Demand(self.task.times(self.workers).plus(self._pool), self.task.plus(self._pool))

    @property
    def region_tokens(self) -> tuple[int, int]:
        """Size of regions in tokens: no text is too short for a page that is read as a whole."""
        return self.tokens if self.target == "corrupted" else (0, self.tokens[1])

    @model_validator(mode="after")
    def _one_view_is_enough(self) -> DocumentShards:
        if self.views_per_page > 1 and (self.form == "online" or self.target == "parser"):
            what = "form: online" if self.form == "online" else "target: parser"
            raise ValueError(f"views_per_page is {self.views_per_page}, but {what} has one sample a page: set it to 1")
        if self.form == "online" and self.target == "parser":
            raise ValueError("target: parser damages nothing, so form: online has nothing to draw: drop one of them")
        return self
