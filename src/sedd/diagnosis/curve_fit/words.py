"""The sentences of a verdict on a curve: answer, reason, advice, remedies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sedd.diagnosis.curve_fit import trainers
from sedd.diagnosis.curve_fit.deciding import Judgement
from sedd.diagnosis.curve_fit.held_out import HeldOut
from sedd.diagnosis.curve_fit.result import ExternalCurveFit, learnt, percent_below
from sedd.diagnosis.curve_fit.ways import Found
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.remedies import LR_FACTOR, two_digits
from sedd.diagnosis.verdict import Kind, Remedy
from sedd.diffusion.loss_profile import mask_range


@dataclass(frozen=True)
class Words:
    """What a verdict says."""

    answer: str
    reason: str
    advice: str
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, eq=False)
class Context:
    """What the sentences are made of."""

    fit: ExternalCurveFit
    found: Found
    judged: Judgement
    held: HeldOut | None
    forecast: Forecast

    @property
    def last(self) -> int:
        """The last step with a usable loss."""
        return int(self.found.series.steps[-1])


def sentences(kind: Kind, context: Context) -> Words:
    """The sentences of a verdict of one kind."""
    match kind:
        case "healthy" | "curriculum":
            return _fine(kind, context)
        case "plateau":
            return _plateau(context)
        case "learning":
            return _divergence(context)
        case "instability":
            return _instability(context)
        case "overfitting" | "leak":
            return _too_good(kind, context)
        case "averages" | "held_out":
            return _held_out(kind, context)
        case "data":
            return _data(context)
        case "config":
            return _configuration(context)
        case "unit":
            return _unit(context)
    return _inconclusive(context)


def numbers(context: Context) -> str:
    """The numbers behind the answer."""
    fit = context.fit
    ratio = fit.over_untrained[np.isfinite(fit.over_untrained)]
    text = (
        f"Compared with {trainers.WORDS[fit.trainer]}, the losses are {ratio.min():.2f} to {ratio.max():.2f} times "
        f"those of an untrained model; one line scatters by about {fit.scatter:.0%}."
    )
    return " ".join((text, *fit.notes))


def task(context: Context) -> str:
    """How the curriculum changed the task, in shares of masked residues; empty where it did not."""
    config, setting, steps = context.forecast.config, context.judged.way.setting, context.found.series.steps
    first, last = float(steps[0]), float(steps[-1])
    difficulties = setting.difficulty(np.array([first, last]))
    change = math.exp(float(np.diff(setting.log_loss(np.array([first, last])))[0]))
    if abs(math.log(change)) < 0.02 or setting.changes.keys() & {"noise.sigma_max", "curriculum.mode"}:
        return ""
    until = float(steps[int(np.argmax(setting.difficulty(steps) >= difficulties[1]))])
    low, high = (mask_range(config.noise, float(d), config.curriculum.mode)[1] for d in difficulties)
    grew = f"{change:.1f} times as large" if change > 1 else f"smaller, {change:.2f} times what it was"
    return (
        f"At step {first:,.0f} at most {low:.0%} of the residues are masked, at step {until:,.0f} {high:.0%}: the "
        f"task became {grew}."
    )


def learning_sentence(context: Context) -> str:
    """What was learnt, with its interval."""
    fit = context.fit
    low, high = (percent_below(x) for x in fit.learnt_interval)
    text = (
        f"At equal difficulty the last losses are {percent_below(fit.learnt)} below those of an untrained model (95 % "
        f"interval {low} to {high}); token frequencies alone give {percent_below(fit.frequencies)}. "
    )
    match learnt(fit):
        case "more":
            return text + "So the model has learnt more than the token frequencies."
        case "frequencies":
            return text + "So the model has learnt the token frequencies; more is not shown by this curve."
    return text + "Whether the model has learnt anything is not clear from this curve."


def checkpoint(context: Context) -> int | None:
    """The last logged step before the trouble; None where there is none after step 0."""
    since = context.judged.since
    if since is None:
        return None
    steps = context.fit.curve.steps
    before = steps[steps <= since[0]]
    return int(before[-1]) if len(before) and before[-1] > 0 and before[-1] > steps[0] else None


def _go_back(context: Context) -> tuple[str, tuple[Remedy, ...]]:
    step, optim = checkpoint(context), context.forecast.config.optim
    lr = _learning_rate(context)
    lower = two_digits(LR_FACTOR * lr)
    back = (
        Remedy(f"go back to a checkpoint at or before step {step:,}")
        if step is not None
        else Remedy("start over: no logged step is known to be from before the trouble")
    )
    advice = (
        f"Go back to a checkpoint at or before step {step:,} and continue with a lower learning rate."
        if step is not None
        else "Start over with a lower learning rate: the trouble began before any checkpoint that is known to be good."
    )
    clip = (
        Remedy("optim.grad_clip=1", "now off; one batch can no longer throw the weights far", tried=False)
        if not optim.grad_clip
        else Remedy(f"optim.grad_clip={two_digits(optim.grad_clip / 2):g}", f"now {optim.grad_clip:g}", tried=False)
    )
    rate = Remedy(f"optim.lr={lower:g}", f"now {lr:.2g}; smaller updates are the usual cure", tried=False)
    return advice, (back, rate, clip)


def _learning_rate(context: Context) -> float:
    """The learning rate at the trouble, where the log has it; else that of the configuration."""
    curve, since = context.fit.curve, context.judged.since
    if curve.lr is None or since is None:
        return context.forecast.config.optim.lr
    known = np.flatnonzero(np.isfinite(curve.lr) & (curve.lr > 0) & (curve.steps <= max(since[1], curve.steps[0])))
    return float(curve.lr[known].max()) if len(known) else context.forecast.config.optim.lr


def _fine(kind: Kind, context: Context) -> Words:
    answer = (
        "Nothing is wrong: the loss rises because the curriculum makes the task harder."
        if kind == "curriculum"
        else "Nothing is wrong: nothing in the curve shows a divergence."
    )
    notes = ""
    if context.judged.way.setting.trainer == "mismatched":
        notes = (
            " The trainer probably corrupts with d·σ but weights and conditions with σ: before full difficulty its "
            "loss is no bound, and higher than that of a consistent trainer."
        )
    elif context.fit.factor > 1.06:
        notes = f" A constant factor of about {context.fit.factor:.2f} remains; a new network may begin like this."
    reason = f"{task(context)} {learning_sentence(context)}{notes}".strip()
    return Words(answer, reason, "Go on, and judge the model by its held-out loss at full difficulty.")


def _plateau(context: Context) -> Words:
    name, last = context.judged.decision.likeliest, context.last
    optim = context.forecast.config.optim
    if name == "uniform plateau":
        answer = "The model does not learn: after all its steps it is no better than an untrained model."
        reason = (
            f"{task(context)} The losses followed those of an untrained model to step {last:,}. "
            f"{learning_sentence(context)}"
        )
        advice = "Check that the weights change at all: print one weight of the last layer at two steps."
        remedies: tuple[Remedy, ...] = (
            Remedy("check that the last layer is trained: its weights must not stay 0, and the optimizer must hold it"),
            Remedy("check that the loss sees the network's output and the right targets, and not padding alone"),
            Remedy(f"optim.lr={two_digits(optim.lr * LR_FACTOR):g}", f"now {optim.lr:g}, if it is too high", False),
            Remedy(f"optim.lr={two_digits(optim.lr / LR_FACTOR):g}", f"now {optim.lr:g}, if it is too low", False),
        )
        return Words(answer, reason.strip(), advice, remedies)
    if name == "unigram plateau":
        answer = "The model has learnt the token frequencies and, for long, nothing more."
        remedies = (
            Remedy(f"optim.lr={two_digits(optim.lr / LR_FACTOR):g}", f"now {optim.lr:g}, if it is too low", False),
            Remedy("a larger model, or check that attention sees the other residues (padding mask, gates)"),
        )
        return Words(answer, learning_sentence(context), "Change one thing: the learning rate first.", remedies)
    answer = "The model no longer improves."
    remedies = (Remedy("stop here, if the held-out loss is good enough"), Remedy("a larger model or more data"))
    return Words(answer, learning_sentence(context), "Stop, or change the model or the data.", remedies)


def _divergence(context: Context) -> Words:
    judged, last = context.judged, context.last
    since = judged.since or (last, last)
    factor = math.exp(judged.change)
    answer = (
        "Something is wrong with the model, not with the curriculum: from about step "
        f"{_middle(since):,} on its loss grows or stays higher than it was."
    )
    reason = (
        f"At step {last:,} the loss is {factor:.2f} times what it would be if training had gone on as before; no "
        f"curriculum explains that. It began between steps {since[0]:,} and {since[1]:,} (95 % interval)."
    )
    advice, remedies = _go_back(context)
    return Words(answer, reason, advice, remedies)


def _middle(since: tuple[int, int]) -> int:
    """A step in an interval, as round as the interval is wide."""
    middle, width = (since[0] + since[1]) / 2, max(since[1] - since[0], 1)
    unit = 10 ** max(0, math.floor(math.log10(width / 2)) if width > 2 else 0)
    return int(round(middle / unit) * unit)


def _instability(context: Context) -> Words:
    scatter, since = context.found.scatter, context.judged.since
    where = f" since about step {_middle(since):,}" if since else ""
    match scatter.sign:
        case "scatter":
            reason = f"From there on the losses scatter {scatter.size:.1f} times as much from line to line as before."
        case "oscillation":
            reason = f"The loss swings by ±{scatter.size:.0%} around its mean, more than its scatter."
        case _:
            reason = f"{len(scatter.spikes)} spikes stand far above their neighbours."
    advice, remedies = _go_back(context)
    return Words(f"Training is unstable{where}.", f"{reason} The schedule predicts no such change.", advice, remedies)


def _too_good(kind: Kind, context: Context) -> Words:
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
        if held is not None and held.rise > 0.0:
            first = f"go back to the least held-out loss, at about step {held.best_step:,}"
    below = max(fit.learnt, 0.0)
    reason = (
        f"At equal difficulty the last losses are {math.exp(-below):.2f} times those of an untrained model; the best "
        f"known protein models reach {math.exp(-context.found.case.floor):.2f}.{gap}"
    )
    advice = "Compare with the loss of held-out sequences that are no relatives of the training data."
    more = Remedy("check the unit of the losses: means over padding make them smaller")
    return Words(answer, reason, advice, (Remedy(first), more))


def _held_out(kind: Kind, context: Context) -> Words:
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


def _data(context: Context) -> Words:
    since = context.judged.since
    where = f" from about step {_middle(since):,} on" if since else ""
    return Words(
        f"The training data probably changed{where}, not the model.",
        "The loss jumps from one line to the next and stays or comes back at once, which learning does not do.",
        "Look at the training sequences of these steps.",
        (Remedy("look at the file, the shard or the order of the sequences at these steps"),
         Remedy("do not change the learning rate or the curriculum: neither is to blame")),
    )  # fmt: skip


def _configuration(context: Context) -> Words:
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
    return Words(
        "The configuration does not fit the curve: it was probably trained with other settings.",
        f"With {changed} the curve is explained; with the configuration as given it is not.",
        f"Check the settings of that run, and diagnose again with {changed}.",
        tuple(Remedy(f"{key}={value}", "if that is what the run had") for key, value in setting.changes.items()),
    )


def _unit(context: Context) -> Words:
    fit, setting = context.fit, context.judged.way.setting
    if setting.trainer not in ("consistent", "mismatched"):
        answer = "These are not the weighted losses of a bound: " + _masked(setting.trainer)
        reason = f"The curve fits {trainers.WORDS[setting.trainer]}."
    else:
        answer = f"The losses are probably {fit.unit_words}, not nats per residue."
        low, high = fit.factor_interval
        reason = (
            f"They are {fit.factor:.3g} times (95 % interval {low:.3g} to {high:.3g}) the forecast in nats per residue."
        )
    name = {"bits": "bits", "sequence": "sequence"}.get(fit.unit, "masked" if setting.trainer != "consistent" else "")
    advice = f"If so, say it with --unit {name}." if name else "Divide the losses by this factor and diagnose again."
    return Words(answer, reason, advice)


def _masked(trainer: trainers.Trainer) -> str:
    if trainer in ("unweighted", "masked", "masked weights"):
        return "they count nats per masked residue, and do not follow the curriculum."
    return "they have another weight."


def _inconclusive(context: Context) -> Words:
    return Words(
        "The curve does not decide whether anything is wrong.",
        f"{len(context.found.series.logs)} usable losses with a scatter of {context.fit.scatter:.0%} each allow "
        "more than one explanation.",
        "Give more losses, from the first step on, or name the unit.",
    )
