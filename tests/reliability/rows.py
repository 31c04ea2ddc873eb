"""The rows of the scoreboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import (
    corrupting,
    disks,
    fuzzed_commands,
    fuzzing,
    killing,
    malicious,
    memory,
    ordering,
    plugins,
    racing,
    ranks,
    resuming,
    signalling,
    soaking,
    sweeping,
)
from tests.reliability.result import Result


@dataclass(frozen=True)
class Row:
    """A row of the scoreboard.

    Attributes:
        name: in the table, and after `--only`.
        function: of the scale (1 for the complete row), a seed, and an empty folder to work in; its docstring says what
            is tried.
        seconds: about how long it takes at full scale, for the time left.
    """

    name: str
    function: Callable[[float, int, Path], Result]
    seconds: float

    @property
    def tried(self) -> str:
        """What is tried, in a sentence or two."""
        return " ".join((self.function.__doc__ or "").split())


ROWS = (
    Row("resume", resuming.resume_grid, 170.0),
    Row("chained-resume", resuming.chained_resume, 60.0),
    Row("kills-while-saving", killing.kills_while_saving, 40.0),
    Row("kills-of-training", killing.kills_of_training, 60.0),
    Row("damaged-checkpoints", corrupting.corrupted_checkpoints, 60.0),
    Row("damaged-runs", corrupting.corrupted_runs, 30.0),
    Row("damaged-stores", corrupting.corrupted_stores, 10.0),
    Row("failing-saves", disks.failing_saves, 30.0),
    Row("failing-disks", disks.failing_runs, 200.0),
    Row("vanishing-directories", disks.read_only, 60.0),
    Row("races", racing.races, 60.0),
    Row("signals", signalling.signals_everywhere, 240.0),
    Row("non-finite-gradients", memory.non_finite, 40.0),
    Row("plugins", plugins.misbehaving_plugins, 150.0),
    Row("out-of-memory", memory.out_of_memory, 150.0),
    Row("data-once", ordering.data_exactly_once, 40.0),
    Row("two-ranks", ranks.killed_ranks, 120.0),
    Row("sweeps", sweeping.disturbed_sweeps, 150.0),
    Row("malicious-inputs", malicious.malicious_inputs, 300.0),
    Row("fuzz-fasta", fuzzing.fuzzed_fasta, 20.0),
    Row("fuzz-configurations", fuzzing.fuzzed_configurations, 60.0),
    Row("fuzz-checkpoints", fuzzing.fuzzed_checkpoints, 40.0),
    Row("fuzz-command-lines", fuzzed_commands.fuzzed_command_lines, 120.0),
    Row("soak", soaking.soak, soaking.SECONDS),
)
BY_NAME = {row.name: row for row in ROWS}
