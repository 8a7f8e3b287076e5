"""What is hidden, what is not, and what a configuration may not hold."""

from __future__ import annotations

import json

import pytest

from pipelines.core.events import EventWriter
from pipelines.core.secrets import is_secret_name, leaks, redact, secret_values


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "OPENAI_API_KEY", "db.password", "token"],
)
def test_names_that_tell(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["RAY_AUTH_TOKEN_PATH", "tokens", "bos_token_id", "KEYBOARD", "tokens_per_pack", "key"]
)
def test_names_that_do_not(name: str) -> None:
    assert not is_secret_name(name)


def test_short_values_and_plain_words_are_left_alone() -> None:
    environment = {"A_TOKEN": "abc123", "B_TOKEN": "artifacts", "C_TOKEN": 'q"4fj-77sd', "PATH": "/usr/bin:/opt/bin"}
    values = secret_values(environment)
    assert set(values) == {'q"4fj-77sd', 'q\\"4fj-77sd'}
    assert redact('x q"4fj-77sd y artifacts', values) == "x *** y artifacts"


def test_passwords_in_urls() -> None:
    assert redact("to postgresql://me:pa55@db:5432/x now", ()) == "to postgresql://me:***@db:5432/x now"
    kept = '{"a":"http://host:5000","b":"me@there"} s3://bucket/a@b'
    assert redact(kept, ()) == kept


def test_what_a_configuration_may_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t-value-1")
    values = {
        "a": {"password": "x", "tokens": "fine"},
        "b": ["http://u:p@host", "http://host"],
        "c": "begins s3cr3t-value-1",
        "d": {"token": None, "auth": ""},
    }
    assert [path for path, _ in leaks(values)] == [("a", "password"), ("b", "0"), ("c",)]


def test_events_are_written_clean(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", 's3cr3t"value-1')
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.emit("note", text='login with s3cr3t"value-1 failed')
    writer.close()
    assert json.loads((tmp_path / "events.jsonl").read_text())["text"] == "login with *** failed"
