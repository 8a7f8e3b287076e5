"""One view of a page: which regions are asked for, how they are damaged, how they are named, what the answer is.

``draw_view`` is the whole draw, a pure function of page, recipe and generator. The documents stage calls it when views
are stored; for pages stored clean (``form: online``) the training loader calls it through ``redraw`` with a fresh
generator for every visit, so that an epoch costs no storage and no draw comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.arrays import coloured
from pipelines.corruption.halved import HalvedPage, Planes, merge
from pipelines.corruption.marks import draw_boxes, marks
from pipelines.corruption.operators import LEVELS, Level
from pipelines.corruption.page import Region, corrupt_page, damage

Pixels = tuple[int, int, int, int]
Address = Literal["boxes", "single", "coordinates"]
ONLINE = "online"
"""Tag of samples that hold a clean page, and the name of their record in ``meta``."""

GRID = 1000  # coordinates in prompts are thousandths of width and height


@dataclass(frozen=True)
class TextRegion:
    """Text that is visible inside ``bbox`` (pixels, half open). ``glyph_height`` in pixels, ``tokens`` an estimate."""

    bbox: Pixels
    text: str
    glyph_height: float
    tokens: float


@dataclass(frozen=True)
class ViewRecipe:
    """How views are drawn. ``weights`` of the levels (low, moderate, high); ``count`` = (least, most) regions that hold
    at most ``share`` of the page's text; ``by_line`` (cards) asks for every region and marks none.

    ``address`` says how regions are named: numbered ``boxes``, one framed region (``single``), or ``coordinates`` in
    the prompt, where ``{boxes}`` stands for one ``box`` line a region (fields index, x0, y0, x1, y1 in thousandths of
    the page) and nothing is drawn. ``line`` makes the answer's line of a region from index and text."""

    weights: tuple[float, float, float]
    count: tuple[int, int]
    share: float
    by_line: bool
    address: Address
    prompt: str
    box: str
    line: str


@dataclass(frozen=True)
class Drawn:
    """A damaged page [H, W, C] (grey pages have one channel until something coloured is put on them), its question and
    answer, and a record per region (index, bbox, text, level, operators)."""

    picture: NDArray[np.uint8] | Planes
    prompt: str
    target: str
    regions: tuple[dict[str, Any], ...]

    @property
    def image(self) -> NDArray[np.uint8]:
        """The page as pixels [H, W, C]."""
        return merge(self.picture) if isinstance(self.picture, Planes) else self.picture


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Do two boxes share any area?"""
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def choose(
    regions: Sequence[TextRegion], page_tokens: float, count: tuple[int, int], share: float, rng: np.random.Generator
) -> list[TextRegion]:
    """Draw ``count`` = (least, most) regions that do not overlap and together hold at most ``share`` of the page's
    text; the first one is always kept. Returned in reading order."""
    if not regions:
        return []
    wanted = int(rng.integers(count[0], count[1] + 1))
    order = [int(i) for i in rng.permutation(len(regions))]
    order.sort(key=lambda i: regions[i].tokens > share * page_tokens)  # stable: texts within the share first
    chosen: list[int] = []
    used = 0.0
    for index in order:
        region = regions[index]
        if len(chosen) == wanted or (chosen and used + region.tokens > share * page_tokens):
            continue
        if not any(overlap(region.bbox, regions[other].bbox) for other in chosen):
            chosen.append(index)
            used += region.tokens
    return [regions[i] for i in sorted(chosen)]


def draw_levels(
    count: int, weights: Sequence[float], rng: np.random.Generator, keep_visible: bool = False
) -> list[Level]:
    """``count`` independent levels, so that they mix inside one page; probabilities are proportional to ``weights`` (low,
    moderate, high).

    ``keep_visible`` (cards, where nothing but the regions is on the page): if every region came out high, one of them,
    drawn uniformly, is drawn again among low and moderate. Raises ValueError for weights that are no distribution.

    >>> draw_levels(3, (0.0, 0.0, 1.0), np.random.default_rng(0))
    ['high', 'high', 'high']
    """
    share = np.asarray(weights, dtype=np.float64)
    if share.shape != (3,) or (share < 0).any() or share.sum() <= 0:
        raise ValueError(f"weights must be three numbers >= 0 with a positive sum, got {tuple(weights)}")
    bounds = np.cumsum(share / share.sum())
    levels = [LEVELS[min(2, int(np.searchsorted(bounds, u, side="right")))] for u in rng.random(count)]
    if keep_visible and count and all(level == "high" for level in levels):
        visible = share[:2].sum()
        low = share[0] / visible if visible > 0 else 1.0
        levels[int(rng.integers(count))] = "low" if rng.random() < low else "moderate"
    return levels


def draw_view(
    image: NDArray[np.uint8],
    regions: Sequence[TextRegion],
    page_tokens: float,
    recipe: ViewRecipe,
    rng: np.random.Generator,
    halved: bool = False,
) -> Drawn:
    """Choose regions of a clean page, draw a level for each, damage them, mark them, and write question and answer.
    ``page_tokens`` is the size of the page's whole text; ``halved`` gives a grey page with colours on it as ``Planes``.
    Raises ValueError for a region outside the image."""
    chosen: Sequence[TextRegion] = regions
    if not recipe.by_line:
        count = (1, 1) if recipe.address == "single" else recipe.count
        chosen = choose(regions, page_tokens, count, recipe.share, rng)
    levels = draw_levels(len(chosen), recipe.weights, rng, keep_visible=recipe.by_line)
    boxes = [region.bbox for region in chosen]
    asked = [Region(region.bbox, level, region.glyph_height) for region, level in zip(chosen, levels, strict=True)]
    marked = boxes if not recipe.by_line and recipe.address != "coordinates" else []
    damaged: NDArray[np.uint8] | Planes
    if halved and image.shape[2] == 1:
        page = HalvedPage(image)
        crops, records = damage(image, asked, rng)
        for (x0, y0, _, _), crop in zip(boxes, crops, strict=True):
            page.paste(x0, y0, crop)
        for x, y, cells in marks(image.shape[:2], marked, numbers=recipe.address == "boxes"):  # type: ignore[arg-type]
            page.mark(x, y, cells)
        damaged = page.picture()
    else:
        damaged, records = corrupt_page(image, asked, rng)
        if marked:
            damaged = draw_boxes(coloured(damaged), marked, numbers=recipe.address == "boxes")
    told = tuple(
        {"index": index, "bbox": list(region.bbox), "text": region.text, **record}
        for index, (region, record) in enumerate(zip(chosen, records, strict=True), 1)
    )
    target = "\n".join(recipe.line.format(index=item["index"], text=item["text"]) for item in told)
    return Drawn(damaged, _prompt(recipe, boxes, image.shape[:2]), target, told)


def _prompt(recipe: ViewRecipe, boxes: Sequence[Pixels], size: tuple[int, ...]) -> str:
    if recipe.by_line or recipe.address != "coordinates":
        return recipe.prompt
    height, width = size
    lines = []
    for index, (x0, y0, x1, y1) in enumerate(boxes, 1):
        across, down = GRID / width, GRID / height
        place = {"x0": int(x0 * across), "y0": int(y0 * down), "x1": -int(-x1 * across), "y1": -int(-y1 * down)}
        lines.append(recipe.box.format(index=index, **place))
    return recipe.prompt.format(boxes="\n".join(lines))


def online_record(regions: Sequence[TextRegion], page_tokens: float, recipe: ViewRecipe) -> dict[str, Any]:
    """Plain JSON of all that ``redraw`` needs beside the clean page."""
    return {
        "recipe": asdict(recipe),
        "page_tokens": round(page_tokens, 3),
        "regions": [[list(r.bbox), r.text, r.glyph_height, round(r.tokens, 3)] for r in regions],
    }


def redraw(image: NDArray[np.uint8], online: Mapping[str, Any], rng: np.random.Generator) -> Drawn:
    """A fresh view of a page stored clean, from its ``online_record``."""
    told = online["recipe"]
    recipe = ViewRecipe(**{**told, "weights": tuple(told["weights"]), "count": tuple(told["count"])})
    regions = [TextRegion(tuple(bbox), text, glyph, size) for bbox, text, glyph, size in online["regions"]]
    return draw_view(image, regions, online["page_tokens"], recipe, rng)
