"""Compare samples, held-out natural sequences and shuffled ones under all metrics.

Natural sequences are split in two: the *reference*, which distances are measured from, and the *held-out half*, which
is the value of a perfect model. Shuffled sequences are the held-out half with the residues of each in random
order: equal composition and lengths, no order. Samples and held-out half are cut to equally many residues, because the
divergence of small samples is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from sedd.data import PROTEIN, Alphabet
from sedd.errors import DataError
from sedd.evaluation.quality.alignment import identity
from sedd.evaluation.quality.complexity import CLASSES, Flags, class_share, low_complexity, repeats
from sedd.evaluation.quality.distances import KmerDivergence, LengthDistance
from sedd.evaluation.quality.diversity import CompositionSpread, PairDistance, uniqueness
from sedd.evaluation.quality.novelty import CLOSE, Neighbours, TrainingIndex
from sedd.evaluation.quality.packed import PackedSequences, TextsOrIds, residue_share
from sedd.evaluation.quality.quality import Answer, Quality, Row
from sedd.evaluation.quality.statistic import Floats, Statistic, bootstrap_weights

Z95 = 1.96
LEAST = 10
"""With fewer sequences in a set, the bootstrap does not estimate its standard error."""
FAR_FEWER = 0.5
"""A note is added if a smaller share of the samples is used."""
Sets = Mapping[str, PackedSequences]
"""The compared sets by name: `samples`, `held_out`, `shuffled` and `reference`."""


def judge(
    samples: TextsOrIds,
    natural: TextsOrIds,
    *,
    alphabet: Alphabet = PROTEIN,
    training: TrainingIndex | None = None,
    longest: int | None = None,
    align: bool = False,
    most: int = 2_000,
    draws: int = 200,
    seed: int = 0,
) -> Quality:
    """Judge generated sequences.

    Args:
        samples: generated sequences, as text or as arrays of token ids.
        natural: held-out natural sequences, as text or as arrays of token ids.
        alphabet: symbols of the token ids.
        training: an index of the training set, for novelty.
        longest: natural sequences are cropped to this many residues, as in training.
        align: align each sample with its nearest training sequence too; needs the extra `align`.
        most: number of samples, at most.
        draws: bootstrap draws.
        seed: keys the choice and order of sequences, the shuffling and the bootstrap.

    Raises:
        DataError: if there are no samples or fewer than two natural sequences, one is empty, or a symbol is not in the
            alphabet.
        SeddError: if `align` is on and there is no training set or no Biopython.
    """
    _check(samples, natural, align=align, training=training)
    packed = PackedSequences.drawn(samples, alphabet, most=most, seed=seed)
    half = min(len(natural) // 2, -(-3 * len(packed) // 2))  # some to spare, in case they are shorter
    drawn = PackedSequences.drawn(natural, alphabet, most=3 * most + half, longest=longest, seed=seed)
    held_out = drawn.part(0, half)
    residues = min(packed.residues, held_out.residues)
    judged, held_out = packed.of_residues(residues), held_out.of_residues(residues)
    reference, shuffled = drawn.part(half, len(drawn)), held_out.shuffled(seed=seed)
    sets = {"samples": judged, "held_out": held_out, "shuffled": shuffled, "reference": reference}
    near = {} if training is None else {name: training.nearest(sequences) for name, sequences in sets.items()}
    metrics = [*_distances(sets), *_levels(sets), *_neighbours(sets, near, training if align else None)]
    weights = {name: bootstrap_weights(len(sets[name]), draws, seed=seed, which=name) for name in sets}
    weights["shuffled"] = weights["held_out"]  # the same sequences: what depends on their composition alone cancels
    certain = min(map(len, sets.values())) >= LEAST
    rows = tuple(_row(metric, weights, certain=certain) for metric in metrics)
    return Quality(
        rows=rows,
        samples=len(judged),
        samples_residues=judged.residues,
        held_out=len(held_out),
        held_out_residues=held_out.residues,
        reference=len(reference),
        training=None if training is None else training.searched,
        notes=tuple(_notes(rows, sets, len(packed), training, near)),
    )


def _check(samples: TextsOrIds, natural: TextsOrIds, *, align: bool, training: TrainingIndex | None) -> None:
    if not len(samples):
        raise DataError("there are no samples to judge; expected at least one sequence")
    if len(natural) < 2:
        raise DataError(
            f"{len(natural)} natural sequence(s) to compare with; expected at least 2, and better hundreds: one half "
            "is the reference, the other shows how near natural sequences come to it"
        )
    if align and training is None:
        raise DataError("aligning needs the training set; give it too (--train on the command line)")


class Metric(NamedTuple):
    """A statistic of each set; without one of the reference, the metric is a distance from the reference."""

    name: str
    title: str
    unit: str
    of: Mapping[str, Statistic]


def _distances(sets: Sets) -> Iterator[Metric]:
    """Metrics that are distances from the reference."""
    columns = {name: sequences for name, sequences in sets.items() if name != "reference"}
    equal = min(sequences.residues for sequences in columns.values())
    # Cut to the last residue: the bias of a divergence depends on how many there are.
    lengths = {name: LengthDistance(sequences, sets["reference"]) for name, sequences in columns.items()}
    yield Metric("length_distance", "length distance", "of the mean length", lengths)
    for k, name in ((1, "letter"), (2, "2mer"), (3, "3mer")):
        title = "letter divergence" if k == 1 else f"{k}-mer divergence"
        divergences = {column: KmerDivergence(columns[column].cut(equal), sets["reference"], k) for column in columns}
        yield Metric(f"{name}_divergence", title, "nats", divergences)


def _levels(sets: Sets) -> Iterator[Metric]:
    """Metrics of each set that are compared with the value of the reference."""

    def of(measure: Callable[[PackedSequences], Statistic]) -> dict[str, Statistic]:
        return {name: measure(sequences) for name, sequences in sets.items()}

    def share(marked: Callable[[PackedSequences], Flags]) -> dict[str, Statistic]:
        return {name: residue_share(sequences, marked(sequences)) for name, sequences in sets.items()}

    if sets["samples"].alphabet.has_amino_acids:
        yield Metric(
            "low_complexity",
            "low complexity",
            "share",
            share(low_complexity),
        )
        yield Metric("repeats", "repeats", "share", share(repeats))
    yield Metric("letter_spread", "letter spread", "nats", of(CompositionSpread))
    yield Metric("uniqueness", "uniqueness", "share", of(uniqueness))
    yield Metric("diversity", "diversity, 3-mers", "share", of(PairDistance))
    if sets["samples"].alphabet.has_amino_acids:
        for name, letters in CLASSES.items():
            yield Metric(name, f"{name} {letters}", "share", of(partial(class_share, letters=letters)))


def _neighbours(sets: Sets, near: Mapping[str, Neighbours], aligned: TrainingIndex | None) -> Iterator[Metric]:
    """Metrics of the similarity to the training set."""
    if not near:
        return
    yield Metric("novelty", "novelty, 5-mers", "share", {name: nearest.novelty for name, nearest in near.items()})
    yield Metric("copies", "close copies", "share", {name: nearest.copies for name, nearest in near.items()})
    if aligned is not None:
        identities = {name: identity(sequences, near[name], aligned) for name, sequences in sets.items()}
        yield Metric("identity", "identity to nearest", "share", identities)


def _row(metric: Metric, weights: Mapping[str, Floats], *, certain: bool) -> Row:
    values = {name: statistic(weights[name]) for name, statistic in metric.of.items()}
    target = values.get("reference")
    distances = {name: drawn if target is None else np.abs(drawn - target) for name, drawn in values.items()}

    def against(name: str, other: str) -> Answer:
        difference = distances[name] - distances[other]
        if not certain or abs(difference[0]) <= max(Z95 * float(np.std(difference[1:])), 1e-12):
            return "cannot tell"
        return "beats" if difference[0] < 0 else "loses"

    half_widths = {name: Z95 * float(np.std(drawn[1:])) for name, drawn in values.items()}
    return Row(
        name=metric.name,
        title=metric.title,
        unit=metric.unit,
        samples=float(values["samples"][0]),
        held_out=float(values["held_out"][0]),
        shuffled=float(values["shuffled"][0]),
        reference=None if target is None else float(target[0]),
        samples_half=half_widths["samples"],
        held_out_half=half_widths["held_out"],
        shuffled_half=half_widths["shuffled"],
        differ=against("held_out", "shuffled") == "beats",
        against_shuffled=against("samples", "shuffled"),
        against_held_out=against("samples", "held_out"),
    )


def _notes(
    rows: tuple[Row, ...], sets: Sets, given: int, training: TrainingIndex | None, near: Mapping[str, Neighbours]
) -> Iterator[str]:
    used = len(sets["samples"])
    by_name = {row.name: row for row in rows}
    if min(map(len, sets.values())) < LEAST:
        yield f"Fewer than {LEAST} sequences in one of the sets: no difference is significant. Give more."
    if used < FAR_FEWER * given:
        yield (
            f"Only {used:,} of {given:,} samples are used, as many residues as the held-out half "
            "has; give more natural sequences."
        )
    if not sets["samples"].alphabet.has_amino_acids:
        yield "Low complexity, repeats and kinds of residues are for proteins, and left out for text and others."
    lost = [row.title for row in rows if row.differ and row.against_shuffled == "loses"]
    spread = by_name["letter_spread"]
    if lost and spread.against_held_out == "loses" and spread.samples < spread.held_out:
        yield (
            f"Shuffled sequences keep the composition of each natural sequence. That of the samples differs less from "
            f"sequence to sequence ({1000 * spread.samples:.1f} against {1000 * spread.held_out:.1f} nats/1000): the "
            f"likely reason why the samples lose to shuffled sequences on {', '.join(lost)}."
        )
    if training is None:
        yield "No training set was given: novelty is left out."
        return
    if training.searched < training.total:
        yield f"Neighbours are those among {training.searched:,} of {training.total:,} training sequences."
    exact = int(near["samples"].exact.sum())
    if exact:
        yield f"{exact:,} of {used:,} samples are exact copies of training sequences."
    copies = by_name["copies"]
    if copies.samples > copies.held_out and copies.against_held_out == "loses":
        yield (
            f"{copies.samples:.1%} of the samples share {CLOSE:.0%} of their 5-mers with one training sequence, "
            f"against {copies.held_out:.1%} of held-out ones: the model repeats its training set."
        )
