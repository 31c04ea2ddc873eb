"""The quality of samples on the page: a table of the last judged samples, and curves over steps."""

from __future__ import annotations

import pytest

from sedd.evaluation.quality import Quality
from tests.report.conftest import Page, page_of

pytestmark = pytest.mark.usefixtures("no_svg")


def rows(page: Page) -> dict[str, dict[str, str]]:
    """The table of quality: cells by metric and column (without the number of sequences)."""
    ((heads, *body),) = page.tables["quality-table"]
    names = [head.split(" (")[0] for head in heads]
    return {row[0]: dict(zip(names, row, strict=True)) for row in body}


def test_the_quality_of_the_last_samples_is_a_table_beside_held_out_and_shuffled(make, records, judged):
    page = page_of(make([*records, *judged]))
    last = Quality.from_dict(judged[-1]["quality"])
    assert last.to_dict() == judged[-1]["quality"]
    assert last.sentence in page.text["quality"]
    assert last.notes  # every sample is identical to a training sequence
    assert all(note in page.text["quality"] for note in last.notes)
    shown = rows(page)
    assert len(shown) == len(last.rows)
    pairs, copies = last.row("2mer_divergence"), last.row("copies")
    assert (pairs.differ, pairs.against_shuffled, copies.against_held_out) == (True, "beats", "loses")
    assert shown["2-mer divergence, nats/1000"] == {
        "metric": "2-mer divergence, nats/1000",
        "samples": f"{1e3 * pairs.samples:.1f} ±{1e3 * pairs.samples_half:.1f}",
        "held-out": f"{1e3 * pairs.held_out:.1f} ±{1e3 * pairs.held_out_half:.1f}",
        "shuffled": f"{1e3 * pairs.shuffled:.1f} ±{1e3 * pairs.shuffled_half:.1f}",
        "vs shuffled": "beats",
        "vs held-out": pairs.against_held_out,
    }
    close = next(row for name, row in shown.items() if name.startswith("close copies"))
    assert (close["samples"], close["vs held-out"]) == ("100.00 ±0.00", "loses")


def test_the_main_metrics_are_drawn_over_the_steps_at_which_samples_were_judged(make, records, judged):
    ((heads, *body),) = page_of(make([*records, *judged])).tables["figure-quality"]
    columns = {head: [row[i] for row in body] for i, head in enumerate(heads)}
    assert columns["optimizer step"] == ["10", "30"]
    for end, name in (("", "samples"), ("_held_out", "held-out"), ("_shuffled", "shuffled")):
        expected = [1e3 * line[f"samples_3mer_divergence{end}"] for line in judged]
        drawn = [float(value) for value in columns[f"3-mer divergence, nats/1000: {name}"]]
        assert drawn == pytest.approx(expected, rel=1e-4)
    assert columns["close copies, %: samples"] == ["0", "100"]


def test_samples_judged_once_have_a_table_and_no_curve(make, records, judged):
    page = page_of(make([*records, judged[0]]))
    assert "quality-table" in page.tables
    assert "quality" not in page.figures | page.absent


def test_without_judged_samples_the_page_names_the_settings_that_give_some(page):
    assert "quality" in page.absent
    assert "sampling.at_steps" in page.text["quality"]


@pytest.mark.parametrize("quality", [None, {"rows": "damaged"}])
def test_lines_with_numbers_only_are_shown_as_far_as_they_go(make, records, judged, quality):
    bare = [{key: value for key, value in line.items() if key != "samples_copies_shuffled"} for line in judged]
    for line in bare:
        line.pop("quality") if quality is None else line.update(quality=quality)
    page = page_of(make([*records, *bare]))
    assert rows(page)["2mer_divergence"] == {
        "metric": "2mer_divergence",
        "samples": f"{bare[-1]['samples_2mer_divergence']:.4g}",
        "held-out": f"{bare[-1]['samples_2mer_divergence_held_out']:.4g}",
        "shuffled": f"{bare[-1]['samples_2mer_divergence_shuffled']:.4g}",
    }
    assert "copies" not in rows(page)
    heads = page.tables["figure-quality"][0][0]
    assert "3-mer divergence, nats/1000: samples" in heads
    assert "close copies, %: samples" not in heads
