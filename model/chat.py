"""Messages to text: ChatML with the reasoning mode, as a list of pieces that say what is control, what is data.

A prompt is never one string: text of users stays data, so a user who types ``<|im_end|>`` gets those letters, not the
control token. The pieces also carry the loss mask (paper.md 2.9): the answer and its ``<|im_end|>`` are supervised, a
real thought from ``<think>`` on, an empty think block never. Role headers and everything else: not.

``short``: empty think block. ``long``: the thought, or an open ``<think>`` for the model to continue. ``none``: no
block, as in pretraining. Earlier assistant turns lose their thoughts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipelines.core.errors import DataError

Mode = Literal["short", "long", "none"]
Message = Mapping[str, Any]

TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
TOOLS_SHAPE = '\n{"name": <function-name>, "arguments": <args-json-object>}\n'


@dataclass(frozen=True)
class Piece:
    """A run of the prompt: ``text`` (data), ``control`` (one special token by name) or ``visual`` (an image or video
    part, which the processor replaces by its markup)."""

    kind: Literal["text", "control", "visual"]
    text: str = ""
    supervised: bool = False
    part: Mapping[str, Any] | None = None


def text(value: str) -> Piece:
    return Piece("text", value)


def control(name: str) -> Piece:
    return Piece("control", name)


def render(
    messages: Sequence[Message],
    mode: Mode = "short",
    *,
    generation: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[Piece]:
    """Pieces of a conversation; with ``generation`` an opened assistant turn in the given mode follows.

    A message is {"role", "content": str | parts, "thought"?: str, "tool_calls"?: list}; ``thought`` may also stand in
    the content of an assistant turn, before ``</think>``. ``mode`` shapes the last turn only: ``short`` and ``none``
    leave its thought out. Raises DataError for an unknown role or mode, or a ``long`` target without a thought.
    """
    if mode not in ("short", "long", "none"):
        raise DataError(f"unknown reasoning mode {mode!r}", do="use short, long or none")
    out = _system(messages, tools)
    query = _last_query(messages)
    for index, message in enumerate(messages):
        role, last = message["role"], index == len(messages) - 1
        if role == "user" or (role == "system" and index > 0):
            out += [control("<|im_start|>"), text(f"{role}\n"), *_content(message), control("<|im_end|>"), text("\n")]
        elif role == "assistant":
            wanted: Mode | Literal["auto"] = mode if last and not generation else "auto"
            out += _assistant(message, wanted, after_query=index > query, last=last)
        elif role == "tool":
            before = index > 0 and messages[index - 1]["role"] == "tool"
            after = not last and messages[index + 1]["role"] == "tool"
            out += _tool(message, opens=not before, closes=not after)
        elif role != "system":
            raise DataError(f"unknown role {role!r} in a message", do="use system, user, assistant or tool")
    if generation:
        out += [control("<|im_start|>"), text("assistant\n")]
        if mode == "short":
            out += _think("\n\n")
        elif mode == "long":
            out += [control("<think>"), text("\n")]
    return out


def split_thought(answer: str) -> tuple[str, str]:
    """(thought, answer) of an assistant's text: before the first and after the last ``</think>``. Models sometimes forget
    the opening tag, so the closing one decides; what lies between two is lost, as in the released template (golden trap
    14)."""
    if "</think>" not in answer:
        return "", answer
    thought = answer.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
    return thought, answer.split("</think>")[-1].lstrip("\n")


def _content(message: Message) -> list[Piece]:
    """Parts joined by one newline."""
    content = message["content"]
    if isinstance(content, str):
        return [text(content)]
    out: list[Piece] = []
    for part in content:
        if out:
            out.append(text("\n"))
        if part.get("type") == "text":
            out.append(text(part["text"]))
        elif part.get("type") in ("image", "video"):
            out.append(Piece("visual", part=part))
        else:
            raise DataError(f"unknown part type {part.get('type')!r} in a message", do="use text, image or video")
    return out


def _plain(message: Message) -> str:
    return "".join(piece.text for piece in _content(message))


def _think(inside: str) -> list[Piece]:
    return [control("<think>"), text(inside), control("</think>"), text("\n\n")]


def _assistant(message: Message, mode: Mode | Literal["auto"], *, after_query: bool, last: bool) -> list[Piece]:
    """One assistant turn. ``auto``: the template's own choice (a turn that is context, not the target)."""
    calls = message.get("tool_calls") or ()
    answer: str = _plain(message)
    thought = message.get("thought")
    if thought is None:
        thought, answer = split_thought(answer)
    thought = thought.strip("\n")
    head = [control("<|im_start|>"), text("assistant\n")]
    if mode == "auto":
        mode = "none" if not after_query or not (last or thought) else "long" if thought else "short"
    elif mode == "long" and not thought:
        raise DataError("a long-mode target has no thought", do="give the message a thought, or use mode short")
    if mode != "none":
        answer = answer.lstrip("\n")
    if mode == "short":
        head += _think("\n\n")
    body = _think(f"\n{thought}\n") if mode == "long" else []
    body += [text(answer), *_calls(calls, answer), control("<|im_end|>")]
    return [*head, *(replace(piece, supervised=True) for piece in body), text("\n")]


def _calls(calls: Sequence[Mapping[str, Any]], answer: str) -> list[Piece]:
    out: list[Piece] = []
    for index, call in enumerate(calls):
        function = call.get("function") or call
        arguments = function["arguments"]
        arguments = arguments if isinstance(arguments, str) else _json(arguments)
        out += [text("\n")] if index or answer else []
        out += [
            control("<tool_call>"),
            text(f'\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n'),
            control("</tool_call>"),
        ]
    return out


def _tool(message: Message, *, opens: bool, closes: bool) -> list[Piece]:
    out = [control("<|im_start|>"), text("user")] if opens else []
    out += [text("\n"), control("<tool_response>"), text("\n"), *_content(message)]
    out += [text("\n"), control("</tool_response>")]
    return out + ([control("<|im_end|>"), text("\n")] if closes else [])


def _system(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
    given = _content(messages[0]) if messages and messages[0]["role"] == "system" else []
    if tools:
        body = [*given, text("\n\n")] if given else []
        body += [text(TOOLS_HEAD + "".join("\n" + _json(tool) for tool in tools) + TOOLS_TAIL)]
        body += [control("<tool_call>"), control("</tool_call>"), text(" XML tags:\n")]
        body += [control("<tool_call>"), text(TOOLS_SHAPE), control("</tool_call>")]
    elif given:
        body = given
    else:
        return []
    return [control("<|im_start|>"), text("system\n"), *body, control("<|im_end|>"), text("\n")]


def _last_query(messages: Sequence[Message]) -> int:
    """Index of the last user turn that is not a tool's answer in disguise; thoughts after it are kept."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "user":
            said = _plain(messages[index])
            if not (said.startswith("<tool_response>") and said.endswith("</tool_response>")):
                return index
    return len(messages) - 1


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
