"""Worker processes under observation."""

from __future__ import annotations

from typing import Any

import pytest

from sedd.data.prepare import parallel


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[parallel.Workers[Any, Any]]:
    """All `Workers` that are made in a test."""
    made: list[parallel.Workers[Any, Any]] = []

    class Observed(parallel.Workers[Any, Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(parallel, "Workers", Observed)
    return made
