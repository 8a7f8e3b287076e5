"""``cookhouse export`` and ``cookhouse chat`` on a real, tiny checkpoint made of the committed towers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    from safetensors.torch import load_file

    from model.checkpoint import init_from_parts, save_model
    from model.config import ModelConfig
    from model.processor import Processor
    from model.tokenizer import build_byte_tokenizer
    from toy.towers.reading import init_reading

    folder, assets = tmp_path_factory.mktemp("tiny"), REPO / "toy" / "assets"
    config = ModelConfig(**yaml.safe_load((REPO / "conf" / "model" / "tiny.yaml").read_text()))
    network = init_from_parts(config, *(assets / f"{part}.safetensors" for part in ("vision", "language")))
    embeddings = network.llm.model.embed_tokens.weight.detach()
    init_reading(network.resampler, 0, load_file(assets / "bridge.safetensors")["bridge"], embeddings)
    save_model(folder / "model", network, Processor(config, build_byte_tokenizer(folder / "tokenizer")))
    return folder / "model"


@pytest.fixture
def call(here, capsys):
    from cookhouse.cli.main import main

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def video(path: Path, frames: int = 12) -> Path:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(frames):
            pixels = np.full((64, 96, 3), 20 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


def test_export_then_chat(call, model, here):
    code, out, err = call("export", model, here / "out")
    assert (code, err) == (0, "")
    assert "names and shapes are those of config.json" in out
    Image.new("RGB", (224, 112), "white").save(here / "card.png")
    first = call("chat", "--model", here / "out", "--image", here / "card.png", "--max-new-tokens", 6, "Read it.")
    again = call("chat", "--model", here / "out", "--image", here / "card.png", "--max-new-tokens", 6, "Read it.")
    assert first[0] == 0
    assert first[1] == again[1] != ""
    assert "prompt tokens" in first[2]


def test_thinking_about_a_video(call, model, here):
    clip = video(here / "clip.avi")
    words = ("chat", "--model", model, "--video", clip, "--think", "--sample", "--seed", 3, "--max-new-tokens", 8)
    code, out, err = call(*words, "What happens?")
    assert code == 0
    assert "9 frames in packages of 6" in err
    assert "8 new, cut at the limit" in err or "new, " in err
    assert out.endswith("\n")


def test_a_talk_of_several_lines(call, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello?\n\n<|im_end|> again\n"))
    code, out, err = call("chat", "--model", model, "--max-new-tokens", 4)
    assert (code, len(out.splitlines()) >= 2) == (0, True)
    counts = [int(line.split()[0]) for line in err.splitlines()]
    assert len(counts) == 2
    assert counts[1] > counts[0]  # the second turn has the first one before it


@pytest.mark.parametrize(
    ("words", "message", "exit_code"),
    [
        (("chat", "--model", "nowhere", "x"), "'nowhere' is neither a folder nor a step that was made", 2),
        (("chat", "--model", ".", "x"), "neither a config.json nor an artifact.json", 2),
        (("export", "./nowhere", "out"), "there is no model here", 2),
        (("chat", "--model", "MODEL", "--image", "broken.jpg", "x"), "a picture cannot be read", 1),
        (("chat", "--model", "MODEL", "--video", "broken.jpg", "x"), "a video cannot be read", 1),
        (("chat", "--model", "MODEL", "x" * 5000), "the model reads 4096", 1),
    ],
)
def test_mistakes_are_explained(call, model, here, words, message, exit_code):
    (here / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    code, _, err = call(*(model if word == "MODEL" else word for word in words))
    assert (code, message in err) == (exit_code, True), err


STAGE = """
import os
import shutil

from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import stage


class Copied(StageConfig):
    number: Identity[int] = 1


@stage("copied", code_version=1, deterministic="bytes", uses_ray=False)
def make(config: Copied, inputs, out):
    shutil.copytree(os.environ["MODEL_TO_COPY"], out.dir / "model")
    return {}
"""


@pytest.fixture
def copied(model, here, monkeypatch) -> None:
    """``recipe=copied``: its step ``tuned`` makes the model."""
    (here / "copied_stage.py").write_text(STAGE)
    recipe = '# @package _global_\nsteps:\n  tuned: {stage: "copied_stage:make"}\n'
    (here / "conf" / "recipe" / "copied.yaml").write_text(recipe)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("MODEL_TO_COPY", str(model))


def test_a_step_of_the_newest_run_and_its_artifact(call, cookhouse, copied, here):
    code, out, err = cookhouse("run", "recipe=copied", "--backend", "inprocess")
    assert code == 0, out + err
    (folder,) = (here / "artifacts" / "copied").iterdir()
    answers = [call("chat", "--model", name, "--max-new-tokens", 3, "Hello?") for name in ("tuned", folder)]
    assert [code for code, _, _ in answers] == [0, 0]
    assert answers[0][1] == answers[1][1]
    assert call("export", "tuned", here / "out")[0] == 0
    code, _, err = call("chat", "--model", "tunde", "Hello?")
    assert (code, "did you mean 'tuned'?" in err) == (2, True), err


def test_a_step_of_another_root(call, cookhouse, copied, here):
    """The overrides that say where the run is say it to ``chat`` too, before or after the question."""
    root = f"storage.root={here / 'big disk'}"
    assert cookhouse("run", "recipe=copied", "--backend", "inprocess", root)[0] == 0
    words = ("chat", "--model", "tuned", "--max-new-tokens", 3)
    code, _, err = call(*words, "Hello?")
    assert (code, "made so far: nothing" in err, "storage.root=... looks elsewhere" in err) == (2, True, True), err
    answers = [call(*words, *rest) for rest in ((root, "Is a=b?"), ("Is a=b?", "recipe=copied", root))]
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert answers[0][1] == answers[1][1]
    code, _, err = call(*words, "storge.root=elsewhere", "Hello?")
    assert (code, "did you mean 'storage'?" in err) == (2, True), err
    code, _, err = call(*words, "Who", "are", "you?")
    assert (code, "put the question in quotes" in err) == (2, True), err


def test_a_root_in_a_bucket(call, cookhouse, copied, here, s3, monkeypatch):
    from pipelines.workflow.store import Store

    monkeypatch.setattr("pipelines.workflow.watch.LOOK_REMOTE_S", 0.0)
    root = "storage.root=s3://kitchen/root"
    code, out, err = cookhouse("run", "recipe=copied", "--backend", "inprocess", root)
    assert code == 0, out + err
    ((folder,),) = Store("s3://kitchen/root").listing("copied").values()
    words = ("chat", "--max-new-tokens", 3, "Hello?", "--model")
    by_step, by_folder = call(*words, "tuned", root), call(*words, folder)
    assert (by_step[0], by_folder[0]) == (0, 0), by_step[2] + by_folder[2]
    assert by_step[1] == by_folder[1]
    assert "newest result" not in by_step[2]
    monkeypatch.setenv("COOKHOUSE_HOME", str(here / "another machine"))
    elsewhere = call(*words, "tuned", root)
    assert (elsewhere[0], elsewhere[1]) == (0, by_step[1]), elsewhere[2]
    assert f"its newest result is {folder}" in elsewhere[2]
    assert call("export", folder, here / "out")[0] == 0
    code, _, err = call(*words, "s3://kitchen/root/copied")
    assert (code, "it is no artifact of a store" in err) == (2, True), err
