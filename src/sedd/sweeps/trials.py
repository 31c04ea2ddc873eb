"""The typed result of a sweep: its trials, and how the best of them compare with the run file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sedd.files import finite_or_none
from sedd.sweeps.answer import answer, next_steps
from sedd.sweeps.contrasts import Contrast
from sedd.sweeps.space import Changes, Space, sentence
from sedd.sweeps.tasks import Measurement

State = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True, eq=False)
class Trial:
    """One setting, and how it did."""

    number: int
    """0 is the run file itself."""
    changes: Changes
    """What differs from the run file."""
    state: State
    """`complete`; `stopped` early, because others were better; `failed`: the run ended with an error."""
    screening: tuple[Measurement, ...] = field(repr=False)
    """At each rung that it reached, with the seed of the run file; empty in a sweep of single changes."""
    seeds: tuple[Measurement, ...] = field(default=(), repr=False)
    """At the last rung, one for each further seed; only of the finalists."""

    @property
    def name(self) -> str:
        """Its changes as overrides."""
        return sentence(self.changes)

    @property
    def last(self) -> Measurement:
        """The last measurement."""
        return (*self.screening, *self.seeds)[-1]

    @property
    def nats(self) -> float:
        """The bound: mean over the seeds of a finalist, else of the screening; infinite where a run failed."""
        return float(np.mean([one.nats for one in self.seeds])) if self.seeds else self.last.nats

    @property
    def judged(self) -> Measurement:
        """The measurement whose verdict is shown: one that went wrong, if there is one."""
        every = (*self.screening[-1:], *self.seeds)
        return next((one for one in every if one.went_wrong or not one.finite), every[-1])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without values by sequence."""
        judged = self.judged
        return {
            "trial": self.number,
            "changes": dict(self.changes),
            "state": self.state,
            "nats": finite_or_none(self.nats),
            "screening": [finite_or_none(one.nats) for one in self.screening],
            "seeds": [finite_or_none(one.nats) for one in self.seeds],
            "stderr": finite_or_none(self.last.stderr),
            "step": self.last.step,
            "residues": self.last.residues,
            "verdict": judged.kind,
            "verdict_sentence": judged.verdict,
        }


@dataclass(frozen=True, eq=False)
class Sweep:
    """A finished sweep. Bounds are held-out bounds over `mask_rates`, nats per residue; lower is better."""

    space: Space
    defaults: Changes
    """The values of the run file, by key of `space`."""
    trials: tuple[Trial, ...] = field(repr=False)
    """The best first: finalists by their mean over seeds, then complete, stopped and failed trials by their bound."""
    single_changes: bool
    """Whether every trial is a single change of the run file."""
    to_baseline: Mapping[int, Contrast] = field(repr=False)
    """Differences to the run file of all trials that were run with several seeds, by trial number."""
    to_leader: Mapping[int, Contrast] = field(repr=False)
    """Differences to the leader of the others among them."""
    mask_rates: tuple[float, float]
    """The mask rates that all trials are trained on."""
    rungs: tuple[int, ...]
    """Optimizer steps of the run file at which trials were compared; the last one is the end."""
    residues: float
    """Training residues of each complete trial, about."""
    seeds: tuple[int, ...]
    """Seeds of the finalists, which the screening did not use."""
    directory: Path | None = None

    def trial(self, number: int) -> Trial:
        """A trial by its number."""
        return next(trial for trial in self.trials if trial.number == number)

    @property
    def baseline(self) -> Trial:
        """The run file itself."""
        return self.trial(0)

    @property
    def leader(self) -> Trial:
        """The trial with the lowest mean bound over several seeds, whether the difference is significant or not."""
        return self.trials[0]

    @property
    def winner(self) -> Trial | None:
        """The leader, if it is better than the run file by more than the corrected 95 % interval; else None."""
        contrast = self.to_baseline.get(self.leader.number)
        return self.leader if contrast is not None and contrast.better else None

    @property
    def indistinguishable(self) -> tuple[Trial, ...]:
        """Trials run with several seeds whose difference to the leader includes 0."""
        return tuple(self.trial(number) for number, contrast in self.to_leader.items() if not contrast.worse)

    @property
    def failures(self) -> tuple[Trial, ...]:
        """Trials that failed, or whose verdict calls for action."""
        return tuple(trial for trial in self.trials if trial.state == "failed" or trial.judged.went_wrong)

    @property
    def sentence(self) -> str:
        """The answer."""
        return answer(self)

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What to try next, one sentence each."""
        return next_steps(self)

    def __str__(self) -> str:
        return self.sentence

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sentence": self.sentence,
            "winner": None if self.winner is None else self.winner.number,
            "leader": self.leader.number,
            "indistinguishable": [trial.number for trial in self.indistinguishable],
            "next": list(self.next_steps),
            "space": [axis.to_dict() for axis in self.space],
            "defaults": dict(self.defaults),
            "single_changes": self.single_changes,
            "mask_rates": list(self.mask_rates),
            "steps": list(self.rungs),
            "residues": self.residues,
            "seeds": list(self.seeds),
            "trials": [trial.to_dict() for trial in self.trials],
            "to_baseline": [contrast.to_dict() for contrast in self.to_baseline.values()],
            "to_leader": [contrast.to_dict() for contrast in self.to_leader.values()],
        }


def ranked(trials: list[Trial]) -> tuple[Trial, ...]:
    """Finalists, complete, stopped and failed trials, each by its bound; then by number."""

    def place(trial: Trial) -> tuple[bool, bool, int, float, int]:
        finite = math.isfinite(trial.nats)
        return not finite, not trial.seeds, -len(trial.screening), trial.nats, trial.number

    return tuple(sorted(trials, key=place))
