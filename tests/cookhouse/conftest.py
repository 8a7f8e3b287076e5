"""A working directory with a recipe of the toy stages, and the command line called in this process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOYS = Path(__file__).resolve().parents[1] / "workflow"
sys.path[:0] = [str(TOYS), str(Path(__file__).parent)]

RECIPE = """\
# @package _global_
steps:
  numbers:
    stage: "toy_stages:numbers"
    source: ${source.documents}
    count: 4
  squares: {stage: "toy_stages:squares", inputs: {numbers: numbers}}
  total: {stage: "toy_stages:total", inputs: {terms: [numbers, squares]}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with ``conf/recipe/toy.yaml``; nothing is tracked."""
    folder = tmp_path / "work"
    (folder / "conf" / "recipe").mkdir(parents=True)
    (folder / "conf" / "recipe" / "toy.yaml").write_text(RECIPE)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cookhouse(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``cookhouse("run", "recipe=toy") -> (exit code, stdout, stderr)``."""
    from cookhouse.cli.main import main

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, *(["tracking=none"] if arguments[0] in ("run", "plan") else [])])
        return code, *capsys.readouterr()

    return call
