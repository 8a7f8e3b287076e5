"""What the mirror remembers survives other stores, torn lines and other mirrors."""

import errno

from pipelines.tracking import state


def test_two_stores_and_two_generations_do_not_mix(tmp_path):
    state.save(tmp_path, "sqlite:///a", {"run_id": "1"}, "generation-1")
    state.save(tmp_path, "sqlite:///a", {"run_id": "2"}, "generation-2")
    state.save(tmp_path, "http://user:secret@host", {"run_id": "3"}, "generation-1")
    assert state.load(tmp_path, "sqlite:///a", "generation-1") == {"run_id": "1"}
    assert state.load(tmp_path, "sqlite:///a", "generation-2") == {"run_id": "2"}
    assert state.load(tmp_path, "http://user:secret@host", "generation-1") == {"run_id": "3"}
    assert "secret" not in (tmp_path / state.FILE).read_text()


def test_a_torn_state_file_counts_as_empty(tmp_path):
    (tmp_path / state.FILE).write_text('{"half')
    assert state.load(tmp_path, "sqlite:///a") == {}


def test_only_one_mirror_follows_a_run(tmp_path):
    with state.only_mirror(tmp_path) as first, state.only_mirror(tmp_path) as second:
        assert first
        assert not second
    with state.only_mirror(tmp_path) as again:
        assert again


def test_a_file_system_without_locks_is_said_and_the_run_is_mirrored(tmp_path, monkeypatch):
    def no_locks(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    said: list[str] = []
    with state.only_mirror(tmp_path, said.append) as mine:
        assert mine
    assert len(said) == 1
    assert "No locks available" in said[0]
