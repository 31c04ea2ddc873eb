"""The sentences of verdicts whose cause is not the model: data, evaluation, configuration, unit."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, cast

from sedd.config.config import Config
from sedd.diagnosis.curve_fit import trainers
from sedd.diagnosis.curve_fit.context import Context, Words, middle
from sedd.diagnosis.curve_fit.settings import WEIGHTED
from sedd.diagnosis.curve_fit.units import MASKED
from sedd.diagnosis.verdict import Kind, Remedy

DOUBTED = 0.01
"""Probability of another unit from which to look at the unit is worth while."""


def too_good(kind: Kind, context: Context) -> Words:
    """A loss that is too good to be true: memorised, or leaked."""
    fit, held = context.fit, context.held
    gap = (
        f" The held-out losses are {math.exp(held.gap):.2f} times the training losses at equal difficulty."
        if held is not None
        else ""
    )
    if kind == "leak":
        answer = "The training loss is too good to be true: it probably sees what the model must predict."
        first = "check that masked residues, neighbours in the batch and padding do not show the targets"
    else:
        answer = "The model memorises its training data."
        first = "stop at the least held-out loss, or train on more sequences"
        if held is None:
            first = "log the loss of held-out sequences; where it rises, stop at its least value or train on more data"
            answer = "The training loss is too good to be true: the model probably memorises its training data."
            gap = (
                " A leak, by which the network sees the answers, gives the same curve; this log has no held-out "
                "losses, which would tell the two apart."
            )
        elif held.rise > 0.0:
            first = f"go back to the least held-out loss, at about step {held.best_step:,}"
    below = max(fit.learnt, 0.0)
    reason = (
        f"At equal difficulty the last losses are {math.exp(-below):.2f} times those of an untrained model; the best "
        f"known protein models reach {math.exp(-context.found.case.floor):.2f}.{gap}"
    )
    advice = "Compare with the loss of held-out sequences that are no relatives of the training data."
    if held is None:
        advice += " Where no sequence was seen twice yet, nothing can be memorised: then look for a leak."
    more = [Remedy("check the unit of the losses: means over padding make them smaller")]
    doubted = context.judged.decision.probabilities.get("unit", 0.0) >= DOUBTED
    return Words(answer, reason, advice, (Remedy(first), *(more if doubted else ())))


def held_out(kind: Kind, context: Context) -> Words:
    """Held-out losses of another kind, or of averages that do not follow."""
    held = context.held
    gap, level = (math.exp(held.gap), math.exp(held.level)) if held else (1.0, 1.0)
    if kind == "averages":
        decay = context.forecast.config.ema.decay
        return Words(
            "The averaged weights do not follow the trained ones: training goes well, the evaluation does not see it.",
            f"The held-out losses stay at {level:.2f} times those of an untrained model; the training losses fall.",
            "Evaluate with the raw weights once; if that is much better, average faster.",
            (Remedy(f"ema.decay={min(0.999, decay):g}", f"now {decay:g}", False),
             Remedy("check that the average is updated at every optimizer step")),
        )  # fmt: skip
    return Words(
        "The held-out sequences are of another kind than the training data.",
        f"At equal difficulty the held-out losses are {gap:.2f} times the training losses, from the start on.",
        "Compare the token frequencies and the lengths of both files.",
        (Remedy("hold out a random share of the training file: the gap must vanish"),
         Remedy("check that both files go through the same cleaning and the same alphabet")),
    )  # fmt: skip


def data(context: Context) -> Words:
    """Training data that changed."""
    since = context.judged.since
    where = f" from about step {middle(since):,} on" if since else ""
    return Words(
        f"The training data probably changed{where}, not the model.",
        "The loss jumps from one line to the next and stays or comes back at once, which learning does not do.",
        "Look at the training sequences of these steps.",
        (Remedy("look at the file, the shard or the order of the sequences at these steps"),
         Remedy("do not change the learning rate or the curriculum: neither is to blame")),
    )  # fmt: skip


def configuration(context: Context) -> Words:
    """Other settings than configured, or a clock that began again."""
    setting = context.judged.way.setting
    if setting.restart is not None:
        return Words(
            f"The clock of the curriculum began again at about step {setting.restart:,}, which the configuration does "
            "not say.",
            "From there on the losses follow a curriculum that starts from its first step.",
            "When resuming, restore the step that the curriculum counts.",
            (Remedy("restore the optimizer step when resuming, not only the weights"),),
        )
    changed = " and ".join(f"{key}={value}" for key, value in setting.changes.items())
    given = ", ".join(f"{key}={_given(context.forecast.config, key)}" for key in setting.changes)
    return Words(
        "The configuration does not fit the curve: the run was probably trained with other settings.",
        f"With {changed} the curve is explained; with what was given, {given}, it is not.",
        f"Check the settings of that run, and diagnose again with {changed}.",
        (
            Remedy(f"diagnose again with {changed}", "if that is what the run had"),
            Remedy(f"if it had {given}, look at how its trainer uses it: which steps it counts, also after a resume"),
        ),
    )


def _given(config: Config, key: str) -> str:
    """The value of a key of a configuration, as text; `not set` where this kind of curriculum has no such key."""
    value = reduce(lambda part, name: getattr(part, name, None), key.split("."), cast(Any, config))
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


def unit(context: Context) -> Words:
    """Another unit, or losses that are not those of a bound."""
    fit, setting = context.fit, context.judged.way.setting
    if setting.trainer not in ("consistent", "mismatched"):
        answer = "The log has another unit than the weighted loss of SEDD: " + _masked(setting.trainer)
        reason = f"The curve fits {trainers.WORDS[setting.trainer]}."
    else:
        answer = f"The losses are probably {fit.unit_words}, not nats per residue."
        low, high = fit.factor_interval
        reason = (
            f"They are {fit.factor:.3g} times (95 % interval {low:.3g} to {high:.3g}) the forecast in nats per residue."
        )
    name = {"bits": "bits", "sequence": "sequence"}.get(fit.unit, "")
    if setting.trainer in MASKED:
        name = "masked"
    advice = "Log the weighted loss, in nats per residue, and diagnose again."
    if name:
        advice = f"If so, diagnose again with --unit {name}."
    elif setting.trainer in WEIGHTED:
        advice = "Divide the losses by this factor and diagnose again."
    return Words(answer, reason, advice)


def _masked(trainer: trainers.Trainer) -> str:
    if trainer == "unweighted":
        return "nats per masked residue, which do not change with the difficulty of the curriculum."
    return "nats per masked residue." if trainer in MASKED else "its losses are weighted in another way."
