"""A verdict on a run in plain sentences: what is the case, and why, in quantities that a person can picture.

Each function of `SENTENCES` returns the answer and the reason for one hypothesis. `±` is half of a 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sedd.diagnosis.bayes import Measured
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import held_out, probe
from sedd.diagnosis.ramp import ramp_matters
from sedd.evaluation.intervals import plus_minus

Symptoms = Mapping[str, Evidence]
Pair = tuple[str, str]


def between_steps(since: tuple[int, int] | None) -> str:
    """An interval of steps in words."""
    if since is None:
        return "at a step that the log does not show"
    low, high = since
    return f"after step {low:,} and at the latest at step {high:,}" if low else f"at step {high:,} or before"


def percent(effect: Measured) -> str:
    """A log ratio as a change in percent with half of its 95 % interval."""
    change = math.expm1(effect.value)
    half = math.exp(effect.value) * math.sinh(min(effect.half_width, 5.0))
    return f"{change:+.1%} ± {half:.1%}" if abs(change) < 0.1 else f"{change:+.0%} ± {half:.0%}"


def nats(value: float) -> str:
    """A number of nats."""
    return f"{value:.3f}"


def measured(effect: Measured) -> str:
    """A number with half of its 95 % interval."""
    return plus_minus(effect.value, effect.half_width)


def _not_the_curriculum(facts: RunFacts) -> str:
    return ", and the curriculum is not the reason" if ramp_matters(facts.config, facts.step) else ""


def _divergence(facts: RunFacts, symptoms: Symptoms) -> Pair:
    since = divergence_since(symptoms)
    worse = symptoms.get("worse")
    answer = f"Training diverges: the model gets worse{_not_the_curriculum(facts)}."
    if worse is not None and worse.log_bayes_factor > 0:
        reason = f"On equally hard data its loss changed by {percent(worse.effect)} since its best; this began "
        return answer, f"{reason}{between_steps(since)}, and has not been made up since."
    above = symptoms.get("above untrained")
    if above is not None and above.log_bayes_factor > 0:
        return answer, (
            f"Its loss is {above.numbers['over_untrained']:.2f} times that of an untrained model on equally hard data; "
            f"this began {between_steps(since)}."
        )
    seen = symptoms["worse on seen"]
    return answer, (
        f"On training sequences, always the same, it has {measured(seen.effect)} "
        f"nats per residue more than at its best; this began {between_steps(since)}, and has not been made up since."
    )


def _instability(facts: RunFacts, symptoms: Symptoms) -> Pair:
    skipped, oscillation = symptoms["skipped steps"], symptoms.get("oscillation")
    answer = f"Training is unstable{_not_the_curriculum(facts)}."
    past = symptoms.get("came back")
    now = [found.log_bayes_factor for found in (skipped, oscillation) if found is not None]
    if past is not None and past.since is not None and past.log_bayes_factor > max(now):
        return f"Training was unstable for a while{_not_the_curriculum(facts)}.", (
            f"From step {past.since[0]:,} to step {past.since[1]:,} the bound on held-out sequences rose by "
            f"{measured(past.effect)} nats per residue, and it came back."
        )
    if oscillation is None or skipped.log_bayes_factor >= oscillation.log_bayes_factor:
        count, share = skipped.numbers["skipped"], skipped.numbers["share"]
        return answer, (
            f"{count:.0f} of the last steps ({share:.1%}) were skipped because their gradient was not finite; the "
            f"first of them came {between_steps(skipped.since)}."
        )
    return answer, (
        f"On equally hard data the loss jumps by {oscillation.numbers['scatter']:.0%} from line to line, "
        f"{math.exp(oscillation.effect.value):.1f} times as much as before; this began "
        f"{between_steps(oscillation.since)}."
    )


def _data_change(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["data change"]
    ended = found.numbers["ended"]
    over = f" and ended at step {ended:,.0f}" if math.isfinite(ended) else ""
    others = "neither the model nor the curriculum is" if ramp_matters(facts.config, facts.step) else "the model is not"
    return (
        f"The training data changed: {others} the reason.",
        f"The token frequencies of the training sequences differ by {nats(found.numbers['shift'])} nats per residue "
        f"from those of the training set, where {nats(found.numbers['usual'])} is usual; this began "
        f"{between_steps(found.since)}{over}.",
    )


def _overfitting(facts: RunFacts, symptoms: Symptoms) -> Pair:
    held, gap = symptoms["worse on held-out"], symptoms["gap grows"]
    best = held.numbers["best_step"]
    seen = probe(facts)
    epochs = facts.epochs_at(int(best))
    when = f" ({epochs:.3g} epochs)" if epochs is not None else ""
    trained = ""
    if len(seen) and len(seen) == len(held_out(facts)):
        at_best = seen.bounds[held_out(facts).best].nats
        trained = f", and on sequences that it trained on from {nats(at_best)} to {nats(seen.bounds[-1].nats)}"
    return (
        "The model overfits: it memorises its training sequences and gets worse on all others.",
        f"Since step {best:,.0f}{when} its bound on held-out sequences went from {nats(held.numbers['best'])} to "
        f"{nats(held.numbers['now'])} nats per residue ({measured(held.effect)})"
        f"{trained}; the gap between the two grew by {measured(gap.effect)}.",
    )


def _leak(facts: RunFacts, symptoms: Symptoms) -> Pair:
    mixing = symptoms.get("batch mixing")
    if mixing is not None and mixing.log_bayes_factor > 0:
        return (
            "The network mixes the sequences of a batch: what it predicts for one depends on the others.",
            "With other sequences beside it, the output for a sequence in training mode changes by "
            f"{mixing.effect.value:.2g} of its standard deviation (computed, so without an error); it has to be 0.",
        )
    found = symptoms["leak"]
    return (
        "The training loss is too good to be true: in training the network sees what it is to predict.",
        f"The same weights have {measured(found.effect)} nats per masked residue more on training "
        "sequences in evaluation mode, at the same mask rates.",
    )


def _averages(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["averages"]
    share = found.numbers["initial_share"]
    initial = f" {share:.0%} of the average are still the untrained weights." if math.isfinite(share) else ""
    return (
        "The averaged weights (EMA) do not follow the trained ones, and evaluation, samples and checkpoints use them.",
        f"On the same training sequences the averaged weights have {nats(found.numbers['average'])} nats per residue "
        f"and the trained ones {nats(found.numbers['raw'])} ({measured(found.effect)})."
        f"{initial}",
    )


def _held_out_kind(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["held-out kind"]
    return (
        "The held-out sequences are of another kind than the training sequences.",
        f"Before anything could be memorised they had {measured(found.effect)} nats per residue "
        "more than training sequences.",
    )


def _uniform_plateau(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["uniform plateau"]
    dead = facts.lines and max(line.grad_norm for line in facts.lines[-20:]) == 0.0
    gradient = " The gradient is 0 at every logged step." if dead else ""
    return (
        "The model has learnt nothing yet, not even how often each residue occurs, and it does not improve.",
        f"It is {below(found)} the uniform predictor.{gradient}",
    )


def _unigram_plateau(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["unigram plateau"]
    return (
        "The model does not improve, and it is about as good as the token frequencies alone.",
        f"It is {below(found)} the unigram model.",
    )


def _late_plateau(facts: RunFacts, symptoms: Symptoms) -> Pair:
    found = symptoms["late plateau"] if "late plateau" in symptoms else symptoms["stands still"]
    return (
        "The model has stopped getting better.",
        f"For {found.numbers['waited']:,.0f} steps {nats(found.numbers['best'])} nats per residue on held-out "
        "sequences has remained its best.",
    )


def below(found: Evidence) -> str:
    """How far a model is below a rung, and what it gained of late, in words."""
    gap = measured(Measured(found.numbers["below"], found.numbers["below_stderr"]))
    gain = ""
    if "gain" in found.numbers:
        late = measured(Measured(found.numbers["gain"], found.numbers["gain_stderr"]))
        gain = f" (of which {late} in the last half)"
    return f"{gap} nats per residue{gain} below"


def divergence_since(symptoms: Symptoms) -> tuple[int, int] | None:
    """When a divergence began: by the training loss where that shows it, else by the evaluations."""
    for name in ("worse", "above untrained", "worse on seen"):
        found = symptoms.get(name)
        if found is not None and found.log_bayes_factor > 0 and found.since is not None:
            return found.since
    return None


SENTENCES: Mapping[str, Callable[[RunFacts, Symptoms], Pair]] = {
    "divergence": _divergence,
    "instability": _instability,
    "data change": _data_change,
    "overfitting": _overfitting,
    "leak": _leak,
    "averages": _averages,
    "held-out kind": _held_out_kind,
    "uniform plateau": _uniform_plateau,
    "unigram plateau": _unigram_plateau,
    "late plateau": _late_plateau,
}
"""For each hypothesis on runs but `healthy`: the answer and the reason."""
