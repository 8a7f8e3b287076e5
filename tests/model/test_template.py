"""The exported chat template against every released render and against our own rules."""

from __future__ import annotations

import pytest

from model.chat import render
from model.export import CHAT_TEMPLATE
from tests.model.conftest import pieces_text


@pytest.fixture(scope="module")
def templated(byte_tokenizer):
    def text(messages, **options) -> str:
        return byte_tokenizer.apply_chat_template(messages, chat_template=CHAT_TEMPLATE, tokenize=False, **options)

    return text


def test_every_released_render(golden, templated):
    conversations = golden.json("chat_template/renders.json")
    assert len(conversations) == 15
    for conversation in conversations:
        for case in conversation["renders"]:
            thinking = {} if case["enable_thinking"] is None else {"enable_thinking": case["enable_thinking"]}
            got = templated(conversation["messages"], add_generation_prompt=case["add_generation_prompt"], **thinking)
            assert got == case["text"], conversation["name"]
        if "tools" in conversation:
            got = templated(
                conversation["messages"], tools=conversation["tools"], add_generation_prompt=True, enable_thinking=False
            )
            assert got == conversation["render_with_tools"]


@pytest.mark.parametrize(("mode", "thinking"), [("short", False), ("long", True), ("none", None)])
def test_equals_our_own_prompts(templated, mode, thinking):
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "<think>\nold\n</think>\n\nA"},
        {"role": "user", "content": "Größe?"},
    ]
    options = {} if thinking is None else {"enable_thinking": thinking}
    expected = pieces_text(render(messages, mode, generation=True))
    assert templated(messages, add_generation_prompt=True, **options) == expected
