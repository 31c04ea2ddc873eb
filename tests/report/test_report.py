"""The report: one page that is whole, says everything without a script, and hides nothing that is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.data import PROTEIN
from sedd.data.statistics import DataStatistics
from sedd.data.synthetic import SyntheticSource
from sedd.diagnosis.forecast import make_forecast
from sedd.evaluation.quality import Quality, TrainingIndex, judge
from sedd.report.charts import attribution_chart, loss_chart
from sedd.report.contents import gather
from sedd.report.heatmap import heat_map
from sedd.report.page import SECTIONS
from sedd.report.plots import Chart, forecast_figure
from sedd.report.write import write_report
from tests.conftest import TINY

PNG = b"\x89PNG"
VOID = {"meta", "br", "link", "img", "input", "hr"}
CLOCK = ("training.n_iters=40", "training.log_every=2", "training.eval_every=10", "curriculum.preschool_time=20")

Records = list[dict[str, Any]]
Make = Callable[..., Path]


class Page(HTMLParser):
    """A page taken apart; fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        """What a reader without scripts sees."""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "mine"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, *CLOCK), run=run).fit(progress=False)
    return run


@pytest.fixture(scope="module")
def records(trained: Path) -> Records:
    return [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def make(trained: Path, tmp_path: Path) -> Make:
    """A run directory of chosen parts."""

    def made(
        metrics: Records | None,
        *,
        config: Callable[[str], str] | None = str,
        samples: Mapping[str, str] | None = None,
    ) -> Path:
        run = tmp_path / "run"
        run.mkdir()
        if config is not None:
            (run / "config.yaml").write_text(config((trained / "config.yaml").read_text()))
        if metrics is not None:
            (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
        for name, text in (samples or {}).items():
            (run / "samples").mkdir(exist_ok=True)
            (run / "samples" / name).write_text(text)
        return run

    return made


@pytest.fixture(scope="module")
def text(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the trained run."""
    return write_report(trained, tmp_path_factory.mktemp("out") / "page.html").page.read_text(encoding="utf-8")


def page_of(run: Path) -> Page:
    return Page(write_report(run).page.read_text(encoding="utf-8"))


def of_kind(records: Records, *kinds: str) -> Records:
    return [record for record in records if record["kind"] in kinds]


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_says_everything_in_words_and_without_a_script(text, records):
    page = Page(text)
    assert page.text.index("Nothing is wrong") < page.text.index("optimizer step") < page.text.index("Training loss")
    for _, heading, _ in SECTIONS:
        assert heading in page.text
    last = of_kind(records, "bound")[-1]
    assert f"{last['bound_nats']:.4f} ± {last['bound_stderr']:.4f}" in page.text
    assert f"{of_kind(records, 'train')[-1]['loss']:.4f}" in page.text
    for words in ("difficulty +", "learning ", "exact value", "n_iters: 40", sedd.Trainer.__module__.split(".")[0]):
        assert words in page.text


def test_nothing_on_the_page_is_loaded_from_elsewhere(text):
    plain = re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in plain
    assert "@import" not in plain
    assert set(re.findall(r"url\((.)", plain)) <= {"#"}
    page = Page(text)
    assert [tag for tag in ("link", "img", "iframe", "object", "embed") if page.all(tag)] == []
    assert all("src" not in attributes for attributes in page.all("script"))
    for tag, attributes in page.tags:
        link = attributes.get("href")
        assert link is None or link.startswith(("#", "data:image/png;base64,")), (tag, link)


def test_every_chart_has_a_title_and_a_description_and_ids_are_unique(text):
    page = Page(text)
    charts = page.all("svg")
    assert len(charts) == 2 * 7  # for wide and for narrow screens
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for chart in charts:
        assert chart["role"] == "img"
        assert set(str(chart["aria-labelledby"]).split()) <= set(ids)
    referred = {
        str(attributes["href"])[1:] for _, attributes in page.tags if str(attributes.get("href")).startswith("#")
    }
    assert referred <= set(ids)


def test_charts_take_their_colours_from_the_page(text):
    drawings = text[text.index("<svg") : text.rindex("</svg>")]
    assert "currentColor" in drawings
    assert "var(--run)" in drawings
    without_data = [part for part in drawings.split('"') if not part.startswith("data:")]
    assert not any("#0102" in part for part in without_data)


def test_the_same_run_gives_the_same_page_and_pictures(trained, tmp_path):
    one, two = (write_report(trained, tmp_path / name / "page.html") for name in "ab")
    assert one.page.read_bytes() == two.page.read_bytes()
    assert [a.read_bytes() for a in one.pictures] == [b.read_bytes() for b in two.pictures]


def test_pictures_of_the_main_plots_lie_beside_the_page(trained):
    written = write_report(trained)
    assert written.page == trained / "report.html"
    assert [file.name for file in written.pictures] == ["loss.png", "attribution.png", "bound.png", "profile.png"]
    for file in written.pictures:
        assert file.parent == trained / "report"
        assert file.read_bytes().startswith(PNG)
        assert file.stat().st_size > 10_000


def test_the_pointer_reads_the_numbers_of_the_run(text, records):
    start = text.index('id="bound-numbers">') + len('id="bound-numbers">')
    numbers = json.loads(text[start : text.index("</script>", start)])
    assert numbers["x"] == [[10, 20, 30, 40]]
    expected = [record["bound_nats"] for record in of_kind(records, "bound")]
    assert numbers["series"][0]["y"] == pytest.approx(expected, rel=1e-4)


# The charts ----------------------------------------------------------------------------------------------------------


def curves(chart: Chart | None) -> dict[str, np.ndarray]:
    assert chart is not None
    return {series.name: series.y for panel in chart.panels for series in panel.series}


def test_the_parts_of_the_attribution_add_up_at_every_point(trained):
    found = curves(attribution_chart(gather(trained)))
    parts = found["difficulty"] + found["learning"] + found["luck of the draw"]
    np.testing.assert_allclose(parts, found["change of the loss: their sum"], atol=1e-9)


def test_the_band_is_the_forecast_of_the_steps_that_a_line_sums_up(trained):
    contents = gather(trained)
    assert contents.forecast is not None
    band = curves(loss_chart(contents))["knows nothing"]
    lines = contents.history.lines
    for line, before, shown in zip(lines[1:], lines, band[1:], strict=False):
        steps = range(before.step, line.step)  # the difficulty of a step is that of the clock before it
        expected = np.mean([contents.forecast.loss(step, "untrained") for step in steps])
        assert shown == pytest.approx(expected, rel=0.05)  # longer batches weigh more


def test_the_heat_map_shows_the_recorded_profile_and_leaves_blank_what_was_not_drawn(trained, records):
    heat = heat_map(gather(trained))
    assert heat is not None
    assert heat.values.shape == (40, 20)
    last = of_kind(records, "train")[-1]["profile"]
    assert heat.values[20, -1] == pytest.approx(last[24])  # five bins share the lowest row
    assert np.isnan(heat.values[-1, 0])


# Hostile and missing things ------------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("bare", [True, False])
def test_nothing_of_a_run_can_inject_markup(make, records, judged, bare):
    alarm = {
        "kind": "alarm", "step": 2, "rule": EVIL, "cause": "data", "severity": "warning", "message": EVIL,
        "numbers": {}, "remedies": [EVIL],
    }  # fmt: skip
    quality = judged[-1]["quality"] | {"notes": [EVIL]}
    quality["rows"] = [quality["rows"][0] | {"title": EVIL}]
    numbers = {f"samples_{EVIL}{end}": 1.0 for end in ("", "_held_out", "_shuffled")}
    samples = {"kind": "samples", "step": 4} | (numbers if bare else {"quality": quality})
    run = make(
        [*of_kind(records, "data", "train"), alarm, samples],
        config=lambda text: (
            f"# {EVIL}\n{text.replace('difficulty_ramp: linear', f'difficulty_ramp: {json.dumps(EVIL)}')}"
        ),
        samples={"step-00000002.fasta": f">{EVIL}\nACDEF{EVIL}\n", "step-00000004.txt": f"=== {EVIL}\n{EVIL}\n"},
    )
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL, "sedd": EVIL}))
    evil = run.with_name("<b>&run")
    run.rename(evil)
    page = page_of(evil)
    assert page.all("img") == []
    assert len(page.all("script")) == len(page.all("figure")) + 1
    assert "alert(1)" in page.text  # shown, not run


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ((), "Nothing was logged yet"),
        (("data",), "No line of the training loss was logged yet"),
        (("data", "bound"), "held-out bound ± standard error"),
        (("train",), "No held-out bound yet"),
        (("data", "train"), "There are no samples in this run"),
    ],
)
def test_a_page_says_what_a_run_lacks(make, records, kinds, says):
    page = page_of(make(of_kind(records, *kinds)))
    assert says in page.text
    assert all(heading in page.text for _, heading, _ in SECTIONS)


def test_a_run_with_a_single_line_has_a_page(make, records):
    page = page_of(make(of_kind(records, "data", "train")[:2]))
    assert "A change needs at least two logged lines" in page.text


def test_a_run_that_only_skipped_steps_has_a_page(make, records):
    skipped = [{"kind": "skipped", "step": 0, "skipped": count} for count in range(1, 30)]
    page = page_of(make([*of_kind(records, "data"), *skipped]))
    assert "29 steps were skipped" in page.text
    assert "not finite" in page.text


def test_losses_without_their_mask_rates_still_have_a_curve(make, records):
    bare = [
        {name: [] if isinstance(value, list) and record["kind"] == "train" else value for name, value in record.items()}
        for record in records
    ]
    page = page_of(make(of_kind(bare, "data", "train")))
    assert "The loss by mask rate was not recorded" in page.text
    assert any(figure["data-chart"] == "loss-numbers" for figure in page.all("figure"))


def test_a_curriculum_that_is_not_installed_is_named_and_the_rest_is_shown(make, records):
    page = page_of(
        make(records, config=lambda text: text.replace("difficulty_ramp: linear", "difficulty_ramp: stairs"))
    )
    assert "curriculum.difficulty_ramp='stairs' is not installed" in page.text
    assert "forecast band" in page.text  # from the mask rates that each line says were allowed
    assert "Nothing is wrong" in page.text
    assert {"loss-numbers", "bound-numbers"} <= {str(figure["data-chart"]) for figure in page.all("figure")}


def test_without_a_configuration_the_recorded_alarms_are_shown(make, records):
    alarm = {
        "kind": "alarm", "step": 8, "rule": "profile", "cause": "learning", "severity": "critical",
        "message": "it got worse", "numbers": {"worse": 1.0}, "remedies": ["lower it"],
    }  # fmt: skip
    page = page_of(make([*records, alarm], config=None))
    assert "Something went wrong while it trained" in page.text
    assert "lower it" in page.text
    assert "There is no config.yaml" in page.text


def test_a_spike_does_not_flatten_the_chart_and_is_said(make, records):
    spiked = [
        record | {"loss": 5000.0} if record["kind"] == "train" and record["step"] == 30 else record
        for record in records
    ]
    assert "Off the chart: as far as 5,000 at step 30" in page_of(make(spiked)).text


def test_a_rollback_is_told(make, records):
    alarm = {"kind": "alarm", "step": 30, "rule": "profile", "cause": "learning", "severity": "critical",
             "message": "it got worse", "numbers": {}, "remedies": []}  # fmt: skip
    back = {"kind": "rollback", "step": 20, "from_step": 30, "lr_scale": 0.5, "rollbacks": 1, "alarm": alarm}
    page = page_of(make([record for record in records if record["step"] <= 20] + [back]))
    assert "At step 30 the run went back to step 20" in page.text


def test_a_long_run_is_thinned_and_the_page_says_so(make, records):
    lines, data = of_kind(records, "train"), of_kind(records, "data")
    many = [
        lines[i % len(lines)] | {"step": 2 * (i + 1), "residues": 1000 * (i + 1), "letters_shift": None}
        for i in range(900)
    ]
    run = make(data + many, config=None)  # replaying the monitor is another matter
    page = write_report(run).page
    assert "900 lines were logged; each point stands for 3 of them" in Page(page.read_text(encoding="utf-8")).text
    assert page.stat().st_size < 600_000


def test_samples_are_shown_by_step_without_the_path_of_the_run(make, records):
    head = "run=/home/somebody/secret step=40 seed=0 length=5"
    names = {f"step-{step:08d}.fasta": f">sample-1 {head}\nACD\nWY\n>sample-2 {head}\nKKK\n" for step in (40, 5)}
    page = page_of(make(of_kind(records, "data"), samples=names))
    assert page.text.index("Step 5 ") < page.text.index("Step 40 ")
    assert "secret" not in page.text
    assert "".join(page.text.split()).count("ACDWY") == 2


# Quality of samples --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged() -> Records:
    """Lines of two steps: samples without any order, and such as good as held-out ones."""
    held_out, good = (
        SyntheticSource(sequences=60, min_length=40, max_length=60, order=3.0, seed=seed, part="valid")
        for seed in (0, 1)
    )
    none = SyntheticSource(sequences=30, min_length=40, max_length=60, order=0.0, seed=2, part="valid")
    training = TrainingIndex.of(good, PROTEIN)
    found = [judge(samples, held_out, training=training) for samples in (none, good)]
    return [
        {"kind": "samples", "step": step, **quality.numbers(), "quality": quality.to_json()}
        for step, quality in zip((10, 30), found, strict=True)
    ]


def cells(text: str) -> list[dict[str, str]]:
    """Of each row of the table of quality: what a reader sees, by column."""
    table = text[text.index('<table class="cards thirds">') :]
    rows = table[: table.index("</table>")].split("<tr>")[2:]
    found = [re.findall(r'data-name="([^"]+)">(.*?)</td>', row) for row in rows]
    return [{name: re.sub("<.*?>", "", cell) for name, cell in row} for row in found]


def test_the_quality_of_the_last_samples_is_a_table_beside_held_out_and_shuffled(make, records, judged):
    written = write_report(make([*records, *judged])).page.read_text(encoding="utf-8")
    last = Quality.from_json(judged[-1]["quality"])
    assert last.to_json() == judged[-1]["quality"]
    page = Page(written)
    assert last.sentence in page.text
    assert all(note in page.text for note in last.notes)
    assert last.notes  # every sample is a training sequence, letter for letter
    shown = {row["metric"].split(", ")[0]: row for row in cells(written)}
    assert len(shown) == len(last.rows)
    pairs, copies = last.row("2mer_divergence"), last.row("copies")
    assert (pairs.differ, pairs.against_shuffled, copies.against_held_out) == (True, "beats", "loses")
    assert shown["2-mer divergence"] == {
        "metric": "2-mer divergence, nats/1000",
        "samples": f"{1e3 * pairs.samples:.1f} ±{1e3 * pairs.samples_half:.1f}",
        "held-out": f"{1e3 * pairs.held_out:.1f} ±{1e3 * pairs.held_out_half:.1f}",
        "shuffled": f"{1e3 * pairs.shuffled:.1f} ±{1e3 * pairs.shuffled_half:.1f}",
        "vs shuffled": "beats",
        "vs held-out": pairs.against_held_out,
    }
    assert shown["close copies"]["samples"] == "100.00 ±0.00"
    assert shown["close copies"]["vs held-out"] == "loses"


def test_the_main_metrics_are_drawn_over_the_steps_at_which_samples_were_judged(make, records, judged):
    written = write_report(make([*records, *judged])).page.read_text(encoding="utf-8")
    start = written.index('id="quality-numbers">') + len('id="quality-numbers">')
    numbers = json.loads(written[start : written.index("</script>", start)])
    assert numbers["x"] == [[10, 30]]
    drawn = {series["name"]: series["y"] for series in numbers["series"]}
    for end, name in (("", "samples"), ("_held_out", "held-out"), ("_shuffled", "shuffled")):
        expected = [1e3 * line[f"samples_3mer_divergence{end}"] for line in judged]
        assert drawn[f"3-mer divergence, nats/1000: {name}"] == pytest.approx(expected, rel=1e-4)
    assert drawn["close copies, %: samples"] == [0, 100]


def test_one_line_of_samples_has_a_table_and_no_curve(make, records, judged):
    page = page_of(make([*records, judged[0]]))
    assert "Step 10" in page.text
    assert "From step to step" not in page.text


def test_without_a_line_of_samples_the_page_says_how_to_get_one(make, records):
    assert "No samples were judged in this run: sampling.at_steps" in " ".join(page_of(make(records)).text.split())


@pytest.mark.parametrize("lost", [None, {"rows": "damaged"}])
def test_lines_with_numbers_only_are_shown_as_far_as_they_go(make, records, judged, lost):
    bare = [{key: value for key, value in line.items() if key != "samples_copies_shuffled"} for line in judged]
    for line in bare:
        line.pop("quality") if lost is None else line.update(quality=lost)
    written = write_report(make([*records, *bare])).page.read_text(encoding="utf-8")
    shown = {row["metric"]: row for row in cells(written)}
    assert shown["2mer_divergence"] == {
        "metric": "2mer_divergence",
        "samples": f"{bare[-1]['samples_2mer_divergence']:.4g}",
        "held-out": f"{bare[-1]['samples_2mer_divergence_held_out']:.4g}",
        "shuffled": f"{bare[-1]['samples_2mer_divergence_shuffled']:.4g}",
    }
    assert "copies" not in shown
    assert "Recorded without intervals" in Page(written).text
    assert "close copies, %" not in written
    assert "3-mer divergence, nats/1000: samples" in written


# Command and forecast ------------------------------------------------------------------------------------------------


def test_the_command_writes_where_it_is_told_and_opens_the_page(trained, tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = CliRunner().invoke(
        cli.app,
        ["report", str(trained), "--out", str(tmp_path / "deep" / "mine.html"), "--open"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "mine.html" in result.output
    assert opened == [(tmp_path / "deep" / "mine.html").as_uri()]
    assert (tmp_path / "deep" / "mine" / "loss.png").exists()


def test_a_wrong_place_is_said(trained, tmp_path):
    with pytest.raises(sedd.CheckpointError, match="is no directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(sedd.CheckpointError, match=r"neither config\.yaml nor metrics\.jsonl"):
        write_report(tmp_path)
    with pytest.raises(sedd.SeddError, match=r"ends in \.html"):
        write_report(trained, tmp_path / "report.pdf")


def test_without_matplotlib_the_error_says_what_to_install(trained):
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['sedd', 'report', sys.argv[1]]\n"
        "from sedd.cli import main; main()"
    )
    found = subprocess.run([sys.executable, "-c", code, str(trained)], capture_output=True, text=True)
    assert found.returncode == 2
    assert "pip install 'sedd-torch[report]'" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("ramp", ["linear", "constant"])
def test_a_forecast_is_drawn(tiny, tmp_path, ramp):
    found = make_forecast(config := tiny(f"curriculum.difficulty_ramp={ramp}"), DataStatistics.usual(config))
    forecast_figure(found).savefig(tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


# In a browser --------------------------------------------------------------------------------------------------------

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)  # fmt: skip
PROBE = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentWindow, root = page.document.documentElement;
  const wide = [...page.document.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width > 0);
  const tips = wide.map((svg) => {
    const box = svg.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 3, bubbles: true };
    svg.dispatchEvent(new page.PointerEvent("pointermove", at));
    return svg.closest("figure").querySelector(".tip").innerText;
  });
  document.title = JSON.stringify({
    width: page.innerWidth, content: root.scrollWidth, charts: wide.map((svg) => svg.getAttribute("class")), tips,
    font: Math.min(...wide.map((svg) => parseFloat(page.getComputedStyle(svg.querySelector("text")).fontSize)
      * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)),
  });
});
"""


@pytest.mark.parametrize(("width", "kind"), [(360, "narrow"), (1200, "wide")])
def test_in_chromium_the_page_fits_and_shows_values_at_the_pointer(make, records, judged, tmp_path, width, kind):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    text = write_report(make([*records, *judged])).page.read_text(encoding="utf-8")
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{escape(text)}"></iframe>'
    (tmp_path / "frame.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>none</title>{frame}<script>{PROBE}</script>"
    )
    found = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
    )
    assert [line for line in found.stderr.splitlines() if "CONSOLE" in line] == []
    title = unescape(found.stdout.split("<title>")[1].split("</title>")[0])
    seen = json.loads(title)
    assert seen["width"] == width
    assert seen["content"] <= width
    assert seen["charts"] == [kind] * 8
    assert seen["font"] > 9.5  # pixels: legible
    assert all("step" in tip or "mask rate" in tip for tip in seen["tips"])
    assert "training loss: " in seen["tips"][0]
