"""The picture and the page of a diagnosis: what is drawn at which steps, in which unit; nothing can run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.patches import Rectangle

import sedd
from sedd.diagnosis.api import load_without_advice
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diagnosis.verdict import Remedy, Verdict
from sedd.diffusion.loss_profile import mask_range
from sedd.report.chart import Chart, Series
from sedd.report.diagnosis_page import render, write_page, write_picture
from sedd.report.diagnosis_plot import diagnosis_chart, diagnosis_figure
from tests.report.conftest import Page

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
STEPS = np.arange(0, 40_001, 500)


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """The curve of another program that follows the forecast, with two broken rows and held-out losses."""
    config = load_without_advice("uniref50_stable")
    forecast = sedd.forecast(config)
    untrained, unigram = (
        np.array([forecast.loss(int(step), name) for step in STEPS]) for name in ("untrained", "unigram")
    )
    learnt = -np.expm1(-np.asarray(STEPS) / 3000.0)  # a network begins as the uniform predictor
    losses = (1.0 - learnt) * untrained + learnt * unigram
    losses[[10, 11]] = np.nan
    rows = [
        f"{step},{loss},{1.02 * loss if step % 10_000 == 0 else ''}" for step, loss in zip(STEPS, losses, strict=True)
    ]
    file = tmp_path_factory.mktemp("logs") / "theirs.csv"
    file.write_text("\n".join(["step,loss,val_loss", *rows]))
    return sedd.diagnose(file, config=config)


def series(chart: Chart) -> dict[str, Series]:
    return {series.name: series for panel in chart.panels for series in panel.series}


def chart_of(diagnosis: Diagnosis) -> Chart:
    chart = diagnosis_chart(diagnosis)
    assert chart is not None
    return chart


def test_the_curve_is_drawn_on_the_band_with_held_out_losses_and_mask_rates(curve):
    fit, drawn = curve.external_curve, series(chart_of(curve))
    np.testing.assert_array_equal(drawn["training loss"].y, fit.curve.losses)
    np.testing.assert_array_equal(drawn["expected range"].y, fit.untrained)
    np.testing.assert_array_equal(drawn["expected range"].low, fit.unigram)
    assert drawn["held-out loss"].x.tolist() == [0, 10_000, 20_000, 30_000, 40_000]
    assert drawn["loss not finite"].x.tolist() == [5_000, 5_500]
    noise, mode = curve.config.noise, curve.config.curriculum.mode
    expected = [mask_range(noise, d, mode)[1] for d in fit.difficulty]
    np.testing.assert_allclose(drawn["largest mask rate"].y, expected)
    assert drawn["largest mask rate"].y[0] < 0.1 < 0.39 < drawn["largest mask rate"].y[-1]


@pytest.mark.parametrize("nested", [False, True])
def test_the_steps_at_which_it_began_are_shaded_in_all_panels(curve, nested):
    began = Verdict("learning", "It diverges.", since=(12_000, 14_500))
    verdict = Verdict("unit", "Bits.", conditional=began) if nested else began
    figure = diagnosis_figure(replace(curve, verdict=verdict))
    assert figure is not None
    assert len(figure.axes) == 2
    for axes in figure.axes:
        (span,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert (span.get_x(), span.get_x() + span.get_width()) == (12_000, 14_500)
        edges = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert edges == [12_000, 14_500]


def test_without_a_beginning_nothing_is_shaded_but_the_band(curve):
    figure = diagnosis_figure(replace(curve, verdict=Verdict("healthy", "Fine.")))
    assert figure is not None
    assert [patch for axes in figure.axes for patch in axes.patches] == []
    bands = [item for item in figure.axes[0].collections if isinstance(item, PolyCollection)]
    assert len(bands) == 1
    path = bands[0].get_paths()[0].vertices
    fit = curve.external_curve
    assert path[:, 1].max() == pytest.approx(fit.untrained.max())
    assert path[:, 1].min() == pytest.approx(fit.unigram.min())


def test_the_answer_is_the_title_and_neither_it_nor_the_legend_is_cut_off(curve):
    answer = "The losses are something else. " * 8
    figure = diagnosis_figure(replace(curve, verdict=Verdict("unit", answer)))
    assert figure is not None
    title = figure._suptitle
    assert title is not None
    assert title.get_text().split() == answer.split()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for part in (title, *figure.legends):
        box = part.get_window_extent(canvas.get_renderer())
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize(
    ("unit", "shown"), [("bits", "bits per residue"), ("sequence", "nats per sequence"), (None, "nats per residue")]
)
def test_the_unit_is_on_the_axis(curve, unit, shown):
    fit = curve.external_curve
    named = replace(curve, external_curve=replace(fit, curve=replace(fit.curve, unit=unit)))
    assert chart_of(named).panels[0].unit == f"loss, {shown}"


@pytest.mark.parametrize(("factor", "log"), [(1.0, False), (30.0, True)])
def test_losses_far_above_the_band_have_a_logarithmic_axis(curve, factor, log):
    fit = curve.external_curve
    far = replace(fit, curve=Curve(fit.curve.steps, factor * fit.curve.losses))
    panel = chart_of(replace(curve, external_curve=far)).panels[0]
    assert panel.log == log
    assert (panel.y_range is None) == log


def test_a_divergence_stays_on_the_chart_and_a_spike_does_not(curve):
    fit = curve.external_curve
    growing = fit.unigram * np.linspace(1.0, 3.5, len(fit.unigram))
    spiked = fit.unigram.copy()
    spiked[30] = 500.0
    tops = []
    for losses in (growing, spiked):
        panel = chart_of(replace(curve, external_curve=replace(fit, curve=Curve(fit.curve.steps, losses)))).panels[0]
        assert panel.y_range is not None
        tops.append(panel.y_range[1])
    assert tops[0] > growing.max()
    assert tops[1] < 10


# Runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_is_drawn_with_its_bounds_and_the_mask_rates_that_it_recorded(trained):
    diagnosis = sedd.diagnose(trained)
    drawn = series(chart_of(diagnosis))
    lines, bounds = diagnosis.history.lines, diagnosis.history.bounds
    assert drawn["training loss"].y.tolist() == [line.loss for line in lines]
    assert drawn["largest mask rate"].y.tolist() == [line.mask_rate_max for line in lines]
    (held_out,) = [curve for name, curve in drawn.items() if name.startswith("held-out bound")]
    assert held_out.y.tolist() == [bound.nats for bound in bounds]
    assert held_out.high is not None
    np.testing.assert_allclose(held_out.high - held_out.y, [bound.half_width for bound in bounds])


def test_a_run_that_has_logged_nothing_has_a_page_and_no_picture(trained, tmp_path):
    for name in ("config.yaml", "metrics.jsonl"):
        lines = (trained / name).read_text().splitlines()
        kept = [line for line in lines if name == "config.yaml" or json.loads(line)["kind"] == "data"]
        (tmp_path / name).write_text("\n".join(kept) + "\n")
    diagnosis = sedd.diagnose(tmp_path)
    with pytest.raises(sedd.SeddError) as nothing:
        write_picture(diagnosis, tmp_path / "x.png")
    assert str(tmp_path) in str(nothing.value)
    assert Page(render(diagnosis)).figures == set()


# Files ---------------------------------------------------------------------------------------------------------------


def test_the_page_has_verdict_figure_and_numbers_and_nothing_can_run(curve):
    verdict = Verdict(
        "learning", f"Answer {EVIL}", reason=f"Reason {EVIL}", advice=f"Advice {EVIL}", certainty=f"Certain {EVIL}",
        since=(5_000, 6_000), probabilities={"learning": 0.95, "healthy": 0.05},
        remedies=(Remedy(EVIL, EVIL, tried=False),),
    )  # fmt: skip
    text = render(replace(curve, source=f"<b>{EVIL.replace('/', '')}", verdict=verdict, unseen=(EVIL,)))
    page = Page(text)
    assert [tag for tag in ("script", "link", "iframe", "object", "embed", "base", "form", "b") if page.all(tag)] == []
    assert all(str(image["src"]).startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert [image["class"] for image in page.all("img")] == ["light", "dark"]
    for name in ("reason", "advice", "certainty", "remedies", "unseen"):
        assert "alert(1)" in page.text[name]  # shown as text
    heads, *rows = page.tables["figure-curve"][0]
    assert (heads[0], rows[-1][0]) == ("optimizer step", "40,000")
    assert float(rows[-1][heads.index("training loss")]) == pytest.approx(
        curve.external_curve.curve.losses[-1], rel=1e-4
    )
    assert [row[1] for row in page.tables["hypotheses"][0][1:]] == ["95 %", "5 %"]


def test_files_are_written_and_wrong_names_are_errors(curve, tmp_path: Path):
    write_page(curve, tmp_path / "page.html")
    write_picture(curve, tmp_path / "curve.png")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render(curve)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    pages, pictures = ("page.pdf", "none/page.html"), ("none/x.png", "x.abc")
    for write, name in [*((write_page, name) for name in pages), *((write_picture, name) for name in pictures)]:
        with pytest.raises(sedd.SeddError) as wrong:
            write(curve, tmp_path / name)
        assert str(tmp_path / name) in str(wrong.value)
