"""Pictures to patches: RGB, bicubic resize, slices, and pixels scaled to [-1, 1] in float32.

``patches [L, 3*P*P]``: row-major over the view, each patch flattened (channel, row, column) like the weight of the
tower's patch convolution. As in the released processor alpha is dropped and EXIF orientation is ignored; turning a
photo upright is the data pipeline's decision, not the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.config import SliceConfig
from model.slicing import Size, plan_views
from pipelines.core.errors import DataError

MAX_ASPECT = 400  # a 20000x20 strip has nothing to read and would become one row of a thousand patches


@dataclass(frozen=True)
class View:
    """One encoder input: ``levels`` ``[rows*cols, 3*P*P]`` uint8."""

    levels: np.ndarray
    rows: int
    cols: int

    @property
    def patches(self) -> Tensor:
        """``[rows*cols, 3*P*P]`` float32 in [-1, 1]."""
        return patches_of([self], 0)


def patches_of(views: Sequence[View], patch_dim: int) -> Tensor:
    """The patches of all views end to end, ``[N, 3*P*P]``: (x / 255 - mean) / std with mean = std = 0.5, rounded to float32
    after each step as in the released processor."""
    if not views:
        return torch.zeros(0, patch_dim)
    scaled = np.concatenate([view.levels for view in views]).astype(np.float32)
    scaled /= np.float32(255)
    scaled -= np.float32(0.5)
    scaled /= np.float32(0.5)
    return torch.from_numpy(scaled)


def to_rgb(image: Image.Image, name: str = "image") -> Image.Image:
    """An 8-bit RGB copy; 16-bit grey is scaled down (PIL alone would clip it to white). Raises DataError for empty pictures,
    strips beyond 400:1, and float or out-of-range integer pixels, which have no agreed scale."""
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError(f"{name} has no pixels ({width}x{height})", do="drop the picture or render it again")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(
            f"{name} is a strip of {width}x{height} pixels",
            why=f"sides may differ by at most {MAX_ASPECT} times",
            do="crop it",
        )
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(f"{name} has integer pixels outside 0..65535", do="convert it to 8 bits")
        shift = 8 if image.mode != "I" or grey.max() > 255 else 0
        return Image.fromarray((grey >> shift).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{name} has floating point pixels", why="their scale is not known", do="convert it to 8 bits")
    return image.convert("RGB")


def cut(image: Image.Image, settings: SliceConfig, name: str = "image") -> tuple[list[Image.Image], Size | None]:
    """The resized views of a picture (thumbnail first, then slices row by row) and its grid (columns, rows)."""
    rgb = to_rgb(image, name)
    plan = plan_views(*rgb.size, settings)
    views = [_resize(rgb, plan.thumbnail)]
    if plan.refined is not None:
        whole = _resize(rgb, plan.refined)
        views += [whole.crop(box) for box in plan.boxes]
    return views, plan.grid


def patchify(image: Image.Image, patch_size: int) -> View:
    """An RGB picture whose sides are whole patches -> its view."""
    pixels = np.asarray(image)  # [H, W, 3]
    rows, cols = pixels.shape[0] // patch_size, pixels.shape[1] // patch_size
    cells = pixels.reshape(rows, patch_size, cols, patch_size, 3).transpose(0, 2, 4, 1, 3)
    return View(cells.reshape(rows * cols, -1), rows, cols)


def _resize(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
