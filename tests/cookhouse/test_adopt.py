"""adopt: existing data becomes a HIT, linked and not copied, and gc leaves it alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.shards.manifest import Row
from pipelines.shards.unit import write_unit

RUN = ("run", "recipe=toy", "--backend", "inprocess")


def decisions(cookhouse, *arguments: str) -> dict[str, str]:
    return {step["step"]: step["decision"] for step in json.loads(cookhouse("plan", "--json", *arguments)[1])["steps"]}


def test_a_plain_folder_becomes_a_result(cookhouse, here) -> None:
    (here / "mine" / "parts").mkdir(parents=True)
    for index, value in enumerate((5, 6)):
        (here / "mine" / "parts" / f"{index}.txt").write_text(str(value))
    code, out, _ = cookhouse("adopt", "numbers", "mine", "recipe=toy")
    assert code == 0
    assert "2 files, 2 B, linked" in out
    assert decisions(cookhouse, "recipe=toy") == {"numbers": "HIT", "squares": "RUN", "total": "RUN"}
    (linked,) = here.glob("artifacts/toy_numbers/*/attempts/*/parts/0.txt")
    assert linked.samefile(here / "mine" / "parts" / "0.txt")
    code, out, _ = cookhouse(*RUN)
    assert code == 0
    assert "total 72" in out, "5 + 6 + 25 + 36"
    code, _, err = cookhouse("adopt", "numbers", "mine", "recipe=toy")
    assert code == 2
    assert "is made already" in err
    for run in here.glob("artifacts/runs/*.json"):
        run.unlink()
    listed = json.loads(cookhouse("gc", "--json", "--older-than", "0s")[1])["waste"]
    assert {item["name"].partition("-")[0] for item in listed} == {"squares", "total"}


def test_an_artifact_of_another_store(cookhouse, here) -> None:
    assert cookhouse(*RUN, "storage.root=elsewhere")[0] == 0
    (made,) = (here / "elsewhere" / "toy_numbers").glob("*")
    assert cookhouse("adopt", "numbers", str(made), "recipe=toy")[0] == 0
    code, out, _ = cookhouse(*RUN)
    assert code == 0
    assert "numbers  hit" in out
    assert "total 20" in out
    assert cookhouse("adopt", "squares", str(made), "recipe=toy", "steps.squares.power=4")[0] == 2


@pytest.mark.parametrize(
    ("names", "words"), [((), "holds no file"), (("logs/x", "a"), "the names logs belong to the workflow")]
)
def test_what_cannot_be_adopted(names, words, cookhouse, here) -> None:
    (here / "mine").mkdir()
    for name in names:
        (here / "mine" / name).parent.mkdir(exist_ok=True)
        (here / "mine" / name).write_text("x")
    code, _, err = cookhouse("adopt", "numbers", "mine", "recipe=toy")
    assert code == 2
    assert words in err
    assert cookhouse("adopt", "nmbers", "mine", "recipe=toy")[0] == 2
    assert decisions(cookhouse, "recipe=toy")["numbers"] == "RUN"


def test_shards_are_proven_first(cookhouse, here) -> None:
    def row(name: str) -> Row:
        return Row(
            key=name,
            status="ok",
            stage="text",
            source="a",
            source_digest="0" * 64,
            split="train",
            kind="text",
            text_bytes=5,
        )

    folder = here / "shards"
    folder.mkdir()
    write_unit(str(folder), "text-000", [(row("one"), {"json": b'{"a": 1}'})], planned=1)
    recipe = '# @package _global_\nsteps:\n  texts: {stage: text, source: "."}\n'
    (here / "conf" / "recipe" / "texts.yaml").write_text(recipe)
    (tar,) = folder.rglob("*.tar")
    good = tar.read_bytes()
    tar.write_bytes(good[:600] + b"!" + good[601:])
    code, _, err = cookhouse("adopt", "texts", "shards", "recipe=texts", "steps.texts.source=conf")
    assert code == 1
    assert "is not as its manifests say" in err
    tar.write_bytes(good)
    code, _, _ = cookhouse("adopt", "texts", "shards", "recipe=texts", "steps.texts.source=conf")
    assert code == 0
    assert decisions(cookhouse, "recipe=texts", "steps.texts.source=conf") == {"texts": "HIT"}
    record = json.loads(next(Path(here).glob("artifacts/text/*/artifact.json")).read_text())
    assert record["stats"] == {"samples": 1}
    (here / "tars").mkdir()
    (here / "tars" / "a.tar").write_bytes(good)
    code, _, err = cookhouse("adopt", "texts", "tars", "recipe=texts", "steps.texts.source=tars")
    assert code == 2
    assert "stage 'adopt'" in err
