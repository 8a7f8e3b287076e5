from __future__ import annotations

import pytest
from toy_stages import Numbers, numbers

from pipelines.core.errors import ConfigError
from pipelines.core.identity import ExternalFile, Identity, Record, StageConfig, identity_of
from pipelines.core.storage import sha256_of
from pipelines.workflow.probe import HashCache, engine_version, first_of_each_kind, list_source, probe_step
from pipelines.workflow.stage import StageDef, stage_of


@pytest.fixture
def cache(tmp_path) -> HashCache:
    return HashCache(tmp_path / "state" / "probe.json")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    for name in ("b.pdf", "a.pdf", "deep/c.pdf", ".hidden", ".git/x.pdf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_listing_is_sorted_and_leaves_hidden_files_out(folder, cache) -> None:
    assert [item.name for item in list_source(str(folder), cache)] == ["a.pdf", "b.pdf", "deep/c.pdf"]
    assert [item.name for item in list_source(str(folder), cache, limit=2)] == ["a.pdf", "b.pdf"]
    assert [item.name for item in list_source(str(folder / "b.pdf"), cache)] == ["b.pdf"]
    assert [item.name for item in list_source(f"{folder}/**/c*.pdf", cache)] == ["deep/c.pdf"]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (1, "a.pdf b/c.MP4 b/c.srt"),
        (2, "a.pdf b/a.pdf b/c.MP4 b/c.srt d.mp4 d.srt"),
        (3, "a.pdf b/a.pdf b/c.MP4 b/c.srt d.mp4 d.srt e.pdf z.srt"),
    ],
)
def test_a_limit_counts_files_of_a_kind_and_keeps_what_lies_beside_them(limit: int, kept: str) -> None:
    names = "z.srt d.mp4 d.srt b/c.MP4 b/c.srt b/a.pdf a.pdf e.pdf".split()
    assert sorted(first_of_each_kind(names, limit)) == kept.split()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere", "does not exist"),
        ("empty", "holds no file"),
        ("*.mp4", "matches nothing"),
        ("broken", "can be read"),
    ],
)
def test_a_bad_source_is_one_message(value, words, tmp_path, cache) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "link.pdf").symlink_to(tmp_path / "gone.pdf")
    with pytest.raises(ConfigError) as caught:
        list(list_source(str(tmp_path / value), cache, where="source, set in command line"))
    assert words in str(caught.value)
    assert "command line" in str(caught.value)


def test_one_unreadable_file_is_accounted_for(folder, cache) -> None:
    (folder / "z.pdf").symlink_to(folder / "gone.pdf")
    assert [item.name for item in list_source(str(folder), cache) if not item.sha256] == ["z.pdf"]


def test_the_digest_follows_content_and_not_the_place(folder, cache, tmp_path) -> None:
    def digest(path) -> str:
        return probe_step(stage_of(numbers), Numbers(source=str(path)), cache).digests["source"]

    before = digest(folder)
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert digest(moved) == before
    (moved / "a.pdf").write_text("other")
    assert digest(moved) != before


def test_bytes_are_read_once(folder, cache, monkeypatch) -> None:
    list(list_source(str(folder), cache))
    cache.save()
    monkeypatch.setattr("pipelines.core.storage.sha256_of", lambda path: pytest.fail(f"read {path} again"))
    assert len(list(list_source(str(folder), HashCache(cache.path)))) == 3


def test_relative_sources_become_absolute_and_stay_out_of_the_identity(folder, cache, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    config = Numbers(source="in")
    probed = probe_step(stage_of(numbers), config, cache)
    assert probed.config.source == str(folder)
    assert identity_of(probed.config) == identity_of(config)
    assert probed.tools == {"numpy": engine_version("numpy")}
    assert engine_version("no-such-package") == "absent"


class Part(Record):
    file: ExternalFile


class Holder(StageConfig):
    parts: Identity[tuple[Part, ...]] = ()


def holder() -> StageDef:
    def parts(config: Holder) -> dict[str, str]:
        return {"model": str(len(config.parts))}

    return StageDef("holder", code_version=1, deterministic="bytes", config=Holder, tool_digest=parts)


def test_an_external_file_is_checked_by_its_sha256(tmp_path, cache, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_text("weights")
    right = sha256_of(tmp_path / "w.bin")
    config = Holder(parts=(Part(file=ExternalFile(path="w.bin", sha256=right)),))
    probed = probe_step(holder(), config, cache)
    assert probed.config.parts[0].file.path == str(tmp_path / "w.bin")
    assert probed.tools == {"model": "1"}
    assert identity_of(probed.config) == {"parts": [{"file": {"sha256": right}}]}
    for path, sha256, words in (
        ("gone.bin", right, "does not exist"),
        ("w.bin", "0" * 64, "not the file the recipe names"),
    ):
        bad = Holder(parts=(Part(file=ExternalFile(path=path, sha256=sha256)),))
        with pytest.raises(ConfigError, match=words) as caught:
            probe_step(holder(), bad, cache, origin=lambda name: f"at {name}")
        assert "at parts.file" in str(caught.value)
