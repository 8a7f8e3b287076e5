"""The card of a damaged page: what the model sees with the regions framed by level, the page it was made from, and the
text each region hides."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from cookhouse.preview.cards import Box, Card, Line, Sampled, shrunk
from pipelines.core.seeds import generator
from pipelines.corruption.view import ONLINE, redraw
from pipelines.shards.sample import encode_jpeg


def document_card(sampled: Sampled) -> Card:
    """Damaged page, source page (or the clean page of the shard), regions in the order of the answer."""
    meta, row = sampled.sample["meta"], sampled.row
    regions, damaged, clean = _pictures(sampled, meta)
    boxes = tuple(Box(tuple(region["bbox"]), region["level"], str(region["index"])) for region in regions)
    pictures = [shrunk(damaged, "what the model sees", boxes)]
    if clean is not None:
        pictures.append(shrunk(clean, "source page"))
    prompt = next(part["text"] for part in sampled.sample["messages"][0]["content"] if part["type"] == "text")
    lines = [Line("ask", "user", "", prompt)]
    if regions:
        lines += [Line(f"{r['index']} {r['level']}", r["level"], _operators(r), r["text"]) for r in regions]
    else:
        lines.append(Line("answer", "assistant", "", sampled.sample["messages"][-1]["content"]))
    route, ocr = meta.get("route", {}).get("route", ""), meta.get("ocr")
    facts = [row.split, row.tags[0] if row.tags else "", route, f"view {meta['view']}", f"{row.width} x {row.height}"]
    facts += [f"OCR kept {ocr['kept']}, lowest score {ocr['min_score']}"] if ocr else []
    facts += ["stored clean, drawn here"] if ONLINE in meta else []
    return Card(f"{row.source} page {row.item + 1}", tuple(filter(None, facts)), tuple(pictures), tuple(lines))


def _pictures(sampled: Sampled, meta: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bytes, bytes | None]:
    """Regions, damaged page, clean page."""
    stored = sampled.parts["jpg"]
    if ONLINE in meta:
        page = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
        drawn = redraw(page, meta[ONLINE], generator(ONLINE, 0, sampled.row.key))
        damaged = encode_jpeg(Image.fromarray(drawn.image), 92, full_colour=False)
        return list(drawn.regions), damaged, stored
    return list(meta["regions"]), stored, sampled.source_page(float(meta.get("scale", 1.0)))


def _operators(region: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['name']} {one['strength']:.2f}" for one in region["operators"])
