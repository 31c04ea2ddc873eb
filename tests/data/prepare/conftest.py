"""Worker processes under observation, and threads in their place."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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


class Threads:
    """In place of `Workers`: threads, which are there at once. What goes to and from them is pickled all the same."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        self._threads = ThreadPoolExecutor(count)
        self._function = pickle.dumps(function)

    def submit(self, item: Any) -> Future[Any]:
        return self._threads.submit(self._answer, pickle.dumps(item))

    def end(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, item: bytes) -> Any:
        try:
            return pickle.loads(pickle.dumps(pickle.loads(self._function)(pickle.loads(item))))
        except Exception as error:
            raise pickle.loads(pickle.dumps(error)) from None


@pytest.fixture(params=["threads", pytest.param("processes", marks=pytest.mark.long)])
def crew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are threads, and in the long tests processes."""
    if request.param == "threads":
        monkeypatch.setattr(parallel, "Workers", Threads)
