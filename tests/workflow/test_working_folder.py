"""A step's working directory is its own: what runs elsewhere needs nothing of the folder the command was typed in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_recipe import make_plan_of, recipe

from pipelines.documents.config import DocumentShards
from pipelines.workflow.store import Store
from pipelines.workflow.watch import prepare

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_job_runs_where_the_callers_folder_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caller, node = tmp_path / "caller", tmp_path / "node"
    for folder in (caller, node, tmp_path / "terms"):
        folder.mkdir()
    (tmp_path / "terms" / "a.txt").write_text("1")
    monkeypatch.chdir(caller)
    store = Store("../artifacts")
    (numbers,) = make_plan_of(store, {"numbers": recipe({"source": "../terms"})["numbers"]}).work
    spec, _ = prepare(store, numbers, {})
    os.chdir(node)
    shutil.rmtree(caller)
    path = Path(spec.attempt) / "spec.json"
    assert path.is_absolute()
    assert str(caller) not in path.read_text()
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "workflow")])
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": paths}
    line = [sys.executable, "-m", "cookhouse.worker", str(path)]
    done = subprocess.run(line, cwd=node, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store.find("toy_numbers", numbers.key) is not None


def test_runtime_paths_are_absolute_once_a_recipe_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert DocumentShards(ocr_detection_model_dir="models").ocr_detection_model_dir == str(tmp_path / "models")
