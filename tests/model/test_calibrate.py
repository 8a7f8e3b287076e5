"""The measure of a core: GFLOP/s that are there, and a CPU that emulates bfloat16 found by measuring it."""

import json
import os
import subprocess
import sys

import torch

from benchmarks.demo import AVX2
from model.calibrate import Calibration, calibrate, cpu_name, measure

ASK = "import json; from model.calibrate import calibrate; c = calibrate(); print(json.dumps([c.slowdown, c.emulated]))"


def test_emulated_is_a_ratio_of_what_was_measured():
    assert Calibration("an AVX2 CPU", 60.0, 1.2).slowdown == 50.0
    assert Calibration("an AVX2 CPU", 60.0, 1.2).emulated
    assert not Calibration("bfloat16 in hardware", 110.0, 430.0).emulated
    assert not Calibration("noise between equals", 100.0, 80.0).emulated


def test_measuring_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    measured = calibrate()
    assert measured.float32 > 1 and measured.bfloat16 > 0.01
    assert measured.cpu == cpu_name() != ""
    assert measure("float32", size=64, seconds=0.0) > 0
    assert torch.get_num_threads() == before


def test_kernels_held_to_avx2_are_found_to_emulate_bfloat16():
    """x86 has no bfloat16 product below AVX-512, whatever the CPU of the machine: its oneDNN walks a reference loop."""
    run = subprocess.run([sys.executable, "-c", ASK], env={**os.environ, **AVX2}, capture_output=True, text=True)
    slowdown, emulated = json.loads(run.stdout)
    assert emulated and slowdown > 5, run.stderr
