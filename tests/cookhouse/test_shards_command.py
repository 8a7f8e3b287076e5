"""`cookhouse shards` on real shards, and a README whose commands exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cookhouse.cli.main import COMMANDS, main
from pipelines.shards.manifest import Row
from pipelines.shards.unit import write_unit

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def row(name: str, status: str = "ok", **more) -> Row:
        base = {"key": name, "status": status, "stage": "toy", "source": "a.txt", "source_digest": "0" * 64}
        return Row(**base, split="train", kind="text", **more)

    items = [
        (row("one", text_bytes=5), {"json": b'{"a": 1}'}),
        (row("two", "quarantined", category="parse", reason="not a page"), None),
    ]
    write_unit(str(tmp_path), "toy-000", items, planned=2)
    return tmp_path


def test_stats_verify_and_inspect(folder: Path, capsys) -> None:
    assert main(["shards", "stats", str(folder), "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert (totals["ok"], totals["quarantined"]) == (1, 1)
    assert main(["shards", "verify", str(folder), str(folder)]) == 0
    assert capsys.readouterr().out.count("all as written") == 2
    assert main(["shards", "inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "quarantined" in out
    assert "parse: not a page" in out
    assert main(["shards", "inspect", str(folder), "--status", "filtered", "--status", "quarantined"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_ls_and_sample(folder: Path, capsys) -> None:
    def item(n: int):
        messages = [{"role": "user", "content": "Say."}, {"role": "assistant", "content": f"word {n}"}]
        row = Row(f"k{n}", "ok", "toy", "b.txt", "0" * 64, "test" if n % 4 == 0 else "train", "text", text_bytes=6)
        return row, {"json": json.dumps({"messages": messages}).encode()}

    write_unit(folder / "more", "toy-001", map(item, range(12)), planned=12)
    more = str(folder / "more")
    assert main(["shards", "ls", more]) == 0
    out = capsys.readouterr().out
    assert "shards/toy-001.tar" in out
    assert "train 9 test 3" in out
    shown = []
    for _ in range(2):
        assert main(["shards", "sample", more, "-n", "4", "--seed", "3", "--split", "train"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert len(shown[0].splitlines()) == 4
    assert "word" in shown[0]
    assert main(["shards", "sample", more, "-n", "2", "--seed", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["text"].startswith("word ")


def test_a_changed_byte_is_found(folder: Path, capsys) -> None:
    (shard,) = (folder / "shards").glob("*.tar")
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        main(["shards", "verify", str(folder)])
    assert ended.value.code == 1
    assert "bytes differ from the manifest" in capsys.readouterr().out


def test_a_folder_without_shards_is_one_message(tmp_path: Path, capsys) -> None:
    assert main(["shards", "stats", str(tmp_path)]) == 2
    assert "no shards here" in capsys.readouterr().err


def test_every_command_the_documents_name_exists() -> None:
    named: set[str] = set()
    for path in (
        REPO / "README.md",
        REPO / "CONTRIBUTING.md",
        *(REPO / "docs").glob("*.md"),
        *REPO.glob("*/README.md"),
    ):
        found = set(re.findall(r"(?:^|`|bin/)cookhouse ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert found <= set(COMMANDS), path
        named |= found
    assert len(named) > 5
