from __future__ import annotations

import numpy as np
import pytest

from pipelines.corruption.arrays import down_up, gaussian_blur, paper_colour
from pipelines.corruption.operators import LEVELS, OPERATORS, RANGES

PAPER = np.full(3, 240, np.float32)


def crop(height: int = 28, width: int = 90) -> np.ndarray:
    image = np.full((height, width, 3), 240, np.float32)
    image[8:20, 10:70:4] = 20
    return image


@pytest.mark.parametrize("name", sorted(OPERATORS))
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_every_operator_keeps_shape_and_gives_finite_numbers_also_on_tiny_crops(name: str, strength: float) -> None:
    for size in ((28, 90), (5, 3), (1, 1), (3, 200)):
        before = crop()[: size[0], : size[1]].copy() if size != (3, 200) else np.full((3, 200, 3), 9, np.float32)
        kept = before.copy()
        after = OPERATORS[name](before, PAPER, 12.0, strength, np.random.default_rng(3))
        assert after.shape == before.shape
        assert np.isfinite(after).all()
        np.testing.assert_array_equal(before, kept, err_msg="the input was changed in place")


def test_every_level_names_registered_operators_only() -> None:
    assert set(RANGES) == set(LEVELS)
    assert {name for level in LEVELS for name in RANGES[level]} <= set(OPERATORS)


@pytest.mark.parametrize("name", ["noise", "speckle", "blur", "fade", "resample", "lose"])
def test_more_strength_means_more_damage(name: str) -> None:
    damage = [
        float(np.abs(OPERATORS[name](crop(), PAPER, 12.0, strength, np.random.default_rng(1)) - crop()).mean())
        for strength in (0.1, 0.5, 1.0)
    ]
    assert damage == sorted(damage)
    assert damage[0] < damage[-1]


def test_operators_that_hide_everything_never_read_the_crop() -> None:
    other = np.random.default_rng(0).uniform(0, 255, (28, 90, 3)).astype(np.float32)
    for name in RANGES["high"]:
        first, second = (
            OPERATORS[name](image, PAPER, 12.0, 0.7, np.random.default_rng(5)) for image in (crop(), other)
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 2.4, 2.6, 6.0])
def test_blur_keeps_flat_colour_and_spreads_a_point_by_its_sigma(sigma: float) -> None:
    flat = np.full((21, 33, 3), 77, np.float32)
    np.testing.assert_allclose(gaussian_blur(flat, sigma), flat, atol=0.02)
    point = np.zeros((101, 101, 3), np.float32)
    point[50, 50] = 1000
    spread = gaussian_blur(point, sigma)[:, :, 0].astype(np.float64)
    steps = np.arange(101) - 50
    assert spread.sum() == pytest.approx(1000, rel=1e-3)
    assert np.sqrt((spread.sum(axis=0) * steps**2).sum() / 1000) == pytest.approx(sigma, rel=0.2)


def test_down_up_gives_flat_blocks_with_the_mean_of_their_pixels() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)
    blocks = down_up(image, 2.0)
    np.testing.assert_allclose(blocks[0:2, 0:2, 0], image[0:2, 0:2, 0].mean())
    np.testing.assert_allclose(blocks.mean(), image.mean(), rtol=1e-6)


def test_paper_is_the_median_of_the_border() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    image[5:15, 5:25] = 0
    image[0, :4] = 90
    np.testing.assert_array_equal(paper_colour(image), [200, 200, 200])
