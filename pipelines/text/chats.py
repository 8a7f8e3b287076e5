"""Records people bring, as conversations: OpenAI-style, ShareGPT-style, interleaved documents. Pure: no file is opened.

* OpenAI: ``{"messages": [{"role", "content"}]}``; content is a text or a list of parts ``{"type": "text"}``,
  ``{"type": "image_url", "image_url": {"url"}}``, ``{"type": "image", "image"}``, ``{"type": "video", "video"}``.
* ShareGPT: ``{"conversations": [{"from": "human" | "gpt" | "system", "value"}]}``.
* In both, texts may hold ``<image>`` and ``<video>``, which stand for the next entry of the record's ``images`` (or
  ``image``) and ``videos`` (or ``video``); without any such mark all of them come before the first question.
* A thought stands in the message (``thought``, ``reasoning_content`` or ``thinking``) or in ``<think>...</think>`` before
  the answer. Only the last answer keeps its thought: the chat template drops the others.
* Interleaved: ``{"texts": ["...", null], "images": [null, "a.jpg"]}`` side by side, or ``{"content": [parts]}``. Pictures
  are what the user gives, the text behind them what the assistant says; pictures behind the last text teach nothing.

A picture or video is named relative to the table's folder or to the source folder, or stands in the record as
``data:`` URL or as ``{"bytes": ...}``. Everything else raises ValueError with the reason.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Medium = str | bytes
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_MARK = re.compile(r"<(image|video)>")
_THINK = re.compile(r"^\s*<think>(.*?)</think>\s*", re.DOTALL)
_THOUGHTS = ("thought", "reasoning_content", "thinking")


@dataclass(frozen=True)
class Part:
    """``kind`` is ``text``, ``image`` or ``video``; ``value`` the text, or where the medium is, or its bytes."""

    kind: str
    value: Medium


@dataclass(frozen=True)
class Message:
    """``thought`` is "" where there is none."""

    role: str
    parts: tuple[Part, ...]
    thought: str = ""

    @property
    def text(self) -> str:
        return "\n".join(str(part.value) for part in self.parts if part.kind == "text")


def read_chat(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """A conversation that ends with an answer. Raises ValueError for a record of another form."""
    said = record.get("messages") or record.get("conversations")
    if not isinstance(said, list) or not said:
        raise ValueError("neither messages nor conversations in the record")
    waiting = {kind: iter(_media(record, kind)) for kind in ("image", "video")}
    messages = [_message(entry, waiting) for entry in said]
    left = [Part(kind, value) for kind in ("image", "video") for value in waiting[kind]]
    marked = any(part.kind != "text" for message in messages for part in message.parts)
    if left and marked:
        raise ValueError(f"{len(left)} pictures or videos more than the texts have marks for")
    if left:
        first = next((n for n, message in enumerate(messages) if message.role == "user"), None)
        if first is None:
            raise ValueError("pictures without a question")
        messages[first] = Message("user", (*left, *messages[first].parts))
    return _trained_on(messages)


def read_interleaved(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """A document as turns: pictures from the user, the text behind them from the assistant. Raises ValueError."""
    parts = list(_document_parts(record))
    while parts and parts[-1].kind != "text":
        parts.pop()
    if not any(part.kind == "image" for part in parts):
        raise ValueError("no picture with a text behind it")
    messages: list[Message] = []
    waiting: list[Part] = []
    for part in parts:
        if part.kind == "text" and any(one.kind == "image" for one in waiting):
            messages += [Message("user", tuple(waiting)), Message("assistant", (part,))]
            waiting = []
        elif part.kind == "text" and messages and not waiting:
            messages[-1] = Message("assistant", (*messages[-1].parts, part))
        else:
            waiting.append(part)
    return tuple(messages)


def _document_parts(record: Mapping[str, Any]) -> Iterator[Part]:
    texts, images = record.get("texts"), record.get("images")
    if isinstance(record.get("content"), list):
        for entry in record["content"]:
            yield from _parts_of(entry)
        return
    if not isinstance(texts, list) or not isinstance(images, list) or len(texts) != len(images):
        raise ValueError("an interleaved document has texts and images of one length, or a content list")
    for text, image in zip(texts, images, strict=True):
        if image is not None:
            yield Part("image", _medium(image))
        if isinstance(text, str) and text.strip():
            yield Part("text", text.strip())


def _message(entry: Any, waiting: Mapping[str, Iterator[Medium]]) -> Message:
    if not isinstance(entry, Mapping):
        raise ValueError("a message is not an object")
    name = str(entry.get("role", entry.get("from")))
    if name not in ROLES:
        raise ValueError(f"role {name!r} is none of {', '.join(sorted(ROLES))}")
    if entry.get("tool_calls"):
        raise ValueError("tool calls are not read")
    content = entry.get("content", entry.get("value"))
    given: list[Part] = []
    for one in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        given += _parts_of(one)
    thought = next((str(entry[key]).strip() for key in _THOUGHTS if entry.get(key)), "")
    parts: list[Part] = []
    for part in given:
        if part.kind != "text":
            parts.append(part)
            continue
        text = str(part.value)
        if ROLES[name] == "assistant" and not parts and (match := _THINK.match(text)):
            thought, text = thought or match.group(1).strip(), text[match.end() :]
        parts += _marked(text, waiting) if ROLES[name] == "user" else [Part("text", text.strip())]
    parts = [part for part in parts if part.value]
    if not parts:
        raise ValueError(f"an empty message of the {ROLES[name]}")
    if ROLES[name] != "user" and any(part.kind != "text" for part in parts):
        raise ValueError(f"a picture or video in a message of the {ROLES[name]}")
    return Message(ROLES[name], tuple(parts), thought if ROLES[name] == "assistant" else "")


def _marked(text: str, waiting: Mapping[str, Iterator[Medium]]) -> list[Part]:
    """``<image>`` and ``<video>`` in a text replaced by the next picture or video of the record."""
    parts: list[Part] = []
    position = 0
    for match in _MARK.finditer(text):
        parts.append(Part("text", text[position : match.start()].strip()))
        value = next(waiting[match.group(1)], None)
        if value is None:
            raise ValueError(f"more marks <{match.group(1)}> than the record has")
        parts.append(Part(match.group(1), value))
        position = match.end()
    return [*parts, Part("text", text[position:].strip())]


def _parts_of(entry: Any) -> list[Part]:
    if isinstance(entry, str):
        return [Part("text", entry)]
    if not isinstance(entry, Mapping):
        raise ValueError("a content part is not an object")
    kind = str(entry.get("type")).removesuffix("_url")
    if kind == "text":
        if not isinstance(entry.get("text"), str):
            raise ValueError(f"a text is {type(entry.get('text')).__name__}, not a string")
        return [Part("text", entry["text"])]
    if kind not in ("image", "video"):
        raise ValueError(f"content of type {entry.get('type')!r} is not read")
    value = entry.get(kind, entry.get(f"{kind}_url"))
    return [Part(kind, _medium(value.get("url", value) if isinstance(value, Mapping) else value))]


def _media(record: Mapping[str, Any], kind: str) -> list[Medium]:
    found = record.get(f"{kind}s", record.get(kind))
    listed = found if isinstance(found, list | tuple) else [] if found is None else [found]
    return [_medium(value) for value in listed]


def _medium(value: Any) -> Medium:
    """A name, or bytes. Raises ValueError for an address elsewhere: its bytes would not be part of the key."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"a picture or video is given as {type(value).__name__}")
    if value.startswith("data:"):
        try:
            return base64.b64decode(value.partition(",")[2], validate=True)
        except binascii.Error as error:
            raise ValueError(f"a data: URL does not decode: {error}") from error
    if "://" in value:
        raise ValueError(f"{value[:80]} lies outside the source folder; copy it there first")
    return value


def _trained_on(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Up to the last answer; thoughts of earlier answers are left out."""
    last = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0 or not any(message.role == "user" for message in messages[:last]):
        raise ValueError("no question with an answer")
    kept = [Message(m.role, m.parts, m.thought if n == last else "") for n, m in enumerate(messages[: last + 1])]
    for number, message in enumerate(kept):
        if message.role == "system" and number:
            raise ValueError("a system message in the middle")
    return tuple(kept)
