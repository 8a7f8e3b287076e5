"""A local folder and a bucket do the same under the same names."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pipelines.core import storage
from pipelines.core.errors import ConfigError
from pipelines.core.storage import Place, Remote, place


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return tmp_path / "root"
    request.getfixturevalue("s3")
    return place("s3://kitchen/root/")


def test_a_name_is_taken_once(root: Place) -> None:
    file = root / "a" / "artifact.json"
    assert storage.create(file, b"mine")
    assert not storage.create(file, b"yours")
    assert storage.get(file) == b"mine"
    assert storage.names(root / "a") == ["artifact.json"], "no temporary name is left"


def test_put_get_list_and_delete(root: Place, tmp_path: Path) -> None:
    storage.put(root / "one.txt", b"0123456789")
    storage.put(root / "deep" / "two.txt", b"two")
    assert storage.get(root / "one.txt", 2, 5) == b"234"
    assert storage.get(root / "one.txt", 8) == b"89"
    assert storage.get(root / "none.txt") is None
    assert storage.names(root) == ["deep", "one.txt"]
    assert storage.names(root / "nowhere") == []
    assert {name: about.size for name, about in storage.files(root).items()} == {"deep/two.txt": 3, "one.txt": 10}
    assert storage.files(root / "nowhere") == {}
    before = storage.about(root / "one.txt").stamp
    storage.put(root / "one.txt", b"other")
    assert storage.about(root / "one.txt").stamp != before
    assert storage.local_file(root / "one.txt").read_bytes() == b"other"
    storage.delete(root / "deep")
    assert not storage.exists(root / "deep" / "two.txt")
    assert storage.exists(root / "one.txt")
    storage.delete(root / "deep")


def test_names_join_and_travel(root: Place) -> None:
    file = root / "attempts" / "1-abc"
    assert (file.name, file.parent.parent) == ("1-abc", root)
    assert pickle.loads(pickle.dumps(file)) == file
    assert place(str(file)) == file


def test_only_a_url_is_remote(tmp_path: Path) -> None:
    assert place(f"file://{tmp_path}") == place(tmp_path) == tmp_path
    assert place("memory://shop/x") == Remote("memory://shop/x")
    with pytest.raises(ConfigError, match="cannot reach nosuch://"):
        place("nosuch://bucket/x")
