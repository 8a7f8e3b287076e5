"""Sizes, likeness, scene changes, and clips encoded anew."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.media.likeness import likeness
from pipelines.media.shape import encode_clip, view_size
from pipelines.media.split import Splitter, change, histogram
from pipelines.shards.read import read_clip


@pytest.mark.parametrize(
    ("size", "view"),
    [((960, 540), (210, 126)), ((224, 112), (224, 112)), ((64, 64), (70, 70)), ((4000, 10), (560, 14))],
)
def test_views_have_the_asked_area_in_whole_patches(size: tuple[int, int], view: tuple[int, int]) -> None:
    width, height = view_size(*size, view_pixels=25600, patch=14)
    assert width % 14 == height % 14 == 0
    if size != (4000, 10):
        assert (width, height) == view


def picture(seed: int, noise: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((112, 84), Image.Resampling.BICUBIC)).astype(int)
    image += np.random.default_rng(seed + 1).integers(-noise, noise + 1, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def test_likeness_tells_noise_from_another_picture() -> None:
    same = [(likeness(picture(seed)) ^ likeness(picture(seed, 6))).bit_count() for seed in range(8)]
    other = [(likeness(picture(seed)) ^ likeness(picture(seed + 50))).bit_count() for seed in range(8)]
    assert max(same) <= 6 < 12 <= min(other)


def test_a_cut_changes_the_histogram_and_a_moving_thing_does_not() -> None:
    before = np.zeros((36, 64, 3), np.uint8)
    moved, cut = before.copy(), before + 200
    moved[10:16, 10:16] = 255
    assert change(histogram(before), histogram(moved)) < 0.05
    assert change(histogram(before), histogram(cut)) == pytest.approx(1)


def test_clips_begin_at_lengths_whatever_is_missing() -> None:
    splitter = Splitter("length", Fraction(2), Fraction(1), 0.35)
    times = [0, 1, Fraction(19, 10), Fraction(21, 10), 3, 7, Fraction(79, 10), 8]
    assert [splitter.begins(Fraction(at)) for at in times] == [True, False, False, True, False, True, False, True]


def test_scenes_begin_at_cuts_but_not_at_flashes_and_end_in_time() -> None:
    splitter = Splitter("scenes", Fraction(10), Fraction(1), 0.35)
    dark, light = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 220, np.uint8)
    shown = {0: dark, 1: dark, 2: light, 2.2: dark, 3: dark, 9: dark, 13: dark}
    begun = [at for at, small in shown.items() if splitter.begins(Fraction(at), small)]
    assert begun == [0, 2, 13]


def test_a_stored_clip_gives_its_frames_back() -> None:
    pictures, ticks = [picture(seed) for seed in range(12)], [0, 1, 2, 5, 6, 9, 14, 15, 20, 22, 23, 30]
    data = encode_clip(pictures, ticks, gop=4, scale=2)
    assert data == encode_clip(pictures, ticks, gop=4, scale=2)
    found = read_clip(data)
    assert len(found) == 12
    for seen, drawn in zip(found, pictures, strict=True):
        assert np.abs(np.asarray(seen).astype(int) - np.asarray(drawn)).mean() < 6
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
        assert [round(float(frame.time) * 10) for frame in frames] == ticks
        keys = [n for n, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0 and max(b - a for a, b in pairwise([*keys, 12])) <= 4
    with pytest.raises(DataError, match="cannot be decoded"):
        read_clip(data[:200])
