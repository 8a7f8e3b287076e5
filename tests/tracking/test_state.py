"""What the mirror remembers survives other stores, torn lines and other mirrors."""

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


def test_lines_are_read_from_where_the_last_whole_one_ended(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n{"a": ')
    events, offset = state.read_lines(path, 0)
    assert events == [{"a": 1}, {"a": 2}]
    with path.open("a") as file:
        file.write("3}\n")
    assert state.read_lines(path, offset) == ([{"a": 3}], path.stat().st_size)
    assert state.read_lines(tmp_path / "none", 5) == ([], 5)


def test_only_one_mirror_follows_a_run(tmp_path):
    with state.only_mirror(tmp_path) as first, state.only_mirror(tmp_path) as second:
        assert first
        assert not second
    with state.only_mirror(tmp_path) as again:
        assert again
