"""A phase that contradicts itself is an error before anything starts."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from model.training.phases import Phase, Schedule

GOOD = {"name": "align", "trains": ("resampler",), "steps": 1, "schedule": {"lr": 1e-3}, "weights": {"cards": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trains": ()}, "at least 1 item"),
        ({"trains": ("resampler", "resampler")}, "twice"),
        ({"trains": ("tower",)}, "vision"),
        ({"weights": {"cards": 0}}, "above 0"),
        ({"weights": {"cards": -1}}, "negative"),
        ({"package": (0, 6)}, "not a range"),
        ({"package": (1, 7)}, "at most 6"),
        ({"stride": (2, 1)}, "not a range"),
        ({"step": 5}, "Extra inputs"),
        ({"weights": {}}, "either weights or repetitions"),
        ({"repetitions": {"cards": 2}}, "either weights or repetitions"),
        ({"changes": [{"at": 0.8, "weights": {"cards": 1}}]}, "needs weights and stratify"),
        ({"stratify": 8, "changes": [{"at": 0.8, "weights": {"cards": 0}}]}, "above 0"),
        ({"stratify": 8, "changes": [{"at": 0.8, "ramp": 0.3, "weights": {"cards": 1}}]}, "ends after the phase"),
        (
            {
                "stratify": 8,
                "changes": [{"at": 0.5, "ramp": 0.3, "weights": {"a": 1}}, {"at": 0.6, "weights": {"b": 1}}],
            },
            "before the one before",
        ),
    ],
)
def test_a_phase_that_makes_no_sense_is_refused(change: dict, message: str) -> None:
    Phase.model_validate(GOOD)
    with pytest.raises(ValidationError, match=message):
        Phase.model_validate(GOOD | change)


def test_a_final_rate_above_the_peak_is_refused() -> None:
    with pytest.raises(ValidationError, match="above lr"):
        Schedule(lr=1e-5, final_lr=1e-4)


def test_stage_configurations_import_without_torch_or_ray() -> None:
    code = (
        "import sys, cookhouse.stages.training;"
        "print([m for m in ('torch', 'ray', 'deepspeed', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
