"""The sentences of a verdict on a curve: answer, reason, advice, remedies."""

from __future__ import annotations

import math

import numpy as np

from sedd.diagnosis.curve_fit import causes
from sedd.diagnosis.curve_fit.context import Context, Words, middle
from sedd.diagnosis.curve_fit.result import Z95, learnt, percent_below
from sedd.diagnosis.remedies import LR_FACTOR, two_digits
from sedd.diagnosis.verdict import Kind, Remedy
from sedd.diffusion.loss_profile import mask_range

MORE = "if a lower learning rate is not enough"
"""When the second change of a setting is due: one at a time."""


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
            return causes.too_good(kind, context)
        case "averages" | "held_out":
            return causes.held_out(kind, context)
        case "data":
            return causes.data(context)
        case "config":
            return causes.configuration(context)
        case "unit":
            return causes.unit(context)
    return _inconclusive(context)


def numbers(context: Context) -> str:
    """The numbers behind the answer."""
    fit = context.fit
    ratio = fit.over_untrained[np.isfinite(fit.over_untrained)]
    text = (
        f"Of all {len(ratio):,} lines of the log, the lowest is {ratio.min():.2f} and the highest {ratio.max():.2f} "
        f"times the loss of an untrained model; one line scatters by about {fit.scatter:.0%}."
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
        f"loss of an untrained model became {grew}."
    )


def learning_sentence(context: Context) -> str:
    """What was learnt, with its interval."""
    fit = context.fit
    low, high = (percent_below(x) for x in fit.learnt_interval)
    text = (
        f"At equal difficulty the last losses are {percent_below(fit.learnt)} below those of an untrained model (95 % "
        f"interval {low} to {high}); a model that knows only the token frequencies is "
        f"{percent_below(fit.frequencies)} below. "
    )
    match learnt(fit):
        case "more":
            return text + "So the model has learnt more than the token frequencies."
        case "frequencies":
            text += "So the model has learnt something, and it may be the token frequencies alone: "
            return text + "this curve does not show more."
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
        Remedy("optim.grad_clip=1", f"now off; {MORE}", tried=False)
        if not optim.grad_clip
        else Remedy(
            f"optim.grad_clip={two_digits(optim.grad_clip / 2):g}", f"now {optim.grad_clip:g}; {MORE}", tried=False
        )
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
    return Words(answer, reason, _until(context))


def _until(context: Context) -> str:
    """What to do while nothing is wrong, and from when on to worry."""
    advice = "Go on, and judge the model by its held-out loss at full difficulty."
    fit = context.fit
    if learnt(fit) == "more":
        return advice
    full = fit.difficulty[-1] > 0.999  # where the last line shows the unit of the log at full difficulty
    value = f", {fit.unigram[-1]:.3g} {fit.unit_words}" if full else ""
    return f"{advice} Worry if at step {2 * context.last:,} it is no better than token frequencies alone{value}."


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
    answer = (
        "Something is wrong with the model, not with the curriculum: from about step "
        f"{middle(since):,} on it got worse at equal difficulty."
    )
    if judged.change > 0.0:
        low, high = (math.exp(judged.change + side * Z95 * judged.change_error) for side in (-1, 1))
        reason = (
            f"At step {last:,} the loss is {math.exp(judged.change):.2f} times (95 % interval {low:.2f} to {high:.2f}) "
            "what it would be if training had gone on as before; the curriculum that is configured does not explain it."
        )
    else:
        reason = "Its losses move in a way that neither learning nor a curriculum explains."
    reason += f" It began between steps {since[0]:,} and {since[1]:,} (95 % interval)."
    advice, remedies = _go_back(context)
    return Words(answer, reason, advice, remedies)


def _instability(context: Context) -> Words:
    rise = context.judged.recovered
    if rise is not None and context.judged.since == rise.since:
        return Words(
            f"Training was unstable for a while: at about step {middle(rise.since):,} the loss rose, and it came back.",
            f"It rose to {rise.percent} (95 % interval) above what it should be. Neither learning nor a curriculum "
            "does so.",
            "Go on. If it happens again, clip the gradient or lower the learning rate.",
            _go_back(context)[1][1:],
        )
    scatter, since = context.found.scatter, context.judged.since
    where = f" since about step {middle(since):,}" if since else ""
    match scatter.sign:
        case "scatter":
            reason = f"From there on the losses scatter {scatter.size:.1f} times as much from line to line as before."
        case "oscillation":
            reason = f"The loss swings by ±{scatter.size:.0%} around its mean, more than its scatter."
        case _:
            reason = f"{len(scatter.spikes)} spikes stand far above their neighbours."
    advice, remedies = _go_back(context)
    return Words(f"Training is unstable{where}.", f"{reason} The schedule predicts no such change.", advice, remedies)


def _inconclusive(context: Context) -> Words:
    return Words(
        "The curve does not decide whether anything is wrong.",
        f"{len(context.found.series.logs)} usable losses with a scatter of {context.fit.scatter:.0%} each allow "
        "more than one explanation.",
        "Give more losses, from the first step on, or name the unit.",
    )
