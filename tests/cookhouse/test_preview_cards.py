"""Cards of clips and conversations: package borders, times, and pictures named where the model sees them."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from cookhouse.pages.samples import render
from cookhouse.preview.cards import load as load_sample
from cookhouse.preview.cards import make_card
from pipelines.media.shape import encode_clip
from pipelines.shards.manifest import Row
from pipelines.shards.sample import clip_content, image_content, sample_json, text_content, turn, video_content


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 80, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


def sampled(kind: str, messages: list[dict[str, Any]], parts: dict[str, bytes], frames: int = 0, mode: str = "none"):
    row = Row("k", "ok", "test", "clip.mp4", "0" * 64, "train", kind, views=len(parts), frames=frames, tags=(mode,))
    return load_sample(row, {**parts, "json": sample_json(kind, "train", mode, messages, {})}, lambda scale: None)


def clip(count: int):
    messages = turn([video_content([2 * n for n in range(count)]), text_content("What moves?")], "A square.")
    return make_card(sampled("video", messages, {f"f{n:04d}.jpg": picture(n) for n in range(count)}, count))


def test_frames_of_a_clip_stand_in_their_packages_with_their_times() -> None:
    card = clip(7)
    assert [shown.group for shown in card.pictures] == ["package 1"] * 3 + ["package 2"] * 3 + ["package 3"]
    assert [shown.caption for shown in card.pictures][:3] == ["0.0 s (tick 0)", "0.2 s (tick 2)", "0.4 s (tick 4)"]
    assert card.pictures[3].data == picture(3)
    assert card.lines[0].text == "[frames 1-7] What moves?"
    page = render("t", (), [card], [])
    assert page.count('<div class="group"') == 3
    assert page.index("package 1") < page.index("tick 4") < page.index("package 2") < page.index("tick 6")


def test_a_stored_clip_is_shown_by_its_frames() -> None:
    frames = [Image.new("RGB", (56, 42), (40 * n, 80, 120)) for n in range(4)]
    data = encode_clip(frames, [0, 5, 10, 15], gop=2, scale=2)
    card = make_card(sampled("video", turn([clip_content([0, 5, 10, 15])], "A square."), {"mp4": data}, 4))
    assert [shown.caption for shown in card.pictures][::3] == ["0.0 s (tick 0)", "1.5 s (tick 15)"]
    assert [shown.size for shown in card.pictures] == [(56, 42)] * 4
    assert card.lines[0].text == "[frames 1-4]"


def test_a_long_clip_says_how_much_is_shown() -> None:
    card = clip(60)
    assert len(card.pictures) == 48
    assert "20 packages of up to 3 frames" in card.facts
    assert "the first 16 packages are shown" in card.facts


def test_a_conversation_names_its_pictures_in_order_and_shows_thoughts() -> None:
    first = turn([image_content("a.jpg"), text_content("And"), image_content("jpg"), text_content("?")], "Both.")
    second = turn([text_content("Sure?")], "Yes.", thought="Look <again>.")
    card = make_card(sampled("question", [*first, *second], {"jpg": picture(1), "a.jpg": picture(2)}, mode="long"))
    assert [(line.chip, line.text) for line in card.lines] == [
        ("user", "[picture 1] And [picture 2] ?"),
        ("assistant", "Both."),
        ("user", "Sure?"),
        ("thought", "Look <again>."),
        ("assistant", "Yes."),
    ]
    assert [shown.data for shown in card.pictures] == [picture(2), picture(1)]
    assert "Look &lt;again&gt;." in render("t", (), [card], [])


def test_plain_string_turns_are_a_conversation_too() -> None:
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    card = make_card(sampled("text", messages, {}))
    assert [line.text for line in card.lines] == ["Hi.", "Hello."]
    assert json.dumps([line.chip for line in card.lines]) == '["user", "assistant"]'
