"""The hand-written H.264 stream, read by FFmpeg's decoder."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from toy.corpus import h264


def test_pictures_come_back_bit_for_bit_through_a_decoder() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (96 * 3 // 2, 64), dtype=np.uint8) for _ in range(3)]
    pictures[1][:] = 0  # start codes everywhere, were they not broken up
    shown = [pictures[at] for at in (0, 1, 1, *[2] * 40, 0)]  # frame numbers wrap at 16
    data = b"".join(h264.stream(shown, 64, 96))
    with av.open(io.BytesIO(data), format="h264") as raw:
        seen = [frame.to_ndarray() for frame in raw.decode(video=0)]
    assert len(seen) == len(shown)
    assert all(np.array_equal(a, b) for a, b in zip(seen, shown, strict=True))


def test_a_repeated_picture_costs_ten_bytes_and_odd_sizes_are_refused() -> None:
    grey = np.full((24, 16), 128, dtype=np.uint8)
    assert [len(unit) for unit in h264.stream([grey, grey], 16, 16)][1] <= 10
    with pytest.raises(ValueError, match="multiples of 16, not 16 x 17"):
        list(h264.stream([grey], 16, 17))
