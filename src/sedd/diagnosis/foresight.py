"""What can be known about a run before it trains, one sentence with numbers each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from sedd.config.averaging import initial_share
from sedd.config.config import Config
from sedd.data import Dataset
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.predictors import Predictor, entropy
from sedd.diagnosis.rises import smallest_preschool_time, steepest_rise
from sedd.diagnosis.rule_chances import LEAST_RUNS, rule_chances
from sedd.diagnosis.step_scatter import residues_per_step
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule
from sedd.evaluation.evaluated import EvaluatedSequences
from sedd.evaluation.paired import Paired, paired_difference
from sedd.runs.metrics import EvaluatedRecord

MOST_INITIAL = 0.01
"""Weight of the untrained weights in the final average above which the average does not follow."""
SMALLEST_DIFFERENCE = 0.01
"""Difference of held-out bounds that a run should be able to see, nats per residue."""
SLACK = 3.0
"""How much larger than true the estimated error of a paired difference may be, see `_held_out`."""
FEWEST = 20
"""Held-out sequences below which their spread is no basis for an estimate."""
NO_RULE = (
    "No rule of monitoring fires while nothing is wrong: not because of the curriculum, and in none of at least "
    f"{LEAST_RUNS} simulated runs by chance."
)
RULES = ("max_rise", "max_loss", "max_oscillation")


@dataclass(frozen=True)
class Foresight:
    """One thing that is known before training."""

    about: str
    """The key of the configuration, or the subject."""
    sentence: str
    act: bool
    """Whether a setting should be changed before training."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The numbers behind it."""

    def __str__(self) -> str:
        return self.sentence

    def to_dict(self) -> dict[str, Any]:
        """Plain data; numbers that are not finite are left out."""
        finite = {name: value for name, value in self.numbers.items() if math.isfinite(value)}
        return asdict(self) | {"numbers": finite}


@dataclass(frozen=True, eq=False)
class DataFacts:
    """What is known about the data and the network of a run, beyond `DataStatistics`."""

    residues: float
    """Residues in the training set, after cropping."""
    parameters: int
    """Parameters of the network."""
    held_out: EvaluatedSequences
    """The held-out sequences that are evaluated."""

    @staticmethod
    def of(config: Config, dataset: Dataset, *, parameters: int | None = None) -> DataFacts:
        """The facts of a data set; `parameters` are by default those of the network that it names."""
        statistics = DataStatistics.of(dataset, longest=config.model.length)
        if parameters is None:
            parameters = network_parameters(config, dataset.alphabet.n)
        held_out = EvaluatedRecord.of(config, dataset, 0).held_out
        return DataFacts(statistics.length * len(dataset.train), parameters, held_out)


def network_parameters(config: Config, n: int) -> int:
    """Parameters of the network of a configuration for an alphabet of `n` symbols; allocates no memory for them."""
    process = Process.of(config, n)
    with torch.device("meta"):
        network = process.network(config.model)
    return sum(parameter.numel() for parameter in network.parameters())


def foresee(
    config: Config,
    statistics: DataStatistics,
    facts: DataFacts | None = None,
    *,
    predictors: Mapping[str, Predictor] | None = None,
) -> tuple[Foresight, ...]:
    """What is known before training.

    Args:
        config: of the run.
        statistics: of its data.
        facts: of its data and network; without them nothing is said about epochs and the held-out set.
        predictors: `unigram` and `untrained`; without them nothing is said about the rules of `monitoring`.
    """
    found = [*_average(config), *_patience(config), *_ramp(config)]
    if facts is not None:
        found += [*_memory(config, statistics, facts), *_held_out(facts.held_out)]
    if predictors is not None:
        fire = [*_rules_by_curriculum(config, predictors), *_rules_by_chance(config, statistics, predictors)]
        found += fire or [Foresight("monitoring", NO_RULE, act=False)]
    return tuple(found)


def _average(config: Config) -> Iterator[Foresight]:
    steps, ema = config.training.n_iters, config.ema
    share = initial_share(ema, steps)
    if share <= MOST_INITIAL:
        return
    decay = math.floor(1e4 * MOST_INITIAL ** (1.0 / steps)) / 1e4
    advice = f"Set ema.decay={decay:g} or lower" + ("" if ema.warmup else ", or ema.warmup=true")
    yield Foresight(
        "ema",
        f"After {steps:,} steps the averaged weights (ema.decay={ema.decay:g}), which are evaluated and sampled from, "
        f"still consist to {share:.1%} of the untrained ones. {advice}.",
        act=True,
        numbers={"initial_share": share, "decay": decay},
    )


def _patience(config: Config) -> Iterator[Foresight]:
    steps, every, patience = config.training.n_iters, config.training.eval_every, config.monitoring.patience
    longest = max(0, steps - min(every, steps))  # from the first evaluation to the last
    if patience <= longest:
        return
    yield Foresight(
        "monitoring.patience",
        f"The rule monitoring.patience={patience:,} cannot fire: from the first evaluation to the last there are "
        f"{longest:,} steps.",
        act=False,
        numbers={"patience": patience, "longest": longest},
    )


def _ramp(config: Config) -> Iterator[Foresight]:
    steps = config.training.n_iters
    reached, full = Schedule(config).at(steps - 1), Schedule(config).mask_range(1.0)
    if reached.difficulty >= 1.0:
        return
    yield Foresight(
        "curriculum",
        f"The run ends at difficulty {reached.difficulty:.3g}: mask rates from {reached.mask_low:.1%} to "
        f"{reached.mask_high:.1%} are trained at its last step, at full difficulty {full[0]:.1%} to {full[1]:.1%}.",
        act=False,  # the configuration itself warns
        numbers={"difficulty": reached.difficulty, "mask_rate_max": reached.mask_high},
    )


def bits_per_parameter(epochs: float) -> float:
    """A rule of thumb: the bits that a parameter can memorise of data seen in so many epochs.

    Allen-Zhu and Li (2024, Physics of Language Models 3.3) measured 2 bits after 1,000 exposures and 1 bit after 100,
    for facts in autoregressive models. In between, and down to 0 bits after 10, it is a straight line in log(epochs).
    """
    return min(2.0, max(0.0, math.log10(max(epochs, 1.0)) - 1.0))


def _memory(config: Config, statistics: DataStatistics, facts: DataFacts) -> Iterator[Foresight]:
    epochs = config.training.n_iters * residues_per_step(config, statistics) / facts.residues
    # The most that there is to memorise: the residues as the unigram model codes them.
    needed = facts.residues * entropy(statistics.frequencies) / math.log(2.0)
    memory = bits_per_parameter(epochs) * facts.parameters
    numbers = {
        "epochs": epochs, "residues": facts.residues, "parameters": facts.parameters, "bits": needed, "memory": memory,
    }  # fmt: skip
    sees = (
        f"In {config.training.n_iters:,} steps the run sees its {facts.residues:,.0f} training residues "
        f"{_few_digits(epochs)} "
        f"times, with {facts.parameters:,} parameters."
    )
    rule = (
        f"By a rule of thumb they can memorise {_few_digits(memory / 1e6)} million bits of them in so many epochs "
        "(Allen-Zhu "
        f"and Li 2024), and these residues have {_few_digits(needed / 1e6)} million."
    )
    act = memory >= needed
    advice = " Expect overfitting: train for fewer steps, on more data, or with a smaller model." if act else ""
    yield Foresight("memory", f"{sees} {rule}{advice}", act=act, numbers=numbers)


def _held_out(evaluated: EvaluatedSequences) -> Iterator[Foresight]:
    """How small a difference the evaluated sequences can show.

    In a run of the preset `quickstart` these estimates are 0.006 and 0.006; the bound had 0.007 to 0.016 and the paired
    differences of evaluations 25 steps apart had 0.002 to 0.008 nats per residue.
    """
    if not len(evaluated.unigram):
        return  # more than 4,096 sequences
    single = Paired.mean(evaluated.unigram, evaluated.residues).half_width
    paired = paired_difference(evaluated.unigram, evaluated.composition, evaluated.residues).half_width
    count = evaluated.sequences
    few = count < FEWEST or paired > SMALLEST_DIFFERENCE
    if math.isfinite(paired):
        needed = max(FEWEST, math.ceil(count * (paired / SMALLEST_DIFFERENCE) ** 2))
        errors = (
            f"a bound is known to no better than ±{single:.2g} and a paired difference to about ±{paired:.2g} nats per "
            "residue (half of a 95 % interval; estimated from the sequence-to-sequence spread of the unigram model, "
            "and of its difference from the composition control; without the error of the masks)"
        )
    else:
        needed, errors = FEWEST, "there is no interval"
    advice = (
        f" Differences of {SMALLEST_DIFFERENCE:g} nats may not be seen: evaluate about {needed:,} sequences "
        "(evaluation.sequences, data.holdout or data.valid)."
    )
    yield Foresight(
        "held_out",
        f"With {count:,} held-out sequence{'' if count == 1 else 's'} {errors}.{advice if few else ''}",
        act=count < FEWEST or paired > SLACK * SMALLEST_DIFFERENCE,
        numbers={"sequences": count, "half_width": single, "paired_half_width": paired, "needed": needed},
    )


def _rules_by_curriculum(config: Config, predictors: Mapping[str, Predictor]) -> Iterator[Foresight]:
    """The rules that fire without any noise, although nothing is wrong."""
    rules, unigram = config.monitoring, predictors["unigram"]
    rise = steepest_rise(config, unigram)
    if rise.per_1000 > rules.max_rise:
        time = smallest_preschool_time(config, unigram, limit=rules.max_rise)
        remedy = f"preschool_time {time:,} keeps it under" if time else "no preschool_time keeps it under"
        yield Foresight(
            "max_rise",
            f"The rule 'no more than {rules.max_rise:g} nats per 1,000 steps' will fire: the curriculum alone raises "
            f"the loss by up to {rise.per_1000:.2f}, between steps {rise.first:,} and {rise.last:,} ({remedy}).",
            act=False,
            numbers={"per_1000": rise.per_1000, "first": rise.first, "last": rise.last},
        )
    steps = {0, config.training.n_iters, config.curriculum.preschool_time}
    highest = max(predictors["untrained"].loss(*_mask_range(config, step)) for step in steps)
    if highest > rules.max_loss:
        yield Foresight(
            "max_loss",
            f"The rule 'no loss over {rules.max_loss:g}' will fire: that of an untrained model is {highest:.2f}.",
            act=False,
            numbers={"loss": highest},
        )


def _rules_by_chance(
    config: Config, statistics: DataStatistics, predictors: Mapping[str, Predictor]
) -> Iterator[Foresight]:
    """The rules that fire because of the Monte Carlo error of the loss."""
    names = {
        "max_rise": "{:g} nats per 1,000 steps",
        "max_loss": "a loss of {:g}",
        "max_oscillation": "{:.0%} oscillation",
    }
    graph = make_graph(config.graph.type, len(statistics.frequencies))
    for chance in rule_chances(config, graph, statistics, predictors):
        if not chance.times:
            continue
        how_often = (
            f"{chance.times:,.1f} times in a run like this (95 % of such runs: {chance.fewest:,.0f} to "
            f"{chance.most:,.0f}; {chance.runs} simulated)"
            if chance.share > 0.5
            else f"in {round(chance.share * chance.runs)} of {chance.runs} simulated runs like this"
        )
        yield Foresight(
            chance.rule,
            f"Your rule of {names[chance.rule].format(chance.limit)} (monitoring.{chance.rule}) fires by chance alone "
            f"{how_often}, from the scatter of the noise draws, with a model that does not change. The monitor "
            "subtracts what the draws explain; a reader of the curve does not.",
            act=False,
            numbers={name: value for name, value in asdict(chance).items() if name != "rule"},
        )


def _mask_range(config: Config, step: int) -> tuple[float, float]:
    settings = Schedule(config).at(step)
    return settings.mask_low, settings.mask_high


def _few_digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
