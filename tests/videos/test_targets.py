"""What is said of a video, in sidecars and tables, and which clip it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.videos.targets import Target, read_targets, target_of_row, targets_within

SRT = """1
00:00:00,500 --> 00:00:02,000
<i>Hello</i> there.

2
00:00:02,500 --> 00:00:05,250
{\\an8}Second
line.
"""


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"captions": "a"}',
        '{"captions": [""]}',
        '{"captions": [{"text": "a", "start": 1}]}',
        '{"captions": [{"text": "a", "start": 3, "end": 1}]}',
        '{"questions": [{"question": "a"}]}',
        '{"questions": ["a"]}',
    ],
)
def test_sidecars_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"JSON|lists|text|object|seconds|last"):
        read_targets(str(path), "Describe.")


def test_text_and_subtitles_are_captions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" A caption.\n", encoding="utf-8-sig")
    assert read_targets(str(tmp_path / "a.txt"), "P") == [Target("caption", "P", "A caption.")]
    (tmp_path / "a.srt").write_text(SRT)
    cues = read_targets(str(tmp_path / "a.srt"), "P")
    assert cues == [Target("cue", "P", "Hello there.", (0.5, 2.0)), Target("cue", "P", "Second line.", (2.5, 5.25))]
    assert targets_within(cues, 0, 0, whole=True) == [(Target("caption", "P", "Hello there. Second line."), False)]
    assert targets_within(cues, 2, 4, whole=False) == [(Target("caption", "P", "Second line."), False)]
    assert [target.part for target, _ in targets_within(cues, 8, 9, whole=False)] == ["unlabelled"]
    for bad in ("", "no times here"):
        (tmp_path / "b.srt").write_text(bad)
        with pytest.raises(ValueError, match="line of times"):
            read_targets(str(tmp_path / "b.srt"), "P")


def test_rows_and_sidecars_add_up_and_timed_texts_find_their_clip(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"captions": [{"text": "Early.", "start": 0, "end": 2}], "questions": [{"question": "Q?", "answer": "A"}]}'
    )
    row = target_of_row({"file": "a", "caption": "All.", "question": None, "start": None, "end": None}, "P")
    targets = read_targets(str(tmp_path / "a.json"), "P", [row])
    assert [target.answer for target in targets] == ["All.", "Early.", "A"]
    first = targets_within(targets, 0, 5, whole=False)
    assert [(target.answer, untimed) for target, untimed in first] == [("All.", True), ("Early.", False), ("A", True)]
    assert [target.answer for target, _ in targets_within(targets, 5, 9, whole=False)] == ["All.", "A"]
    assert [untimed for _, untimed in targets_within(targets, 0, 9, whole=True)] == [False] * 3
    assert target_of_row({"question": "Q", "answer": "A", "start": 1, "end": 2}, "P").span == (1.0, 2.0)
    for bad in ({}, {"caption": 1}, {"question": "Q"}, {"caption": "a", "start": "1", "end": 2}):
        with pytest.raises(ValueError, match=r"not a text|seconds"):
            target_of_row(bad, "P")
