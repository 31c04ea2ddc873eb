"""A figure of the confusion matrix and the reliability of the stated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from judging.statistics import wilson
from judging.tables import KINDS, calibration_rows
from judging.truth import Answer
from sedd.report.chart import LIGHT
from sedd.report.plots import FONT, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(answers: Sequence[Answer], file: Path) -> None:
    """Write the figure as PNG.

    Raises:
        SeddError: if matplotlib is missing.
    """
    figure = new_figure(16.0, 7.5)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.35, 1.0]})
    _confusion(left, answers)
    _reliability(right, answers)
    figure.savefig(file, format="png")


def _confusion(axes: Axes, answers: Sequence[Answer]) -> None:
    """Rows are wanted kinds; colours are shares of a row, numbers are cases."""
    rows = [kind for kind in KINDS if any(a.truth.wanted == kind for a in answers)]
    counts = np.array([[sum(a.truth.wanted == w and a.kind == k for a in answers) for k in KINDS] for w in rows])
    shares = counts / counts.sum(1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = LIGHT["paper"] if shares[row, column] > 0.5 else LIGHT["ink"]
            axes.text(column, row, str(count), ha="center", va="center", fontsize=FONT - 2, color=color)
    axes.set_xticks(range(len(KINDS)), KINDS, rotation=45, ha="right", fontsize=FONT - 2)
    axes.set_yticks(range(len(rows)), rows, fontsize=FONT - 2)
    axes.set_title("wanted kind (rows) by verdict (columns), cases", loc="left", fontsize=FONT, color=LIGHT["muted"])


def _reliability(axes: Axes, answers: Sequence[Answer]) -> None:
    """The share right in each bin of stated probability, with 95 % intervals."""
    style_axes(axes, LIGHT, "share right, with 95 % interval")
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle=(0, (5, 3)), linewidth=1.2)
    for mean, _, hits, count in calibration_rows(answers):
        low, high = wilson(hits, count)
        axes.vlines(mean, low, high, color=LIGHT["run"], linewidth=1.6)
        axes.plot([mean], [hits / count], "o", color=LIGHT["run"], markersize=6)
        axes.annotate(
            str(count), (mean, high), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=FONT - 3
        )
    axes.set_xlim(-0.02, 1.05)
    axes.set_ylim(-0.02, 1.08)
    axes.set_xlabel("mean probability stated", loc="right", fontsize=FONT, color=LIGHT["muted"])
