"""The page: one self-contained file that begins with the answer and names what is missing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any, get_args

import pytest

from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.verdict import WENT_WRONG, Kind, Remedy, Verdict
from sedd.evaluation.intervals import half_width
from sedd.report.contents import gather
from sedd.report.page import SECTIONS, alarms_of, ramping, render, view
from sedd.report.verdict_view import view_of
from tests.report.conftest import Page, of_kind, page_of

pytestmark = pytest.mark.usefixtures("no_svg")


def alarm(**more: Any) -> dict[str, Any]:
    return {
        "kind": "alarm", "step": 8, "rule": "profile", "cause": "learning", "severity": "critical",
        "message": "it got worse", "numbers": {"worse": 1.0}, "remedies": ["lower it"],
    } | more  # fmt: skip


def test_the_page_begins_with_the_verdict_then_the_key_numbers_then_the_sections(page, records):
    order = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert [name for name in order if name in ("verdict", *SECTIONS)] == ["verdict", *SECTIONS]
    everything = page.text[""]
    last = of_kind(records, "bound")[-1]
    half = half_width(last["bound_stderr"], last["bound_sequences"])
    bound = f"{last['bound_nats']:.4f} ± {half:.4f}"
    loss = f"{of_kind(records, 'train')[-1]['loss']:.4f}"
    assert everything.index(page.text["verdict"]) < everything.index(bound) < everything.index(page.text["loss"])
    assert everything.index(loss) < everything.index(page.text["loss"])
    assert "n_iters: 40" in page.text["configuration"]
    assert "missing" not in page.text


def test_the_page_has_the_summary_of_the_verdict_its_details_and_the_source_of_the_token_frequencies(trained, page):
    contents = gather(trained)
    shown = " ".join(page.text["verdict"].split())
    for part in (contents.verdict.answer, contents.verdict.reason, contents.verdict.advice, contents.verdict.certainty):
        assert part
        assert part in shown
    assert contents.verdict.sentence in page.text["story"]
    assert contents.statistics is not None
    assert contents.statistics.source in page.text["loss"]


@pytest.mark.parametrize(("steps", "label"), [(20, "harder"), (3, "healthy")])
def test_the_task_gets_harder_only_while_the_ramp_explains_part_of_the_loss(make, records, steps, label):
    text = f"preschool_time: {steps}"
    run = make(records, config=lambda config: config.replace("preschool_time: 20", text))
    contents = gather(run)
    contents = replace(contents, verdict=Verdict("curriculum", "It rose."))
    assert ramping(contents) == (label == "harder")
    assert view(contents).label.endswith(label)
    page = Page(render(contents))
    assert ("gets harder" in page.text["loss"]) == (label == "harder")
    said = " ".join(page.text[name] for name in ("verdict", *SECTIONS) if name != "configuration")
    assert ("curriculum" in said) == (label == "harder")


def test_nothing_on_the_page_is_loaded_from_elsewhere_and_nothing_can_run(page):
    assert [tag for tag in ("script", "link", "iframe", "object", "embed", "base", "form") if page.all(tag)] == []
    assert all(str(image["src"]).startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("srcset", "background") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#"), tag
    assert not re.search(r"@import|url\(", page.text[""])
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_every_link_has_its_target(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.all("a")} <= set(ids)


# Hostile input -------------------------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("bare", [True, False])
def test_nothing_of_a_run_can_inject_markup(make, records, judged, bare):
    """Bare: without a configuration, and with the numbers of the samples only."""
    texts = {"rule": EVIL, "message": EVIL, "numbers": {EVIL: 1.0}, "remedies": [EVIL]}
    hostile = alarm(step=2, cause="data", severity="warning", **texts)
    quality = judged[-1]["quality"] | {"notes": [EVIL]}
    quality["rows"] = [quality["rows"][0] | {"title": EVIL}]
    numbers = {f"samples_{EVIL}{end}": 1.0 for end in ("", "_held_out", "_shuffled")}
    samples = {"kind": "samples", "step": 4} | (numbers if bare else {"quality": quality})

    def config(text: str) -> str:
        ramp = f"difficulty_ramp: {json.dumps(EVIL)}"
        return f"# {EVIL}\n{text.replace('difficulty_ramp: linear', ramp)}"

    run = make(
        [*of_kind(records, "data", "train"), hostile, samples],
        config=None if bare else config,
        samples={
            "step-00000002.fasta": f">{EVIL}\nACDEF{EVIL}\n",
            f"{EVIL.replace('/', '')}.txt": f"=== {EVIL}\n{EVIL}\n",
        },
    )
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL, "sedd": EVIL}))
    evil = run.with_name("<b>&run")
    run.rename(evil)
    page = page_of(evil)
    assert page.all("script") == []
    assert all(str(image["src"]).startswith("data:") and "onerror" not in image for image in page.all("img"))
    for name in (
        "quality",
        "samples",
        "environment",
        *(("verdict", "alarms") if bare else ("missing", "configuration")),
    ):
        assert "alert(1)" in page.text[name]  # shown as text
    assert "<b>&run" in page.text[""]


# Missing parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "figures", "absent"),
    [
        ((), set(), {"loss", "attribution", "normalised", "bound", "profile", "optimizer", "samples", "quality"}),
        (("data",), set(), {"loss", "attribution", "normalised", "bound", "profile", "optimizer"}),
        (("data", "bound"), {"bound", "bound-profile"}, {"loss", "profile"}),
        (("train",), {"loss", "attribution", "normalised", "profile", "optimizer"}, {"bound"}),
    ],
)
def test_a_page_names_what_a_run_lacks(make, records, kinds, figures, absent):
    page = page_of(make(of_kind(records, *kinds)))
    assert page.figures == figures
    assert absent <= page.absent
    assert not {name for name in page.absent if name in figures}
    assert set(SECTIONS) <= set(page.text)
    assert ("missing" in page.text) == (not kinds)


def test_a_run_with_a_single_line_has_a_page(make, records):
    page = page_of(make(of_kind(records, "data", "train")[:2]))
    assert "loss" in page.figures
    assert "attribution" in page.absent


def test_a_run_that_only_skipped_steps_has_a_page(make, records):
    skipped = [{"kind": "skipped", "step": 0, "skipped": count} for count in range(1, 30)]
    page = page_of(make([*of_kind(records, "data"), *skipped]))
    assert page.figures == {"optimizer"}
    assert re.findall(r"\d+", page.text["optimizer"])[0] == "29"


def test_losses_without_their_mask_rates_still_have_a_curve(make, records):
    bare = [
        {name: [] if isinstance(value, list) and record["kind"] == "train" else value for name, value in record.items()}
        for record in records
    ]
    page = page_of(make(of_kind(bare, "data", "train")))
    assert page.figures == {"loss", "optimizer"}
    assert {"attribution", "normalised", "profile"} <= page.absent


def test_a_curriculum_that_is_not_installed_is_named_and_the_rest_is_shown(make, records):
    page = page_of(
        make(records, config=lambda text: text.replace("difficulty_ramp: linear", "difficulty_ramp: stairs"))
    )
    assert "curriculum.difficulty_ramp='stairs'" in page.text["missing"]
    assert {"loss", "bound"} <= page.figures
    # The expected range is known from the mask rates that each line records.
    assert {"uniform predictor", "unigram model"} <= set(page.tables["figure-loss"][0][0])


@pytest.mark.parametrize(
    ("events", "kind", "step"),
    [
        ([(8, "learning", "critical"), (20, "overfitting", "warning")], "learning", 8),
        ([(8, "data", "warning"), (20, "overfitting", "warning")], "overfitting", 20),
        ([(8, "plateau", "warning"), (20, "curriculum", "info")], "plateau", 8),
        ([(8, "curriculum", "info")], "inconclusive", None),
        ([(8, "little signal", "warning")], "inconclusive", None),  # a cause of old runs, which is none
    ],
)
def test_without_a_configuration_the_gravest_recorded_alarm_is_the_verdict(make, records, events, kind, step):
    alarms = [alarm(step=at, cause=cause, severity=severity) for at, cause, severity in events]
    run = make([*records, *alarms], config=None)
    verdict = gather(run).verdict
    assert verdict.kind == kind
    assert [remedy.text for remedy in verdict.remedies] == (["lower it"] if step else [])
    page = page_of(run)
    assert ("it got worse" in page.text["verdict"]) == (step is not None)
    assert step is None or f"step {step}:" in page.text["verdict"]
    assert "config.yaml" in page.text["missing"]
    assert "configuration" in page.absent


def test_alarms_before_a_rollback_are_dealt_with(make, records):
    back = {
        "kind": "rollback", "step": 4, "from_step": 8, "lr_scale": 0.5, "rollbacks": 1, "alarm": alarm(),
    }  # fmt: skip
    assert gather(make([*records, alarm(), back], config=None)).verdict.kind == "inconclusive"


def test_alarms_of_one_rule_share_a_row_with_the_gravest_severity(make, records):
    twice = [alarm(step=step, severity=severity) for step, severity in ((8, "critical"), (9, "warning"))]
    page = page_of(make([*of_kind(records, "data", "train"), *twice], config=None))
    (table,) = page.tables["alarms"]
    assert len(table) == 2  # the heads, and one group
    assert re.findall(r"\d+", table[1][0]) == ["8", "2", "9"]  # first step, how often, last step
    assert "critical" in table[1][1]


def test_what_chance_did_to_the_rules_is_folded(trained):
    contents = gather(trained)
    assert contents.diagnosis is not None
    counted = replace(contents.diagnosis, by_chance={"max_oscillation": 7})
    page = Page(render(replace(contents, diagnosis=counted)))
    assert re.findall(r"\d+", page.text["by-chance"]) == ["7", str(len(contents.history.lines))]
    assert ("details", "by-chance") in [(tag, attributes.get("id")) for tag, attributes in page.tags]


def test_an_alarm_that_the_ramp_explains_is_shown_while_the_ramp_matters(trained):
    contents = gather(trained)
    climbs = Alarm(8, "max_rise", "curriculum", "info", "it climbs", {})
    contents = replace(contents, verdict=replace(contents.verdict, alarms=(climbs,)))
    assert alarms_of(contents)[0] == [climbs]
    unknown = replace(contents, curriculum_known=False)
    shown, folded = alarms_of(unknown)
    assert shown == []
    assert "max_rise, at step 8" in folded[-1]


EVERY = Verdict(
    "overfitting",
    "It memorises.",
    reason="Because.",
    advice="Stop.",
    certainty="Nearly certain.",
    probability=0.97,
    runner_up="healthy",
    since=(12, 18),
    hypothesis="overfitting",
    probabilities={"healthy": 0.03, "overfitting": 0.97},
    log_bayes_factor=5.5,
    numbers={"effect": 0.031, "low": 0.02, "high": 0.042, "best_step": math.inf},
    sentence="From 1 to 2.",
    remedies=(Remedy("model.dropout=0.2", "later", tried=False), Remedy("stop", tried=True), Remedy("wait")),
)


def test_the_page_shows_every_part_of_a_verdict(trained):
    page = Page(render(replace(gather(trained), verdict=EVERY)))
    for name, part in (
        ("reason", "Because."),
        ("advice", "Stop."),
        ("certainty", "Nearly certain."),
        ("story", "From"),
    ):
        assert part in page.text[name]
    assert re.findall(r"\d+", page.text["certainty"])[:2] == ["12", "18"]
    kinds, numbers = page.tables["hypotheses"]
    assert [row[1] for row in kinds[1:]] == ["97 %", "3 %"]  # the likeliest first
    assert {row[0]: row[1] for row in numbers[1:]} == {
        "log of the Bayes factor against healthy": "5.5", "effect": "0.031", "low": "0.02", "high": "0.042",
    }  # fmt: skip
    tags = [attributes["class"] for tag, attributes in page.tags if str(attributes.get("class", "")).startswith("tag ")]
    assert [name for name in tags if name in ("tag soft", "tag good")] == ["tag soft", "tag good"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_a_label_and_a_colour_that_follows_from_what_to_do(kind):
    shown = view_of(Verdict(kind, "So."))
    assert shown.label
    assert shown.colour == ("bad" if kind in WENT_WRONG else "good" if kind in ("healthy", "curriculum") else "wait")


def test_a_rollback_is_shown_with_its_steps(make, records):
    back = {
        "kind": "rollback", "step": 20, "from_step": 30, "lr_scale": 0.5, "rollbacks": 1, "alarm": alarm(step=30),
    }  # fmt: skip
    page = page_of(make([record for record in records if record["step"] <= 20] + [back]))
    assert re.findall(r"[\d.]*\d", page.text["optimizer"])[:4] == ["0", "30", "20", "0.5"]


def test_samples_are_shown_by_step_without_the_path_of_the_run(make, records):
    head = "run=/home/user/secret step=40 seed=0 length=5"
    names = {f"step-{step:08d}.fasta": f">sample-1 {head}\nACD\nWY\n>sample-2 {head}\nKKK\n" for step in (40, 5)}
    page = page_of(make(of_kind(records, "data"), samples=names))
    shown = page.text["samples"]
    assert shown.index("Step 5\n") < shown.index("Step 40\n")
    assert "secret" not in page.text[""]
    assert "".join(shown.split()).count("ACDWY") == 2


def test_a_long_run_is_thinned_and_the_page_stays_small(make, records, monkeypatch):
    lines, data = of_kind(records, "train"), of_kind(records, "data")
    many = [
        lines[i % len(lines)] | {"step": 2 * (i + 1), "residues": 1000 * (i + 1), "letters_shift": None}
        for i in range(900)
    ]
    monkeypatch.undo()  # real images
    text = render(gather(make(data + many, config=None)))  # replaying the monitor would take long
    assert re.findall(r"\d+", Page(text).text["loss"].split("Numbers")[0])[-2:] == ["900", "3"]
    assert len(text) < 1_000_000
