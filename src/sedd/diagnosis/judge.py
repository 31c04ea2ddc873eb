"""The judge of runs: from symptoms to hypotheses, from hypotheses to a verdict in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import held_out, probe
from sedd.diagnosis.healthy import numbers_of, progress, why_the_loss_moves
from sedd.diagnosis.hypotheses import Decision, certainty, decide
from sedd.diagnosis.sentences import SENTENCES, divergence_since
from sedd.diagnosis.symptoms import EXPLANATIONS, find_symptoms, log_likelihoods
from sedd.diagnosis.verdict import Remedy, Verdict

Symptoms = Mapping[str, Evidence]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the judge found, before it is put into words."""

    facts: RunFacts
    symptoms: Symptoms
    decision: Decision
    log_bayes_factor: float
    """Log of the probability of the log under the likeliest hypothesis over that under `healthy`."""

    def verdict(self, alarms: Sequence[Alarm] = ()) -> Verdict:
        """The verdict in words; `alarms` are part of it, and do not decide it."""
        verdict = _verdict(self.facts, self.symptoms, self.decision)
        return replace(verdict, alarms=tuple(alarms), log_bayes_factor=self.log_bayes_factor)


def judge_run(facts: RunFacts, *, past: bool = False) -> Judgement:
    """Weigh the hypotheses on a run so far; with `past` a trouble that is over counts, which nothing should act on."""
    symptoms = find_symptoms(facts, past=past)
    scores = log_likelihoods(symptoms)
    decision = decide(scores)
    if "worse" not in symptoms and decision.kind in ("healthy", "plateau"):
        decision = replace(decision, kind="inconclusive")  # the training loss cannot be judged yet
    return Judgement(facts, symptoms, decision, scores[decision.likeliest])


def _verdict(facts: RunFacts, symptoms: Symptoms, decision: Decision) -> Verdict:
    sentence, name = numbers_of(facts.history), decision.likeliest
    shared = Verdict(
        decision.kind, "", certainty=certainty(decision), probability=decision.probability,
        runner_up=decision.runner_up, hypothesis=name, probabilities=decision.probabilities, sentence=sentence,
    )  # fmt: skip
    if decision.kind == "inconclusive":
        return _inconclusive(facts, symptoms, shared)
    if decision.kind == "healthy":
        return _healthy(facts, shared)
    answer, reason = SENTENCES[name](facts, symptoms)
    advice = advise(facts, symptoms, name)
    evidence = main_symptom(symptoms, name)
    effect = {"effect": evidence.effect.value, "low": evidence.effect.low, "high": evidence.effect.high}
    return replace(
        shared, answer=answer, reason=reason, advice=_first(advice), remedies=advice, since=evidence.since,
        numbers={**effect, **evidence.numbers},
    )  # fmt: skip


def main_symptom(symptoms: Symptoms, hypothesis: str) -> Evidence:
    """The symptom that a verdict states: the strongest of the first group that the hypothesis needs."""
    group = [symptoms[name] for name in EXPLANATIONS[hypothesis].needs[0] if name in symptoms]
    strongest = max(group, key=_factor)
    if hypothesis == "divergence":
        return replace(strongest, since=divergence_since(symptoms))
    return strongest


def advise(facts: RunFacts, symptoms: Symptoms, hypothesis: str) -> tuple[Remedy, ...]:
    """The remedies that follow from a hypothesis."""
    since = main_symptom(symptoms, hypothesis).since
    match hypothesis:
        case "divergence":
            return remedies.of_divergence(facts, since)
        case "instability":
            main = main_symptom(symptoms, hypothesis)
            if main is symptoms.get("came back"):
                return remedies.of_past_instability(facts)
            return remedies.of_instability(facts, since, skips=main is symptoms["skipped steps"])
        case "data change":
            return remedies.of_data(since)
        case "overfitting":
            return remedies.of_overfitting(facts, int(symptoms["worse on held-out"].numbers["best_step"]))
        case "leak":
            return remedies.of_leak()
        case "averages":
            return remedies.of_averages(facts.config, facts.step)
        case "held-out kind":
            return remedies.of_held_out(facts)
        case "uniform plateau" | "unigram plateau" | "late plateau":
            return remedies.of_plateau(facts, hypothesis.removesuffix(" plateau"))
    return ()


def _healthy(facts: RunFacts, shared: Verdict) -> Verdict:
    """Nothing is wrong: why the loss moves, and what the model has learnt."""
    why, by_curriculum = why_the_loss_moves(facts)
    rolled_back = facts.history.rollbacks
    if rolled_back:
        last = rolled_back[-1]
        why = (
            f"The run diverged at step {last.from_step:,} and was set back to step {last.step:,}; nothing has gone "
            f"wrong since. {why}"
        )
    return replace(
        shared,
        kind="curriculum" if by_curriculum else "healthy",
        answer=f"Nothing is wrong. {why}",
        reason=progress(facts),
        advice="Go on.",
    )


def _inconclusive(facts: RunFacts, symptoms: Symptoms, shared: Verdict) -> Verdict:
    """The data do not decide: what is missing."""
    if not facts.lines:
        answer = "Nothing was logged yet, so nothing can be judged."
        return replace(shared, answer=answer, advice="Wait for the first logged step (training.log_every).")
    advice = remedies.of_more(symptoms.get("worse"))
    missing = (
        f"only {len(facts.lines)} lines were logged"
        if "worse" not in symptoms
        else "a change that matters would be within its Monte Carlo error"
        if shared.hypothesis == "healthy"
        else f"the likeliest explanation ({shared.hypothesis}) is not certain enough"
    )
    return replace(
        shared,
        answer=f"It is not clear yet whether anything is wrong: {missing}.",
        reason=progress(facts),
        advice=_first(advice),
        remedies=advice,
    )


def _first(advice: Sequence[Remedy]) -> str:
    """The first remedy as a sentence."""
    return advice[0].sentence if advice else ""


def _factor(evidence: Evidence) -> float:
    return evidence.log_bayes_factor


def unseen(facts: RunFacts) -> tuple[str, ...]:
    """What the log of a run cannot show, one sentence each."""
    sentences = []
    if len(held_out(facts)) < 2:
        sentences.append("Overfitting cannot be seen: there are fewer than two finite held-out bounds.")
    if len(probe(facts, raw=True)) < 2:
        sentences.append(
            "Whether the averaged weights follow, and whether the training loss sees its targets, can hardly be seen: "
            "there are fewer than two evaluations of training sequences (evaluation.train_sequences)."
        )
    return tuple(sentences)
