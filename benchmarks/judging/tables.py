"""Tables of how well verdicts fit the truth, as markdown. Every interval is a 95 % one (Wilson)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import get_args

import numpy as np

from judging.statistics import share, wilson
from judging.truth import DECIDES, FINE, Answer
from sedd.diagnosis.verdict import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
PROBABILITIES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Edges of the bins of the calibration table; a probability of 1 is in the last bin."""
SEVERITIES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, np.inf)
"""Edges of the bins of the power table."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [" | ".join(head), "|".join("---" for _ in head)]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def report(answers: Sequence[Answer], *, unit: str) -> str:
    """All tables. `unit` says what a severity counts."""
    parts: list[tuple[str, Callable[[Sequence[Answer]], str]]] = [
        ("In short", summary),
        ("Wanted kind by verdict", confusion),
        ("By planted fault", by_fault),
        (f"Power: share named right, by severity ({unit}), undecidable cases included", power),
        ("Calibration: the probability stated, and the share that is right", calibration),
        ("Change points", change_points),
        ("Time per verdict", times),
    ]
    return "\n\n".join(f"## {title}\n\n{part(answers)}" for title, part in parts)


def summary(answers: Sequence[Answer]) -> str:
    """The few numbers that count."""
    faultless = [a for a in answers if a.truth.faultless]
    decided = [a for a in answers if a.truth.decides and not a.truth.faultless]
    gross = [a for a in answers if a.truth.gross]
    missed = [a for a in gross if a.missed_gross]
    stated = [a for a in answers if a.probability >= 0.9 and a.kind != "inconclusive"]
    rows = [
        _row("something called wrong where nothing is", faultless, lambda a: a.false_alarm),
        _row("gross faults called healthy or curriculum", gross, lambda a: a.missed_gross),
        _row(f"named right where the evidence decides (z > {DECIDES:g})", decided, lambda a: a.named_right),
        _row(
            "inconclusive, where the evidence decides",
            decided,
            lambda a: a.kind == "inconclusive" and not a.named_right,
        ),
        _row("right, of all (`inconclusive` is right where nothing decides)", answers, lambda a: a.right),
        _row("right, where a probability of 0.9 or more is stated", stated, lambda a: a.right),
        _row("harmful answers", answers, lambda a: a.harmful),
    ]
    text = table(["", "share (95 % interval)"], rows)
    if missed:
        text += f"\n\nGross faults missed, seeds: {', '.join(str(a.truth.seed) for a in missed)}"
    return text


def _row(name: str, answers: Sequence[Answer], hit: Callable[[Answer], bool]) -> tuple[str, str]:
    return name, share(sum(map(hit, answers)), len(answers))


def confusion(answers: Sequence[Answer]) -> str:
    """Counts by wanted kind and verdict."""
    counts = Counter((a.truth.wanted, a.kind) for a in answers)
    columns = [kind for kind in KINDS if any(kind == k for _, k in counts)]
    rows = [kind for kind in KINDS if any(kind == w for w, _ in counts)]
    return table(["wanted", *columns], ([row, *(counts[row, c] or "" for c in columns)] for row in rows))


def by_fault(answers: Sequence[Answer]) -> str:
    """For each planted fault: named right where the evidence decides, harmful answers, the commonest wrong kind."""
    rows = []
    for name, own in _groups(answers, lambda a: a.truth.name):
        decided = [a for a in own if a.truth.decides or a.truth.faultless]
        wrong = Counter(a.kind for a in decided if not a.named_right)
        common = ", ".join(f"{kind} {count}" for kind, count in wrong.most_common(2))
        rows.append(
            (
                name,
                len(own),
                share(sum(a.named_right for a in decided), len(decided)),
                sum(a.harmful for a in own),
                common,
            )
        )
    head = ["fault", "cases", "named right where the evidence decides", "harmful", "commonest wrong verdicts"]
    return table(head, rows)


def power(answers: Sequence[Answer]) -> str:
    """Named right by wanted kind and severity."""
    faulty = [a for a in answers if not a.truth.faultless]
    bins = list(pairwise(SEVERITIES))
    rows = []
    for kind, own in _groups(faulty, lambda a: a.truth.wanted):
        cells = []
        for low, high in bins:
            inside = [a for a in own if low <= a.truth.severity < high]
            hits = sum(a.kind in _kinds_of_fault(a) and a.right for a in inside)
            edges = wilson(hits, len(inside))
            cells.append(f"{hits} of {len(inside)} ({edges[0]:.0%} to {edges[1]:.0%})" if inside else "")
        rows.append([kind, *cells])
    head = [f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}" for low, high in bins]
    return table(["wanted", *head], rows)


def _kinds_of_fault(answer: Answer) -> frozenset[Kind]:
    """The accepted kinds that name the fault."""
    return frozenset(answer.truth.accepted) - FINE - {"inconclusive"}


def calibration_rows(answers: Sequence[Answer]) -> list[tuple[float, float, int, int]]:
    """Mean stated probability, its bin's lower edge, number right and number of cases, for each bin with cases.

    An inconclusive verdict states the probability of its likeliest kind, so that this kind is judged.
    """
    rows = []
    probabilities = np.array([a.probability for a in answers])
    right = np.array([a.right if a.kind != "inconclusive" else a.likeliest in a.truth.accepted for a in answers])
    for low, high in pairwise(PROBABILITIES):
        inside = (probabilities >= low) & ((probabilities < high) | (high == 1.0))
        if inside.any():
            rows.append((float(probabilities[inside].mean()), low, int(right[inside].sum()), int(inside.sum())))
    return rows


def calibration(answers: Sequence[Answer]) -> str:
    """The reliability table."""
    rows = ((f"{mean:.3f}", share(right, count)) for mean, _, right, count in calibration_rows(answers))
    return table(["mean probability stated", "share right (95 % interval)"], rows)


def change_points(answers: Sequence[Answer]) -> str:
    """How often the stated interval of the beginning has the true one, where the fault itself is named right.

    A model that also stands still may be called so, and has stood still from another step on.
    """
    begun = [a for a in answers if a.truth.onset is not None and not a.truth.faultless and a.truth.decides]
    named = [a for a in begun if a.named_right and (a.kind != "plateau" or a.truth.wanted == "plateau")]
    stated = [(a.since, a.truth.onset) for a in named if a.since is not None and a.truth.onset is not None]
    hits = sum(low <= end and begin <= high for (low, high), (begin, end) in stated)
    widths = [high - low for (low, high), _ in stated]
    relative = [(high - low) / max(1, end - begin) for (low, high), (begin, end) in stated]
    rows: list[tuple[str, object]] = [
        ("faults with a beginning, decided", len(begun)),
        ("of them named right", len(named)),
        ("of them with an interval", len(stated)),
        ("the interval has the true beginning", share(hits, len(stated))),
    ]
    if stated:
        rows.append(("median width, steps (no error stated)", f"{np.median(widths):,.0f}"))
        rows.append(("median width, lines of the log (no error stated)", f"{np.median(relative):.1f}"))
    return table(["", ""], rows)


def times(answers: Sequence[Answer]) -> str:
    """Seconds per verdict, as measured on this machine."""
    seconds = np.array([a.seconds for a in answers])
    row = (f"{np.median(seconds):.3f}", f"{np.quantile(seconds, 0.99):.3f}", f"{seconds.max():.3f}")
    return table(["median, s", "99 %, s", "largest, s"], [row])


def wrong(answers: Sequence[Answer], kind: str) -> str:
    """One line for each wrong answer of a wanted kind, a verdict or a fault."""
    own = [a for a in answers if not a.named_right and kind in (a.truth.wanted, a.kind, a.truth.name, "all")]
    return "\n".join(
        f"{a.truth.seed:>9} {a.truth.name:<34} z {a.truth.z:6.1f} severity {a.truth.severity:6.3f}  "
        f"wanted {'/'.join(a.truth.accepted):<44} got {a.kind} {a.probability:.2f}"
        for a in own
    )


def _groups(answers: Sequence[Answer], key: Callable[[Answer], str]) -> Iterator[tuple[str, list[Answer]]]:
    """Answers by key, in alphabetical order."""
    for name in sorted({key(a) for a in answers}):
        yield name, [a for a in answers if key(a) == name]
