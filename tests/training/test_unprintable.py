"""A message that cannot be printed never ends a run."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

import sedd
from sedd.terminal.streams import StandardStream
from tests.conftest import TINY
from tests.processes import environment


class Failing(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: Exception, *, at_flush: bool, terminal: bool = False) -> None:
        super().__init__()
        self.error, self.at_flush, self.terminal, self.failed = error, at_flush, terminal, 0

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if not self.at_flush:
            self._fail()
        return len(text)

    def flush(self) -> None:
        if self.at_flush:
            self._fail()

    def _fail(self) -> None:
        self.failed += 1
        raise self.error


ERRORS: dict[str, Callable[[], Exception]] = {
    "a broken pipe": lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "a terminal that is gone": lambda: OSError(errno.EIO, "Input/output error"),
    "a full disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "a closed stream": lambda: ValueError("I/O operation on closed file"),
}


@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
@pytest.mark.parametrize("at_flush", [False, True], ids=["write", "flush"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_log_that_cannot_be_written_does_not_end_a_run(tiny, tmp_path, monkeypatch, error, at_flush, terminal):
    stream = Failing(error(), at_flush=at_flush, terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = sedd.Trainer(tiny("evaluation.sequences=4"), run=tmp_path / "run")
    trainer.fit()
    assert stream.failed
    assert trainer.state.step == 8


def test_a_run_without_a_standard_error_stream_is_trained(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    sedd.Trainer(tiny("evaluation.sequences=4"), run=tmp_path / "run").fit()


def test_characters_outside_the_encoding_of_a_stream_are_replaced(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, "ascii", write_through=True))
    StandardStream("stderr", unfailing=False).write("1 ± 2")
    assert raw.getvalue() == b"1 +/- 2"


def test_results_that_cannot_be_written_are_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Failing(BrokenPipeError(), at_flush=False))
    with pytest.raises(BrokenPipeError):
        StandardStream("stdout", unfailing=False).write("a result")


@pytest.mark.long
def test_a_reader_that_goes_away_does_not_end_a_run(tmp_path):
    """As in `sedd train ... 2>&1 | head -1`."""
    reader, writer = os.pipe()
    options = ("--run", str(tmp_path / "run"), "--samples", "0")
    command = [sys.executable, "-m", "sedd", "train", "quickstart", *TINY, "noise.sigma_max=0.5", *options]
    with warnings.catch_warnings():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writer, env=environment())
    os.close(writer)
    os.close(reader)
    assert process.wait() == 0
    assert (tmp_path / "run" / "checkpoints" / "step-00000008").is_dir()
