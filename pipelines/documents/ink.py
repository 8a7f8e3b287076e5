"""The ink check: a word counts only if the clean raster shows something where it claims to be.

White, covered, clipped and invisible words have a text layer and no ink; as labels they would teach the model to
invent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MIN_CONTRAST = 40  # grey levels between the lightest and the darkest pixel of a box
REACH = MIN_CONTRAST // 2 - 1  # grey levels around the paper's that are still paper
MAX_OVERLAP = 0.6
_ROWS = np.array([[0.4], [0.55], [0.7]])
_COLUMNS = np.linspace(0.02, 0.98, 24)[:, None]
_PAIRS = 1 << 20
_BANDS = 4096
_FAR = 1e6  # pixels; a box that reaches farther is on no page
Box = tuple[int, int, int, int]


def contrast(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.int16]:
    """Range of grey levels inside each box [N, 4] (pixels) in its middle 90 %, of green, or of red or blue where
    green shows less than ``MIN_CONTRAST`` (a grey image has one channel); where some pixels of green already show that
    much, their range. -1 for a box that is cut off: less than 90 % of its width or not the middle 40 % of its height on
    the image (above and below are often empty metrics of the font)."""
    height, width = image.shape[:2]
    result = np.full(len(boxes), -1, dtype=np.int16)
    if not len(boxes):
        return result
    x0, y0, x1, y1 = boxes.T
    w, h = x1 - x0, y1 - y0
    whole = (w > 0) & (h > 0) & (np.minimum(x1, width) - np.maximum(x0, 0) >= 0.9 * w)
    whole &= (y0 + 0.3 * h >= 0) & (y1 - 0.3 * h <= height)
    inner = np.stack([np.floor(x0 + 0.05 * w), np.floor(y0 + 0.05 * h), np.ceil(x1 - 0.05 * w), np.ceil(y1 - 0.05 * h)])
    corners = np.clip(inner, 0, None).astype(int)
    corners[2:] = np.minimum(corners[2:], np.array([[width], [height]]))
    whole &= (corners[2] > corners[0]) & (corners[3] > corners[1])
    at = np.flatnonzero(whole)
    if not len(at):
        return result
    result[at] = _glance(image, corners[:, at])
    for i in at[result[at] < MIN_CONTRAST].tolist():
        left, top, right, bottom = corners[:, i].tolist()
        for channel in (1, 0, 2) if image.shape[2] == 3 else (0,):
            pixels = image[top:bottom, left:right, channel]
            result[i] = max(result[i], int(pixels.max()) - int(pixels.min()))
            if result[i] >= MIN_CONTRAST:
                break
    return result


def _glance(image: NDArray[np.uint8], corners: NDArray[np.int_]) -> NDArray[np.int16]:
    """Range of green over a few pixels of each box [4, N] that is not empty. Enough for nearly every word that has ink,
    at a fraction of the cost of looking at all of it."""
    left, top, right, bottom = corners
    _, width, channels = image.shape
    rows = top + ((bottom - top) * _ROWS).astype(int)  # [3, N]
    columns = left + ((right - left) * _COLUMNS).astype(int)  # [24, N]
    places = (rows * width)[:, None] + columns
    places *= channels
    seen = image.reshape(-1)[places + min(1, channels - 1)].reshape(-1, len(left))
    return seen.max(axis=0).astype(np.int16) - seen.min(axis=0)


def runs(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1, ... for each length in turn: ranges laid out one after the other.

    >>> runs(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def stacked(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True for boxes [N, 4] that share more than ``MAX_OVERLAP`` of their area (of the smaller one) with another: one
    of the two texts is covered, and the raster cannot say which."""
    hit = np.zeros(len(boxes), dtype=bool)
    x0, y0, x1, y1 = boxes.T
    area = np.maximum((x1 - x0) * (y1 - y0), 1e-6)
    for inner, outer in _holders(boxes):
        across = np.minimum(x1[inner], x1[outer]) - np.maximum(x0[inner], x0[outer])
        down = np.minimum(y1[inner], y1[outer]) - np.maximum(y0[inner], y0[outer])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        over = shared > MAX_OVERLAP * np.minimum(area[inner], area[outer])
        hit[inner[over]] = True
        hit[outer[over]] = True
    return hit


def _holders(boxes: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs (i, j), i != j, of boxes [N, 4] in which j may hold the middle of i, as must one of two that share more than
    half of the smaller; at most about ``_PAIRS`` at a time. Each box stands in every horizontal band it touches, by its
    left edge, so that the candidates for a middle are one run of its band."""
    if len(boxes) < 2:
        return
    x0, y0, x1, y1 = np.clip(np.nan_to_num(boxes.T.astype(np.float64)), -_FAR, _FAR)
    middle = (x0 + x1) / 2
    high = max(float(np.sort(y1 - y0)[len(y0) // 2]), 1.0, float(y1.max() - y0.min()) / _BANDS)
    widest = max(float((x1 - x0).max()), 0.0)
    stride = float(x0.max() - x0.min()) + 2 * widest + 1
    highest = np.floor(y0 / high)
    copies = np.maximum(np.floor(y1 / high) - highest, 0).astype(np.intp) + 1
    owner = np.repeat(np.arange(len(boxes)), copies)
    band = highest[owner] + runs(copies)
    place = band * stride + x0[owner]
    order = np.argsort(place, kind="stable")
    ranked, owner = place[order], owner[order]
    at = np.floor((y0 + y1) / 2 / high) * stride + middle
    first, last = np.searchsorted(ranked, at - widest), np.searchsorted(ranked, at, side="right")
    many = np.maximum(last - first, 0)
    ends = np.cumsum(many)
    start = 0
    while start < len(boxes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        own = many[start:stop]
        inner = np.repeat(np.arange(start, stop), own)
        outer = owner[np.repeat(first[start:stop], own) + runs(own)]
        held = (x1[outer] > middle[inner]) & (outer != inner)
        yield inner[held], outer[held]
        start = stop


def has_ink(image: NDArray[np.uint8]) -> bool:
    """Does the raster show anything at all? Looks at every second pixel of every second row, a few rows at a time, and
    stops at the first sign of ink."""
    sample = image[::2, ::2]
    stride = 64
    channels = image.shape[2]
    low = np.full(channels, 255, dtype=np.uint8)
    high = np.zeros(channels, dtype=np.uint8)
    for start in range(min(stride, len(sample))):
        rows = np.ascontiguousarray(sample[start::stride].reshape(-1, channels).T)
        low, high = np.minimum(low, rows.min(axis=1)), np.maximum(high, rows.max(axis=1))
        if (high.astype(int) - low).max() >= MIN_CONTRAST:
            return True
    return False


def ink_rows(crop: NDArray[np.uint8], paper: list[int]) -> NDArray[np.int64]:
    """Pixels per row of the crop that differ clearly from its paper (the median of its border)."""
    far = _far(crop, paper)
    if crop.shape[2] == 1:
        return np.count_nonzero(far, axis=1)
    either = np.logical_or(np.logical_or(far[:, 0::3], far[:, 1::3]), far[:, 2::3])
    return np.count_nonzero(either, axis=1)


def ink_span(image: NDArray[np.uint8], box: Box) -> tuple[int, int] | None:
    """First and last row of the box with a pixel that ``ink_rows`` would count, from the top of the box; None without
    any."""
    x0, y0, x1, y1 = box
    crop = image[y0:y1, x0:x1]
    inked = _inked(crop, paper_of(crop))
    first = int(inked.argmax())
    return (first, len(inked) - 1 - int(inked[::-1].argmax())) if inked[first] else None


def least_ink(image: NDArray[np.uint8], box: Box) -> int:
    """The first row of the box with the smallest count of ``ink_rows``; most often one without ink, found without
    counting."""
    x0, y0, x1, y1 = box
    crop = image[y0:y1, x0:x1]
    paper = paper_of(crop)
    inked = _inked(crop, paper)
    row = int(inked.argmin())
    return int(ink_rows(crop, paper).argmin()) if inked[row] else row


def _inked(crop: NDArray[np.uint8], paper: list[int]) -> NDArray[np.bool_]:
    """[h]: rows of the crop with a pixel that ``ink_rows`` would count. On light grey paper ink can only be darker, and
    the darkest value of a row says it."""
    if min(paper) == max(paper) >= 255 - REACH:
        return crop.reshape(len(crop), -1).min(axis=1) < paper[0] - REACH
    return np.logical_or.reduce(_far(crop, paper), axis=1)


def _far(crop: NDArray[np.uint8], paper: list[int]) -> NDArray[np.bool_]:
    """[h, c w]: which values are more than ``REACH`` away from the paper's. In uint8: a value is near if it lies at most
    high - low above low, where what is below low wraps round to large."""
    low = [max(value - REACH, 0) for value in paper]
    span = [min(value + REACH, 255) - least for value, least in zip(paper, low, strict=True)]
    width = crop.shape[1]
    values = crop.reshape(len(crop), -1)
    if min(paper) == max(paper):
        return np.greater(values - np.uint8(low[0]), np.uint8(span[0]))
    return np.greater(values - np.array(low * width, dtype=np.uint8), np.array(span * width, dtype=np.uint8))


def paper_of(crop: NDArray[np.uint8]) -> list[int]:
    """Median of each channel of the border, at half its length when sorted. A grey that holds more than half of it in
    each channel is the median; else the counts of all values say which."""
    size = 2 * (crop.shape[0] + crop.shape[1])
    first = crop[0, 0].tolist()
    channels = len(first)
    if min(first) == max(first):
        grey = bytes(first[:1])
        same = crop[0].tobytes().count(grey) + crop[-1].tobytes().count(grey)
        if 2 * (channels * size - same) < size:  # so do the long sides alone
            return first
        same += crop[:, 0].tobytes().count(grey) + crop[:, -1].tobytes().count(grey)
        if 2 * (channels * size - same) < size:
            return first
    border = np.concatenate((crop[0], crop[-1], crop[:, 0], crop[:, -1]))
    if min(first) == max(first) and all(2 * np.count_nonzero(border == first, axis=0) > size):
        return first
    return np.partition(border, size // 2, axis=0)[size // 2].tolist()
