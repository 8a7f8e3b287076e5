"""The JSON of a sample (schema 1), built in one place so that every stage writes what the loader reads.

``messages`` follow the chat form of the model: user content is a list of parts, the assistant's content the target
text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipelines.core.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SCHEMA = 1
KINDS = ("document", "caption", "video", "text", "question", "conversation", "interleaved", "ocr")
MODES = ("short", "long", "none")
FRAME = "f{:04d}.jpg"
CLIP = "mp4"
JpegEncoder = Literal["pillow", "simplejpeg"]


def image_content(part: str = "jpg") -> dict[str, Any]:
    """Content part for one picture stored under ``part``."""
    return {"type": "image", "part": part}


def video_content(ticks: Sequence[int]) -> dict[str, Any]:
    """Content part for frames ``f0000.jpg ...`` with their ticks (0.1 s)."""
    return {
        "type": "video",
        "parts": [FRAME.format(i) for i in range(len(ticks))],
        "ticks": [int(tick) for tick in ticks],
    }


def clip_content(ticks: Sequence[int], part: str = CLIP) -> dict[str, Any]:
    """Content part for a video stored as one MP4 whose frames have these ticks (0.1 s)."""
    return {"type": "video", "part": part, "ticks": [int(tick) for tick in ticks]}


def text_content(text: str) -> dict[str, Any]:
    """Content part for text."""
    return {"type": "text", "text": text}


def turn(user: Sequence[Mapping[str, Any]], answer: str, thought: str | None = None) -> list[dict[str, Any]]:
    """One user turn and the assistant's target (``thought`` only in long mode)."""
    assistant: dict[str, Any] = {"role": "assistant", "content": answer}
    if thought is not None:
        assistant["thought"] = thought
    return [{"role": "user", "content": [dict(part) for part in user]}, assistant]


def sample_json(
    kind: str, split: str, mode: str, messages: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]
) -> bytes:
    """Canonical UTF-8 JSON (sorted keys). Raises DataError if kind, mode and messages do not fit the schema."""
    if kind not in KINDS or mode not in MODES:
        raise DataError(f"sample kind {kind!r} or mode {mode!r} is unknown", why=f"kinds {KINDS}, modes {MODES}")
    if not messages or messages[-1].get("role") != "assistant":
        raise DataError("a sample ends with an assistant message", why=f"{len(messages)} messages given")
    if (mode == "long") != any(message.get("thought") for message in messages):
        raise DataError(f"mode {mode!r} and the presence of a thought disagree")
    value = {
        "schema": SCHEMA,
        "kind": kind,
        "split": split,
        "mode": mode,
        "messages": list(messages),
        "meta": dict(meta),
    }
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def text_size(messages: Sequence[Mapping[str, Any]]) -> int:
    """UTF-8 bytes of all texts of the messages: what ``Row.text_bytes`` holds."""
    total = 0
    for message in messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
        texts.append(message.get("thought") or "")
        total += sum(len(text.encode()) for text in texts)
    return total


def encode_jpeg(
    image: Image.Image, quality: int = 95, full_colour: bool = True, encoder: JpegEncoder = "pillow"
) -> bytes:
    """JPEG bytes; ``full_colour`` keeps 4:4:4 (small coloured text), else 4:2:0. ``simplejpeg`` takes a fifth of
    Pillow's time on a video frame (measured) and rounds colours a little differently."""
    if encoder == "simplejpeg":
        import numpy as np
        import simplejpeg

        pixels = np.ascontiguousarray(image.convert("RGB"))
        return bytes(simplejpeg.encode_jpeg(pixels, quality, "RGB", "444" if full_colour else "420"))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality, subsampling=0 if full_colour else 2)
    return buffer.getvalue()
