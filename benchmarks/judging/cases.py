"""One integer seed, one case: the log of a training, the configuration to judge it by, and what is true."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from judging import faults_of_setup
from judging.draft import Draft, healthy_draft
from judging.faults import FAULTS
from judging.log import draw_logger, write_log
from judging.setting import Random, draw_setting
from judging.truth import Truth
from sedd.diagnosis.verdict import Kind

HEALTHY = 0.36
"""Share of the cases without a fault."""
FEW = 0.04
"""Share of the cases with fewer than 8 points."""
ABSORB_ONLY = ("unweighted cross-entropy", "weighted loss per masked residue", "weighted twice")
RAMPED_ONLY = ("another preschool_time", "another min_difficulty", "clock of the curriculum restarted")
UNIT_BESIDE = 0.12
"""Share of the faults of the loss whose log has another unit as well."""


@dataclass(frozen=True)
class Case:
    """What the judge is given, and the truth."""

    csv: str
    config: tuple[str, ...]
    """Preset and overrides."""
    symbols: int | None
    truth: Truth


def make_case(seed: int) -> Case:
    """The case of a seed; equal seeds give equal cases."""
    random = np.random.default_rng([20260, seed])
    which = random.random()
    if which < HEALTHY:
        draft = healthy_draft(random, draw_setting(random))
    elif which < HEALTHY + FEW:
        draft = _few(random)
    else:
        draft = _faulty(random)
    logger, digits = draw_logger(draft)
    if logger == "cumulative mean":
        # A mean over all steps so far is no loss at a step: to say so is right, whatever else is true.
        further: tuple[Kind, ...] = ("unit", "config", "inconclusive")
        draft.accepted = (*draft.accepted, *further)
    log = write_log(draft, logger, digits)
    truth = draft.truth(seed)
    if logger == "cumulative mean":
        truth = replace(truth, accepted=tuple(dict.fromkeys((*truth.accepted, "unit", "config", "inconclusive"))))
    symbols = len(draft.setting.tokens)
    return Case(log.csv(), draft.setting.stated, None if symbols == 20 else symbols, truth)


def _faulty(random: Random) -> Draft:
    names = list(FAULTS)
    weights = np.array([FAULTS[name][1] for name in names])
    name = str(random.choice(names, p=weights / weights.sum()))
    setting = draw_setting(random, trainer="consistent" if name in ABSORB_ONLY else None)
    while not _fits(name, setting.true):
        setting = draw_setting(random, trainer="consistent" if name in ABSORB_ONLY else None)
    draft = healthy_draft(random, setting)
    draft.name = name
    FAULTS[name][0](draft)
    beside = random.random() < UNIT_BESIDE
    if beside and not draft.faultless and not {"unit", "config", "inconclusive"} & {*draft.accepted}:
        draft.z = draft.distance()  # of the fault, in nats per residue
        draft.unit, draft.facts["unit"] = faults_of_setup.draw_unit(draft)
        draft.conditional, draft.accepted = draft.accepted, (*draft.accepted, "unit")
    return draft


def _fits(name: str, overrides: tuple[str, ...]) -> bool:
    """Whether a fault exists in a configuration."""
    if name in ABSORB_ONLY and "graph.type=uniform" in overrides:
        return False
    ramped = "curriculum.difficulty_ramp=constant" not in overrides and "curriculum.mode=bias" not in overrides
    return ramped or name not in (*RAMPED_ONLY, "another ramp")


def _few(random: Random) -> Draft:
    """Fewer than 8 points, of which hardly anything can be said."""
    count = int(random.integers(3, 8))
    draft = healthy_draft(random, draw_setting(random, points=count), validated=False)
    draft.name, draft.accepted = "few points", ("inconclusive",)
    draft.forbidden = ("learning", "instability", "leak", "overfitting", "data")
    return draft
