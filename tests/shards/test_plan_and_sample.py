from __future__ import annotations

import json
import random

import pytest

from pipelines.core.errors import DataError
from pipelines.shards.plan import SourceItem, plan_units
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn, video_content


def source(name: str, sha256: str = "") -> SourceItem:
    return SourceItem(f"/data/{name}", name, 1, sha256 or name * 16, "train")


def test_units_follow_the_names_and_nothing_else() -> None:
    items = [source(name) for name in "edcba"]
    units = plan_units(items, 2, "videos")
    assert [(unit.name, [item.name for item in unit.items]) for unit in units] == [
        ("videos-000000", ["a", "b"]),
        ("videos-000001", ["c", "d"]),
        ("videos-000002", ["e"]),
    ]
    random.Random(0).shuffle(items)
    assert plan_units(items, 2, "videos") == units


def test_copies_are_marked_and_have_keys_of_their_own() -> None:
    units = plan_units([source("b", "f" * 64), source("a", "f" * 64), source("c", "")], 9, "u")
    a, b, c = units[0].items
    assert (a.copy_of, b.copy_of, c.copy_of) == ("", "a", "")
    assert a.key("v") == "v" + "f" * 16
    assert b.key("v") == "v" + "f" * 16 + "-x00001"


def test_unreadable_files_keep_a_key_by_name() -> None:
    one, two = (SourceItem("", name, 0, "", "train") for name in ("one", "two"))
    assert one.key("v") != two.key("v")
    assert plan_units([one, two], 1, "u")[1].items[0].copy_of == ""


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(DataError):
        plan_units([source("a"), source("a")], 1, "u")


def test_the_json_of_a_sample_follows_the_contract() -> None:
    messages = turn([video_content([0, 5]), image_content(), text_content("Read.")], "42", "21 + 21 = 42")
    value = json.loads(sample_json("video", "train", "long", messages, {"answer": "42"}))
    assert value["schema"] == 1
    user, assistant = value["messages"]
    assert user["content"][0] == {"type": "video", "parts": ["f0000.jpg", "f0001.jpg"], "ticks": [0, 5]}
    assert assistant == {"role": "assistant", "content": "42", "thought": "21 + 21 = 42"}
    assert text_size(messages) == len("Read." + "42" + "21 + 21 = 42")


@pytest.mark.parametrize(
    ("kind", "mode", "thought"),
    [("audio", "none", None), ("text", "fast", None), ("text", "long", None), ("text", "short", "x")],
)
def test_json_that_contradicts_itself_is_refused(kind: str, mode: str, thought: str | None) -> None:
    with pytest.raises(DataError):
        sample_json(kind, "train", mode, turn([text_content("a")], "b", thought), {})
    with pytest.raises(DataError):
        sample_json("text", "train", "none", [{"role": "user", "content": []}], {})
