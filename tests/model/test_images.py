"""Pixels: any picture becomes RGB patches in [-1, 1], or a clear error."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from model.config import SliceConfig
from model.images import cut, patchify, to_rgb
from pipelines.core.errors import DataError


@pytest.mark.parametrize("case", ["100x60_s42_n9", "449x448_s42_n2"])
def test_small_views_equal_the_released_tensors(golden, released_layout, case):
    spec = golden.json("processor/manifest.json")["small_pixel_values"]["cases"][case]
    expected = golden.tensors("processor/small_pixel_values.safetensors")
    image = Image.open(io.BytesIO(golden.bytes(f"processor/{spec['image']}")))
    settings = SliceConfig(scale_resolution=spec["scale_resolution"], max_slice_nums=spec["max_slice_nums"])
    views = [patchify(view, 14) for view in cut(image, settings)[0]]
    assert [[view.rows, view.cols] for view in views] == spec["tgt_sizes"]
    stored = [expected[name] for name in sorted(expected) if name.startswith(f"{case}.pixel_values")]
    for view, tensor in zip(views, stored, strict=True):
        torch.testing.assert_close(released_layout(view.patches), tensor, atol=1e-6, rtol=0)


def test_views_of_every_processor_case_are_bit_equal(golden, released_layout):
    """sha256 of every view at the real resolution, videos and all image modes included."""
    cases = golden.json("processor/cases.json")
    seen = 0
    for name, case in cases.items():
        hashes = []
        frames: list[list[str]] = []
        for part in (part for message in case["messages"] for part in message["content"] if "image" in part):
            image = Image.open(io.BytesIO(golden.bytes(f"processor/{part['image']}")))
            views = cut(image, SliceConfig(max_slice_nums=case["max_slice_nums"] or 9))[0]
            pixels = [released_layout(patchify(view, 14).patches).numpy().astype("<f4").tobytes() for view in views]
            frames.append([hashlib.sha256(data).hexdigest() for data in pixels])
        groups = case["temporal_ids"] or [[-1]] * len(frames)
        for group in groups:
            package, frames = frames[: len(group)], frames[len(group) :]
            hashes += [digest for row in zip(*package, strict=True) for digest in row]
        assert hashes == [view["sha256"] for view in case["views"]], name
        seen += len(hashes)
    assert seen == 74


def test_patch_order_is_channel_row_column():
    pixels = np.zeros((28, 42, 3), dtype=np.uint8)
    pixels[14 + 3, 28 + 5, 2] = 255  # patch (1, 2), channel 2, row 3, column 5
    view = patchify(Image.fromarray(pixels), 14)
    assert (view.rows, view.cols, tuple(view.patches.shape)) == (2, 3, (6, 588))
    assert view.patches.argmax().item() == (1 * 3 + 2) * 588 + 2 * 196 + 3 * 14 + 5
    assert (view.patches.min().item(), view.patches.max().item()) == (-1.0, 1.0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode):
    base = Image.fromarray(np.full((20, 30), 100, dtype=np.uint8))
    image = Image.fromarray(np.full((20, 30), 25700, dtype=np.uint16)) if mode == "I;16" else base.convert(mode)
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.size) == ("RGB", (30, 20))
    if mode in ("L", "LA", "P", "RGBA", "I;16"):  # 25700 = 100 * 257: 16 bits of the same grey
        assert abs(int(np.asarray(rgb).mean()) - 100) <= 1


def test_alpha_is_dropped_and_exif_orientation_ignored():
    image = Image.new("RGBA", (40, 20), (200, 10, 10, 0))
    assert np.asarray(to_rgb(image))[0, 0].tolist() == [200, 10, 10]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20)).save(buffer, "jpeg", exif=exif)
    assert to_rgb(Image.open(buffer)).size == (40, 20)


def test_one_pixel_is_enlarged_to_one_view():
    views, grid = cut(Image.new("RGB", (1, 1)), SliceConfig(scale_resolution=112))
    assert (len(views), grid, views[0].size) == (1, None, (112, 112))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGB", (0, 5)), "no pixels"),
        (Image.new("RGB", (20000, 20)), "strip of 20000x20"),
        (Image.new("F", (30, 30)), "floating point"),
        (Image.fromarray(np.full((5, 5), -4, dtype=np.int32)), "outside 0..65535"),
    ],
)
def test_pictures_without_meaning_are_refused(image, message):
    with pytest.raises(DataError, match=message):
        to_rgb(image)
