"""Forms of conversations and interleaved documents, read without opening a file."""

from __future__ import annotations

import base64

import pytest

from pipelines.text.chats import Message, Part, read_chat, read_interleaved


def told(messages: tuple[Message, ...]) -> list[tuple[str, list[tuple[str, object]], str]]:
    return [(m.role, [(p.kind, p.value) for p in m.parts], m.thought) for m in messages]


def test_openai_style_with_parts_and_thoughts() -> None:
    data = "data:image/png;base64," + base64.b64encode(b"png").decode()
    record = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data}},
                    {"type": "video", "video": "v.mp4"},
                    {"type": "text", "text": "What?"},
                ],
            },
            {"role": "assistant", "content": "<think>early</think>A cat."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "reasoning_content": "Look again.", "content": "Yes."},
            {"role": "user", "content": "not answered"},
        ]
    }
    assert told(read_chat(record)) == [
        ("system", [("text", "Be kind.")], ""),
        ("user", [("image", b"png"), ("video", "v.mp4"), ("text", "What?")], ""),
        ("assistant", [("text", "A cat.")], ""),
        ("user", [("text", "Sure?")], ""),
        ("assistant", [("text", "Yes.")], "Look again."),
    ]


def test_sharegpt_style_with_marks() -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "<image>\nFirst, then <image> and <video>?"},
            {"from": "gpt", "value": "<think>\n\n</think>\n\nDone."},
        ],
        "images": ["a.jpg", {"bytes": b"b", "path": None}],
        "video": "c.mp4",
    }
    assert told(read_chat(record)) == [
        (
            "user",
            [
                *(("image", "a.jpg"), ("text", "First, then"), ("image", b"b")),
                *(("text", "and"), ("video", "c.mp4"), ("text", "?")),
            ],
            "",
        ),
        ("assistant", [("text", "Done.")], ""),
    ]  # fmt: skip
    plain = {"image": "a.jpg", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    assert read_chat(plain)[0].parts == (Part("image", "a.jpg"), Part("text", "Q"))


ASK, SAY = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "neither messages"),
        ({"messages": [ASK]}, "no question with an answer"),
        ({"messages": [SAY]}, "no question with an answer"),
        ({"messages": [ASK, {"role": "tool", "content": "x"}, SAY]}, "role 'tool'"),
        ({"messages": [ASK, {**SAY, "tool_calls": [1]}]}, "tool calls"),
        ({"messages": [ASK, {"role": "assistant", "content": " "}]}, "empty message"),
        ({"messages": [{"role": "user", "content": "<image>"}, SAY]}, "more marks"),
        (
            {"messages": [{"role": "user", "content": "<image>"}, SAY], "images": ["a", "b"]},
            "1 pictures or videos more",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}, SAY]}, "'audio' is not read"),
        ({"messages": [ASK, SAY], "image": "https://x.org/a.jpg"}, "outside the source folder"),
        ({"messages": [ASK, SAY], "image": "data:image/png;base64,!"}, "does not decode"),
        ({"messages": [ASK, SAY, {"role": "system", "content": "s"}, ASK, SAY]}, "system message in the middle"),
        ({"messages": [ASK, 3]}, "not an object"),
    ],
)
def test_other_records_say_what_is_wrong(record: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_chat(record)


def test_documents_become_turns() -> None:
    record = {
        "texts": ["Intro.", None, None, "About both.", "More.", None, "Last.", None],
        "images": [None, "a.jpg", "b.jpg", None, None, "c.jpg", None, "d.jpg"],
    }
    turns = told(read_interleaved(record))
    assert [(role, parts) for role, parts, _ in turns] == [
        ("user", [("text", "Intro."), ("image", "a.jpg"), ("image", "b.jpg")]),
        ("assistant", [("text", "About both."), ("text", "More.")]),
        ("user", [("image", "c.jpg")]),
        ("assistant", [("text", "Last.")]),
    ]
    content = [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "T"}]
    assert [message.role for message in read_interleaved({"content": content})] == ["user", "assistant"]
    for bad in ({"texts": ["a"], "images": []}, {"texts": ["a"], "images": [None]}, {"texts": [None], "images": ["a"]}):
        with pytest.raises(ValueError, match=r"one length|no picture"):
            read_interleaved(bad)
