"""A file is one noun: none outside tests and benchmarks is longer than 400 lines."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cookhouse", "toy", "rl", "model", "pipelines", "conf", "infra")


def test_no_file_is_over_400_lines() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    long = {str(file.relative_to(ROOT)): lines for file in files if (lines := len(file.read_text().splitlines())) > 400}
    assert not long
