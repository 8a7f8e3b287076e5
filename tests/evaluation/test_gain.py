"""The intervals of the gain by RL: against scipy, and by simulated experiments whose truth is known."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from model.evaluation.gain import item_interval, paired_gain, seed_interval

EXPERIMENTS = 2000


@pytest.mark.parametrize("seeds", [2, 3, 5, 8, 30])
def test_the_interval_over_seeds_is_that_of_scipy(seeds):
    gains = np.random.default_rng(seeds).normal(0.02, 0.01, seeds)
    theirs = stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    assert seed_interval(gains.tolist()) == pytest.approx(tuple(theirs))


def test_the_worked_example_of_the_table():
    half = 4.30265 * 0.01 / math.sqrt(3)  # two degrees of freedom
    assert seed_interval([0.01, 0.02, 0.03]) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-4)


@pytest.mark.parametrize("gains", [[0.5], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_without_spread_there_is_no_interval(gains):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(math.isnan(end) for end in seed_interval(gains))


def runs(draw: np.random.Generator, difficulty: np.ndarray, seeds: int) -> list[list[float]]:
    """Verdicts [seeds, items]: a seed's policy is 0.03 -+ 0.02 better than ``difficulty``, and answers by chance."""
    better = draw.normal(0.03, 0.02, (seeds, 1))
    return (draw.random((seeds, len(difficulty))) < difficulty + better).astype(float).tolist()


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_interval_over_seeds_covers_95_percent_of_experiments_on_these_items(seeds):
    draw = np.random.default_rng(seeds)
    difficulty = draw.uniform(0.15, 0.8, 400)
    before = (draw.random(400) < difficulty).astype(float).tolist()  # one starting model, the same items throughout
    truth = float(difficulty.mean()) + 0.03 - float(np.mean(before))
    covered = 0
    for _ in range(EXPERIMENTS):
        gain = paired_gain(before, runs(draw, difficulty, seeds), draws=1)
        covered += gain.lower <= truth <= gain.upper
    assert 0.93 <= covered / EXPERIMENTS <= 0.97


def test_the_interval_over_items_covers_95_percent_of_draws_of_items_for_these_runs():
    items, draw = 300, np.random.default_rng(0)
    pool = draw.uniform(0.15, 0.8, 40_000)
    before = (draw.random(len(pool)) < pool).astype(float)
    after = np.array(runs(draw, pool, 3))  # what three finished runs would answer to any item
    truth = float((after.mean(axis=0) - before).mean())
    covered = 0
    for experiment in range(EXPERIMENTS):
        chosen = draw.integers(len(pool), size=items)
        gain = paired_gain(before[chosen].tolist(), after[:, chosen].tolist(), 500, experiment)
        covered += gain.items_lower <= truth <= gain.items_upper
    assert 0.93 <= covered / EXPERIMENTS <= 0.97


def test_seeds_widen_one_interval_and_items_the_other():
    agree = paired_gain([0.0] * 200, [[0.5] * 200, [0.5] * 199 + [0.4]])
    differ = paired_gain([0.0] * 200, [[0.5] * 200, [-0.2] * 200])
    assert agree.upper - agree.lower < 0.01 < 1 < differ.upper - differ.lower
    assert differ.items_lower == pytest.approx(differ.items_upper) == differ.mean == pytest.approx(0.15)
    assert differ.by_seed == pytest.approx((0.5, -0.2))
    uneven = paired_gain([0.0] * 200, [[1.0, 0.0] * 100, [0.0, 1.0] * 99 + [0.0, 0.0]])
    assert uneven.items_upper - uneven.items_lower < 0.02, "an item's difference is averaged over the seeds first"


def test_the_bootstrap_over_items_is_close_to_the_normal_interval_and_to_scipy():
    draw = np.random.default_rng(1)
    differences = draw.choice([-1.0, -1 / 3, 0.0, 1 / 3, 1.0], 400)
    error = float(differences.std()) / 20
    mine = item_interval(differences.tolist())
    assert mine == pytest.approx((differences.mean() - 1.96 * error, differences.mean() + 1.96 * error), abs=0.003)
    theirs = stats.bootstrap((differences,), np.mean, method="percentile", rng=draw).confidence_interval
    assert mine == pytest.approx(tuple(theirs), abs=0.003)


def test_the_same_seed_gives_the_same_ends_and_ragged_rows_are_refused():
    given = ([0.0, 1.0, 0.0], [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert paired_gain(*given, 1000, seed=4) == paired_gain(*given, 1000, seed=4)
    with pytest.raises(ValueError, match="equal items"):
        paired_gain([0.0], [[0.0, 1.0]])
    with pytest.raises(ValueError, match="equal items"):
        paired_gain([0.0], [])
