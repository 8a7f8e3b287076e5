"""A peer's environment is made, found, and its absence is told with pip's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import peers


def test_every_peer_has_a_list_and_unknown_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nemo-curator" in peers.peer_names()
    assert peers.main(["no-such-peer"]) == 2
    assert "no peer named no-such-peer" in capsys.readouterr().out


def test_a_failure_is_told_with_the_last_words_of_pip(tmp_path: Path) -> None:
    assert "not installed" in str(peers.find_peer("curator", tmp_path))
    (tmp_path / "curator").mkdir()
    (tmp_path / "curator" / "failed.txt").write_text("looking\nERROR: no matching distribution\n")
    assert peers.find_peer("curator", tmp_path) == "cannot be installed: ERROR: no matching distribution"


@pytest.mark.slow
def test_a_peer_is_installed_once_and_a_failure_is_kept(tmp_path: Path) -> None:
    lists, home = tmp_path / "lists", tmp_path / "home"
    lists.mkdir()
    assert "not installed" in str(peers.find_peer("empty", home))
    (lists / "empty.txt").write_text("# needs nothing\n")
    assert peers.install_peer("empty", home, lists)
    python = peers.find_peer("empty", home)
    assert isinstance(python, Path) and python.exists()
    stamp = (home / "empty" / "pyvenv.cfg").stat().st_mtime_ns
    assert peers.install_peer("empty", home, lists)
    assert (home / "empty" / "pyvenv.cfg").stat().st_mtime_ns == stamp
    (lists / "bad.txt").write_text("./no-such-folder-here\n")
    assert not peers.install_peer("bad", home, lists)
    reason = peers.find_peer("bad", home)
    assert isinstance(reason, str) and "cannot be installed" in reason and "no-such-folder-here" in reason
