"""The template to the letter, and what is supervised."""

from __future__ import annotations

import pytest

from model.chat import render, split_thought
from pipelines.core.errors import DataError
from tests.model.conftest import pieces_text

MODES = {True: "long", False: "short", None: "none"}


def ours(messages):
    """The released ``reasoning_content`` is our ``thought``."""
    return [
        {("thought" if name == "reasoning_content" else name): value for name, value in message.items()}
        for message in messages
    ]


def training_mode(message):
    if message["role"] != "assistant":
        return "none"
    thought = message.get("thought") or split_thought(message["content"])[0]
    return "long" if thought.strip("\n") else "short"


def test_every_released_render(golden):
    conversations = golden.json("chat_template/renders.json")
    assert len(conversations) == 15
    for conversation in conversations:
        messages = ours(conversation["messages"])
        for case in conversation["renders"]:
            prompt = case["add_generation_prompt"]
            mode = MODES[case["enable_thinking"]] if prompt else training_mode(messages[-1])
            assert pieces_text(render(messages, mode, generation=prompt)) == case["text"], conversation["name"]
        if "tools" in conversation:
            with_tools = render(messages, "short", generation=True, tools=conversation["tools"])
            assert pieces_text(with_tools) == conversation["render_with_tools"]


def test_every_released_id(golden, released_processor):
    """Through the pieces. Image placeholders typed by hand stay letters here (they become parts), so those two
    conversations have text equality only."""
    for conversation in golden.json("chat_template/renders.json"):
        if "placeholder" in conversation["name"]:
            continue
        messages = ours(conversation["messages"])
        for case in conversation["renders"]:
            prompt = case["add_generation_prompt"]
            mode = MODES[case["enable_thinking"]] if prompt else training_mode(messages[-1])
            (written,) = released_processor.writer.write([render(messages, mode, generation=prompt)])
            assert written.ids.tolist() == case["ids"], conversation["name"]


def supervised(messages, mode):
    return "".join(piece.text for piece in render(messages, mode) if piece.supervised)


QUESTION = {"role": "user", "content": "Q"}


def test_loss_rules():
    answer = {"role": "assistant", "content": "A", "thought": "because"}
    assert supervised([QUESTION, answer], "none") == "A<|im_end|>"
    assert supervised([QUESTION, answer], "short") == "A<|im_end|>"  # the empty think block carries no loss
    assert supervised([QUESTION, answer], "long") == "<think>\nbecause\n</think>\n\nA<|im_end|>"
    assert pieces_text(render([QUESTION, answer], "short")).endswith("assistant\n<think>\n\n</think>\n\nA<|im_end|>\n")
    assert pieces_text(render([QUESTION, answer], "none")).endswith("assistant\nA<|im_end|>\n")


def test_earlier_turns_lose_their_thoughts_and_keep_their_loss():
    first = {"role": "assistant", "content": "B", "thought": "old"}
    last = {"role": "assistant", "content": "C", "thought": "new"}
    assert supervised([QUESTION, first, QUESTION, last], "long") == "B<|im_end|><think>\nnew\n</think>\n\nC<|im_end|>"


def test_a_prompt_has_no_supervision_to_speak_of():
    pieces = render([QUESTION], "long", generation=True)
    assert pieces_text(pieces) == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert not any(piece.supervised for piece in pieces)


def test_split_thought():
    assert split_thought("<think>\na\n</think>\n\nb") == ("a", "b")
    assert split_thought("a</think>b") == ("a", "b")
    assert split_thought("x</think>lost</think>b") == ("x", "b")
    assert split_thought("<think>never closed") == ("", "<think>never closed")


@pytest.mark.parametrize(
    ("messages", "mode", "message"),
    [
        ([QUESTION, {"role": "assistant", "content": "A"}], "long", "has no thought"),
        ([{"role": "usr", "content": "Q"}], "none", "unknown role"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "none", "unknown part type"),
        ([QUESTION], "medium", "unknown reasoning mode"),
    ],
)
def test_bad_messages_are_refused(messages, mode, message):
    with pytest.raises(DataError, match=message):
        render(messages, mode)
