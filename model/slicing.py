"""LLaVA-UHD slicing as pure arithmetic: how a picture of W x H pixels becomes one thumbnail and a grid of slices.

A view wants about ``scale_resolution`` squared pixels, the area the tower was trained for. A larger picture keeps a
whole-page thumbnail and is cut into a grid whose cells have the aspect nearest to the picture's (paper.md 2.4).

Example (released settings): 1024x768 -> thumbnail 518x392 (28 rows x 37 columns of 14-pixel patches) and a 2x2 grid of
518x392 slices cut from the picture resized to 1036x784: 5 views, 320 tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.config import SliceConfig

Size = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True)
class SlicePlan:
    """What to cut. ``grid`` is (columns, rows) and ``refined`` the size the picture is resized to before the cut, both
    None when the thumbnail is the only view. Sizes are (width, height) in pixels."""

    thumbnail: Size
    grid: Size | None
    refined: Size | None

    @property
    def slice(self) -> Size | None:
        """(width, height) of one slice."""
        if self.grid is None or self.refined is None:
            return None
        return self.refined[0] // self.grid[0], self.refined[1] // self.grid[1]

    @property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """(left, top, right, bottom) of every slice in the refined picture, row by row."""
        if self.grid is None or self.slice is None:
            return ()
        (cols, rows), (width, height) = self.grid, self.slice
        return tuple(
            (col * width, row * height, (col + 1) * width, (row + 1) * height)
            for row in range(rows)
            for col in range(cols)
        )


def snap(length: float, unit: int) -> int:
    """The nearest multiple of ``unit``, at least one (ties to the even multiple)."""
    return max(round(length / unit) * unit, unit)


def best_resize(width: float, height: float, settings: SliceConfig, upscale: bool) -> Size:
    """A size of the same aspect with about the area of one view, in whole patches; only ``upscale`` enlarges."""
    side = settings.scale_resolution
    if upscale or width * height > side * side:
        ratio = width / height
        height = int(side / math.sqrt(ratio))
        width = int(height * ratio)
    return snap(width, settings.patch_size), snap(height, settings.patch_size)


def best_grid(width: int, height: int, settings: SliceConfig) -> Size | None:
    """(columns, rows) of the slices, or None when one view is enough: of the factor pairs of N-1, N and N+1 slices (N = area
    over view area, capped), the one whose aspect is nearest in log scale; the first found wins ties."""
    limit = settings.max_slice_nums
    ideal = min(math.ceil(width * height / settings.scale_resolution**2), limit)
    if ideal <= 1:
        return None
    counts = [count for count in (ideal - 1, ideal, ideal + 1) if 1 < count <= limit]
    grids = [(cols, count // cols) for count in counts for cols in range(1, count + 1) if count % cols == 0]
    aspect = math.log(width / height)
    return min(grids, key=lambda grid: abs(aspect - math.log(grid[0] / grid[1])))


def plan_views(width: int, height: int, settings: SliceConfig) -> SlicePlan:
    """The views of a picture of ``width`` x ``height`` pixels. Raises ValueError for an empty picture."""
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width}x{height} pixels has no views")
    grid = best_grid(width, height, settings)
    thumbnail = best_resize(width, height, settings, upscale=grid is None)
    if grid is None:
        return SlicePlan(thumbnail, None, None)
    cols, rows = grid
    cell = best_resize(snap(width, cols) / cols, snap(height, rows) / rows, settings, upscale=True)
    return SlicePlan(thumbnail, grid, (cell[0] * cols, cell[1] * rows))
