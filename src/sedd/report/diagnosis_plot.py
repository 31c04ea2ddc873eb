"""The picture of a diagnosis: the curve on the band of the forecast, the mask rates, and when it began."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis.curve import Curve, Unit
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diffusion.loss_profile import mask_range
from sedd.report.chart import Array, Chart, Panel, Series, Style
from sedd.report.charts import Thinned, band, expected_losses, far_above, loss_panel, loss_range
from sedd.report.plots import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS: dict[Unit, str] = {
    "residue": "nats per residue",
    "masked": "nats per masked residue",
    "sequence": "nats per sequence",
    "bits": "bits per residue",
}
"""Units of a log in words."""
MASK_RATE = "largest mask rate"


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is drawn of a run or of a curve; arrays are (points,)."""

    steps: Array
    losses: Array
    series: tuple[Series, ...]
    """The curve and the held-out losses."""
    expected: tuple[Array, Array, Array] | None
    """Steps, and the losses of a uniform predictor and of a unigram model, in the unit of the losses."""
    mask_rates: Array
    """The largest mask rate that the curriculum allows."""
    unit: str
    last: float
    """Last step."""
    marks: tuple[float, ...] = ()
    """Steps of rollbacks."""


def diagnosis_figure(diagnosis: Diagnosis) -> Figure | None:
    """The chart of a diagnosis, for `sedd diagnose --plot`; None if nothing was logged.

    Raises:
        SeddError: if matplotlib is missing.
    """
    chart = diagnosis_chart(diagnosis)
    return None if chart is None else draw(chart)


def diagnosis_chart(diagnosis: Diagnosis) -> Chart | None:
    """Losses on the band of the forecast with the largest mask rate below, as data; None if nothing was logged.

    The title is the answer of the verdict. The band is that of the settings and of the unit which fit best.
    """
    drawn = _of_run(diagnosis) if diagnosis.external_curve is None else _of_curve(diagnosis)
    if drawn is None:
        return None
    uniform = None if drawn.expected is None else drawn.expected[1]
    y_range = loss_range(drawn.losses, uniform)
    held_out = [series.y for series in drawn.series[1:]]
    finite = np.concatenate([[0.0], *(values[np.isfinite(values)] for values in held_out)])
    y_range = (0.0, max(y_range[1], min(1.12 * float(finite.max()), 2.0 * y_range[1])))
    broken = ~np.isfinite(drawn.losses)
    lost = Series("loss not finite", drawn.steps[broken], np.full(broken.sum(), 0.97 * y_range[1]), "alarm", "dots")
    curves = (*(band(*drawn.expected) if drawn.expected else ()), *drawn.series, *((lost,) if broken.any() else ()))
    mask = Series(MASK_RATE, drawn.steps, drawn.mask_rates, "muted")
    panels = (
        loss_panel(f"loss, {drawn.unit}", curves, y_range, far=far_above(drawn.losses, uniform)),
        Panel(MASK_RATE, (mask,), height=0.35, y_range=(0.0, 1.08)),
    )
    verdict = diagnosis.verdict
    chart = Chart("curve", verdict.answer, panels, (0.0, drawn.last), marks=drawn.marks, since=verdict.began)
    return chart if diagnosis.external_curve is not None else replace(chart, phases=diagnosis.forecast.phases)


def _of_run(diagnosis: Diagnosis) -> _Drawn | None:
    """A run of this package: its lines, in groups of neighbours where they are many, and its held-out bounds."""
    history = diagnosis.history
    if not history.lines:
        return None
    thin = Thinned(history.lines)
    losses = thin.field("loss")
    series = [Series("training loss", thin.steps, losses, "run")]
    bounds = [bound for bound in history.bounds if math.isfinite(bound.nats)]
    if bounds:
        steps, nats = np.array([(bound.step, bound.nats) for bound in bounds], np.float64).T
        halves = np.array([bound.half_width if math.isfinite(bound.half_width) else math.nan for bound in bounds])
        name = "held-out bound (all mask rates), 95 % interval"
        series.append(Series(name, steps, nats, "model", "points", nats - halves, nats + halves))
    return _Drawn(
        steps=thin.steps,
        losses=losses,
        series=tuple(series),
        expected=expected_losses(thin, diagnosis.forecast.predictors, diagnosis.forecast),
        mask_rates=thin.field("mask_rate_max", np.max),
        unit="nats per residue",
        last=float(max([thin.steps[-1], *(bound.step for bound in bounds)])),
        marks=tuple(float(rollback.step) for rollback in history.rollbacks),
    )


def _of_curve(diagnosis: Diagnosis) -> _Drawn | None:
    """The curve of another program, with its held-out losses."""
    fit = diagnosis.external_curve
    if fit is None or not len(fit.curve):
        return None
    curve = fit.curve
    steps = curve.steps.astype(np.float64)
    style: Style = "points" if len(steps) < 30 else "line"
    series = [Series("training loss", steps, curve.losses, "run", style)]
    if len(curve.held_out):
        series.append(Series("held-out loss", curve.held_out_steps.astype(np.float64), curve.held_out, "model", "dots"))
    return _Drawn(
        steps=steps,
        losses=curve.losses,
        series=tuple(series),
        expected=(steps, fit.untrained, fit.unigram),
        mask_rates=_mask_rates(diagnosis.config, fit, fit.difficulty),
        unit=unit_of(curve, fit),
        last=float(max([*curve.steps[-1:], *curve.held_out_steps[-1:]])),
    )


def unit_of(curve: Curve, fit: Any) -> str:
    """The unit of the losses in words: the one that the user has named, else the one that fits."""
    return UNITS[curve.unit] if curve.unit is not None else str(getattr(fit, "unit_words", UNITS["residue"]))


def _mask_rates(config: Config, fit: Any, difficulty: Array) -> Array:
    """(points,): the largest mask rate at each difficulty, with the noise and the mode that fit."""
    changes = getattr(fit, "changes", {})
    noise, mode = config.noise, changes.get("curriculum.mode", config.curriculum.mode)
    if "noise.sigma_max" in changes:
        noise = noise.model_copy(update={"sigma_max": float(changes["noise.sigma_max"])})
    return np.array([mask_range(noise, d, mode)[1] for d in difficulty.tolist()])
