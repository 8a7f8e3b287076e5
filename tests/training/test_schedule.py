"""Rates: the oracle of transformers, the worked example, and shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_wsd_schedule

from model.training.phases import Schedule
from model.training.schedule import learning_rate, steps_of


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_wsd_equals_transformers(shape: str) -> None:
    schedule = Schedule(lr=5e-5, final_lr=1e-5, warmup=7, decay=20, decay_shape=shape)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=5e-5)
    oracle = get_wsd_schedule(optimizer, 7, 20, num_training_steps=60, min_lr_ratio=0.2, decay_type=shape)
    for step in range(60):
        assert learning_rate(schedule, step, 60) == pytest.approx(oracle.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        oracle.step()


def test_the_worked_example() -> None:
    schedule = Schedule(lr=4, final_lr=1, warmup=3, decay=3)
    assert [learning_rate(schedule, step, 9) for step in range(10)] == [1, 2, 3, 4, 4, 4, 4, 3, 2, 1]


def test_cosine_falls_from_the_peak_to_the_final_rate() -> None:
    schedule = Schedule(kind="cosine", lr=1e-5, final_lr=1e-6, warmup=0)
    rates = [learning_rate(schedule, step, 100) for step in range(101)]
    assert rates[0] == 1e-5
    assert rates[50] == pytest.approx(5.5e-6)
    assert rates[100] == pytest.approx(1e-6)
    assert rates == sorted(rates, reverse=True)


def test_warmup_linear_is_a_triangle_and_constant_is_flat() -> None:
    triangle = Schedule(kind="warmup_linear", lr=1.0, warmup=0.5)
    assert [learning_rate(triangle, step, 4) for step in range(5)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    flat = Schedule(kind="constant", lr=1.0, warmup=0)
    assert {learning_rate(flat, step, 4) for step in range(4)} == {1.0}


@given(
    kind=st.sampled_from(["wsd", "cosine", "constant", "warmup_linear"]),
    warmup=st.floats(0, 30),
    decay=st.floats(0, 30),
    total=st.integers(1, 50),
    step=st.integers(0, 60),
)
def test_a_rate_stays_between_final_and_peak(kind: str, warmup: float, decay: float, total: int, step: int) -> None:
    schedule = Schedule(kind=kind, lr=3.0, final_lr=1.0, warmup=warmup, decay=decay)
    assert 1.0 <= learning_rate(schedule, step, total) <= 3.0


def test_fractions_and_steps() -> None:
    assert (steps_of(0.1, 50), steps_of(7, 50), steps_of(70, 50), steps_of(0, 50)) == (5, 7, 50, 0)
    with pytest.raises(ValueError, match="count from 0"):
        learning_rate(Schedule(lr=1), -1, 10)
