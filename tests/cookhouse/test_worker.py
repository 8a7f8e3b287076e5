"""What the process of an attempt refuses before its stage starts."""

from __future__ import annotations

import pytest

from cookhouse.worker import refuse_scattered
from pipelines.core.errors import ConfigError
from pipelines.core.storage import HOME


def test_a_bucket_on_several_nodes_needs_a_folder_in_common(monkeypatch) -> None:
    monkeypatch.delenv(HOME, raising=False)
    with pytest.raises(ConfigError, match="no folder in common"):
        refuse_scattered(True, 3)
    refuse_scattered(True, 1)
    refuse_scattered(False, 3)
    monkeypatch.setenv(HOME, "/shared/cookhouse")
    refuse_scattered(True, 3)
