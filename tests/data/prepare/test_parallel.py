from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sedd.data.prepare.parallel import cores, map_in_order
from sedd.errors import DataError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes import `tests`: the current directory is not on their path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))


class Square:
    """Has to be found by other processes."""

    def __call__(self, number: int) -> tuple[int, int]:
        if number in (37, 38):
            raise DataError(f"not {number}")
        return number * number, os.getpid()


def numbers(count: int, failure: str = "") -> Iterator[int]:
    yield from range(count)
    if failure:
        raise DataError(failure)


def test_results_come_in_order_from_other_processes() -> None:
    results = list(map_in_order(Square(), numbers(30), workers=2))
    assert [square for square, _ in results] == [n * n for n in range(30)]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.usefixtures("crew")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_failure_map_in_order_is_raised_after_the_results_before_it(workers: int) -> None:
    for items, message, before in ((numbers(50), "not 37", 37), (numbers(8, "ends here"), "ends here", 8)):
        results = map_in_order(Square(), items, workers=workers)
        assert [next(results)[0] for _ in range(before)] == [n * n for n in range(before)]
        with pytest.raises(DataError) as caught:
            next(results)
        assert str(caught.value) == message


@pytest.mark.long
def test_stopping_early_leaves_no_process_behind(crews) -> None:
    results = map_in_order(Square(), numbers(30), workers=2)
    assert next(results)[0] == 0
    (crew,) = crews
    assert [process.poll() for process in crew.processes] == [None, None]
    results.close()
    assert None not in [process.poll() for process in crew.processes]


@pytest.mark.long
def test_what_a_worker_prints_does_not_come_between_the_results() -> None:
    assert list(map_in_order(print, ["one", "two"], workers=2)) == [None, None]


@pytest.mark.usefixtures("crew")
def test_few_items_are_read_ahead() -> None:
    read = []
    results = map_in_order(Square(), (read.append(n) or n for n in range(30)), workers=2)
    next(results)
    assert len(read) <= 5
    results.close()


@pytest.mark.long
def test_a_script_without_a_main_guard_is_not_run_again_by_its_workers(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from sedd.data.prepare.parallel import map_in_order\n"
        "print('once')\n"
        "print(list(map_in_order(abs, [-1, -2, -3], workers=2)))\n"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "once\n[1, 2, 3]\n"


def test_there_is_a_core() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
