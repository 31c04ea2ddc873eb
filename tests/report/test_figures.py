"""The figures: what is drawn, and the numbers beside it."""

from __future__ import annotations

import re
from base64 import b64decode
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from sedd.data.statistics import DataStatistics
from sedd.diagnosis.forecast import make_forecast
from sedd.evaluation.intervals import half_width
from sedd.report.bound_charts import bound_chart, bound_levels
from sedd.report.chart import DARK, LIGHT, Chart
from sedd.report.charts import attribution_chart, loss_chart
from sedd.report.contents import gather
from sedd.report.forecast_plot import forecast_chart, forecast_figure
from sedd.report.heatmap import heat_map
from sedd.report.legend import legend_columns
from sedd.report.write import write_report
from tests.report.conftest import of_kind, page_of

PNG = b"\x89PNG"


def curves(chart: Chart | None) -> dict[str, np.ndarray]:
    assert chart is not None
    return {series.name: series.y for panel in chart.panels for series in panel.series}


def test_every_figure_is_drawn_for_light_and_for_dark_paper(page):
    assert len(page.figures) == 7
    images = page.all("img")
    assert [image["class"] for image in images] == ["light", "dark"] * 7
    for image in images:
        svg = b64decode(str(image["src"]).partition("base64,")[2]).decode()
        assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314  # made by this test
        assert image["alt"]
        own, other = (LIGHT, DARK) if image["class"] == "light" else (DARK, LIGHT)
        assert own["paper"] in svg
        assert other["ink"] not in svg
        assert "<script" not in svg


def test_every_figure_has_its_numbers_in_a_table(page, records):
    assert {name.removeprefix("figure-") for name in page.tables} >= page.figures
    bounds, (heads, *rows) = of_kind(records, "bound"), page.tables["figure-bound"][0]
    assert heads[0] == "optimizer step"
    assert [row[0] for row in rows] == [str(bound["step"]) for bound in bounds]
    assert [float(row[1]) for row in rows] == pytest.approx([bound["bound_nats"] for bound in bounds], rel=1e-4)
    losses = {row[0]: row[heads.index("training loss")] for heads, *rows in page.tables["figure-loss"] for row in rows}
    assert float(losses["40"]) == pytest.approx(of_kind(records, "train")[-1]["loss"], rel=1e-4)


def test_the_same_run_gives_the_same_page_and_pictures(trained, tmp_path):
    one, two = (write_report(trained, tmp_path / name / "page.html") for name in "ab")
    assert one.page.read_bytes() == two.page.read_bytes()
    assert [a.read_bytes() for a in one.pictures] == [b.read_bytes() for b in two.pictures]


def test_pictures_of_the_main_plots_are_written_beside_the_page(trained):
    written = write_report(trained)
    assert written.page == trained / "report.html"
    assert [file.name for file in written.pictures] == ["loss.png", "attribution.png", "bound.png", "profile.png"]
    for file in written.pictures:
        assert file.parent == trained / "report"
        assert file.read_bytes().startswith(PNG)
        assert file.stat().st_size > 10_000


def test_the_parts_of_the_attribution_add_up_at_every_point(trained):
    parts = curves(attribution_chart(gather(trained)))
    total = parts["difficulty"] + parts["learning"] + parts["Monte Carlo error"]
    np.testing.assert_allclose(total, parts["change of the loss (sum)"], atol=1e-9)


def test_difficulty_and_learning_lie_in_their_bands(trained):
    chart = attribution_chart(gather(trained))
    parts = curves(chart)
    assert chart is not None
    bands = {series.name: series for series in chart.panels[0].series if series.style == "band"}
    for name in ("difficulty", "learning"):
        band = bands[f"95 % interval of {name}"]
        assert band.low is not None
        np.testing.assert_allclose((band.low + band.y) / 2, parts[name], atol=1e-9)
        assert (band.y - band.low)[-1] > 0.001


def test_the_expected_loss_is_the_forecast_of_the_steps_that_a_line_averages(trained):
    contents = gather(trained)
    assert contents.forecast is not None
    drawn = curves(loss_chart(contents))["uniform predictor"]
    lines = contents.history.lines
    for line, before, value in zip(lines[1:], lines, drawn[1:], strict=False):
        steps = range(before.step, line.step)  # the difficulty of a step is computed from the count of steps before it
        expected = np.mean([contents.forecast.loss(step, "untrained") for step in steps])
        assert value == pytest.approx(expected, rel=0.05)  # longer batches weigh more


def test_the_heat_map_shows_the_recorded_profile_and_leaves_blank_what_was_not_drawn(trained, records):
    heat = heat_map(gather(trained))
    assert heat is not None
    assert heat.values.shape == (40, 20)
    last = of_kind(records, "train")[-1]["profile"]
    assert heat.values[20, -1] == pytest.approx(last[24])  # five bins share the lowest row
    assert np.isnan(heat.values[-1, 0])


def test_a_spike_does_not_flatten_the_chart_and_is_reported(make, records):
    spiked = [
        record | {"loss": 5000.0} if record["kind"] == "train" and record["step"] == 30 else record
        for record in records
    ]
    run = make(spiked)
    chart = loss_chart(gather(run))
    assert chart is not None
    assert chart.panels[0].y_range is not None
    assert chart.panels[0].y_range[1] < 20
    assert re.findall(r"[\d,]+", page_of(run).text["loss"].split("Numbers")[0])[-2:] == ["5,000", "30"]


def test_the_bounds_on_held_out_and_training_sequences_are_drawn_with_their_intervals(trained):
    chart, bounds = bound_chart(gather(trained)), gather(trained).history.bounds
    assert chart is not None
    drawn = {series.name: series for series in chart.panels[0].series}
    for name, field in (
        ("held-out sequences", "held_out"),
        ("training sequences", "probe"),
        ("training sequences, weights before averaging", "probe_raw"),
    ):
        records = [getattr(bound, field) for bound in bounds]
        assert drawn[name].x.tolist() == [bound.step for bound in bounds]
        assert drawn[name].y.tolist() == [record.nats for record in records]
        halves = [half_width(record.stderr, record.sequences) for record in records]
        assert drawn[name].low is not None
        assert drawn[name].high is not None
        np.testing.assert_allclose(drawn[name].high - drawn[name].y, halves)
        np.testing.assert_allclose(drawn[name].y - drawn[name].low, halves)


def test_the_ladder_has_the_losses_of_simple_predictors_on_the_held_out_sequences(trained):
    contents = gather(trained)
    evaluated = contents.history.evaluated
    assert evaluated is not None
    levels = {level.name: level for level in bound_levels(contents)}
    assert (levels["uniform predictor"].y, levels["uniform predictor"].half_width) == (pytest.approx(np.log(20)), 0.0)
    held_out = evaluated.held_out
    for name, values in (("unigram model", held_out.unigram), ("composition of the sequence", held_out.composition)):
        mean = float((values * held_out.residues).sum() / held_out.residues.sum())
        assert levels[name].y == pytest.approx(mean)
        assert 0.001 < levels[name].half_width < 0.2
    assert levels["exact value"].y == contents.exact


def test_an_old_run_has_a_ladder_without_errors(make, records):
    levels = {level.name: level for level in bound_levels(gather(make(of_kind(records, "data", "train", "bound"))))}
    assert set(levels) == {"uniform predictor", "unigram model", "exact value"}
    assert np.isnan(levels["unigram model"].half_width)


def test_expected_losses_are_dots_on_the_forecast(tiny):
    forecast = make_forecast(config := tiny(), DataStatistics.usual(config))
    chart = forecast_chart(forecast, {30: 1.2, 4: 0.7})
    drawn = {series.name: series for panel in chart.panels for series in panel.series}
    dots, band = drawn["expected or observed loss"], drawn["expected range"]
    assert (dots.x.tolist(), dots.y.tolist(), dots.style) == ([4.0, 30.0], [0.7, 1.2], "dots")
    assert chart.x_range == (0.0, 30.0)  # beyond the 8 steps of the configuration
    assert band.low is not None
    at = int(np.searchsorted(band.x, 4))
    assert (band.y[at], band.low[at]) == (
        pytest.approx(forecast.loss(4, "untrained")),
        pytest.approx(forecast.loss(4, "unigram")),
    )
    assert "expected or observed loss" not in curves(forecast_chart(forecast, {}))


@pytest.mark.parametrize(("width", "columns"), [(200, 5), (60, 3), (10, 1)])
def test_a_legend_has_as_many_columns_as_fit(width, columns):
    assert legend_columns(["ten of one"] * 7, width) == columns


@pytest.mark.parametrize("ramp", ["linear", "constant"])
def test_a_forecast_is_drawn(tiny, tmp_path, ramp):
    forecast = make_forecast(config := tiny(f"curriculum.difficulty_ramp={ramp}"), DataStatistics.usual(config))
    forecast_figure(forecast).savefig(tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 10_000
