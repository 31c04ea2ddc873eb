"""Evaluation metrics of one's own are recorded, reproducible, and never disturb or end a run."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch

import sedd
from sedd.config.schema import schema
from sedd.plugins.metrics import MaskedAccuracy
from sedd.report.contents import gather
from sedd.report.page import own_numbers, render
from sedd.runs.metrics_record import MetricsRecord
from sedd.testing import Check, checks_for
from tests.training.test_trainer import contents, lines

QUICK = ("model.dropout=0.1", "evaluation.sequences=8", "evaluation.train_sequences=4")


class Meddling(sedd.Metric):
    """Draws from every generator, changes the model that it is given, and forgets to switch gradients on again."""

    type: Literal["meddling"] = "meddling"

    def evaluate(self, model: sedd.Pretrained, data: sedd.Dataset) -> Mapping[str, float]:
        torch.set_grad_enabled(False)
        drawn = {"torch": torch.rand(()), "numpy": np.random.rand(), "python": random.random()}
        for parameter in model.network.parameters():
            parameter.fill_(1.0)
        model.network.train()
        return drawn | {"sequences": len(data.valid)}


class Failing(sedd.Metric):
    """Fails, or returns what is no number."""

    type: Literal["failing"] = "failing"
    how: Literal["raises", "nothing", "a text"] = "raises"

    def evaluate(self, model: sedd.Pretrained, data: sedd.Dataset) -> Any:
        return {"nothing": None, "a text": {"x": "y"}}[self.how]


def recorded(run: Any) -> list[MetricsRecord]:
    return [MetricsRecord.from_dict(line) for line in lines(run) if line["kind"] == "metrics"]


def without_metrics(run: Any) -> list[dict[str, object]]:
    return [line for line in lines(run) if line["kind"] != "metrics"]


@pytest.mark.parametrize("check", checks_for(MaskedAccuracy), ids=str)
def test_contract(check: Check) -> None:
    check()


def test_a_metric_is_recorded_at_every_evaluation_and_changes_nothing(tiny, tmp_path):
    plain = tiny(*QUICK)
    measured = plain.replace(evaluation={"metrics": [Meddling(), MaskedAccuracy()]}, trackers=["csv"])
    sedd.Trainer(plain, run=tmp_path / "plain").fit(progress=False)
    sedd.Trainer(measured, run=tmp_path / "measured").fit(progress=False)
    assert contents(tmp_path / "plain") == contents(tmp_path / "measured")
    assert lines(tmp_path / "plain") == without_metrics(tmp_path / "measured")
    first, last = recorded(tmp_path / "measured")
    assert (first.step, last.step) == (4, 8)
    assert first.numbers["meddling/sequences"] == last.numbers["meddling/sequences"] > 0
    assert first.numbers["meddling/torch"] == last.numbers["meddling/torch"]
    assert 0.0 <= last.numbers["masked_accuracy/accuracy"] <= 1.0
    assert "8,meddling/numpy," in (tmp_path / "measured" / "metrics.csv").read_text()
    assert torch.is_grad_enabled()


def test_a_run_with_a_metric_resumes_exactly_and_loads_without_it(tiny, tmp_path):
    config = tiny(*QUICK).replace(evaluation={"metrics": [Meddling()]})
    for name in ("straight", "stopped"):
        sedd.Trainer(config, run=tmp_path / name).fit(progress=False, until=None if name == "straight" else 5)
    sedd.Trainer(config, run=tmp_path / "stopped", resume=True).fit(progress=False)
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")
    assert sedd.load(tmp_path / "straight").step == 8
    another = tiny(*QUICK, "evaluation.metrics=[masked_accuracy]")
    assert sedd.Trainer(another, run=tmp_path / "stopped", resume=True).state.step == 8


@pytest.mark.parametrize("how", ["raises", "nothing", "a text"])
def test_a_metric_that_fails_is_named_once_and_the_run_goes_on(tiny, tmp_path, how):
    config = tiny(*QUICK, "training.eval_every=2").replace(evaluation={"metrics": [Failing(how=how), MaskedAccuracy()]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert [warning.category for warning in caught] == [sedd.SeddWarning]
    assert "'failing'" in str(caught[0].message)
    assert [set(record.numbers) for record in recorded(tmp_path / "run")] == [{"masked_accuracy/accuracy"}] * 4


def test_two_metrics_of_a_type_have_two_names(tiny, tmp_path):
    metrics = ["masked_accuracy", {"type": "masked_accuracy", "mask_rate": 0.5, "sequences": 4}]
    config = sedd.load_config(tiny(*QUICK).to_dict() | {"evaluation": {"sequences": 8, "metrics": metrics}})
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert set(recorded(tmp_path / "run")[0].numbers) == {"masked_accuracy/accuracy", "masked_accuracy-2/accuracy"}
    assert sedd.load_config(tmp_path / "run" / "config.yaml") == config


@pytest.mark.parametrize(
    ("metrics", "key"),
    [
        ("[masked_acuracy]", "evaluation.metrics.0.type"),
        ("[{type: masked_accuracy, mask_rte: 0.1}]", "evaluation.metrics.0.mask_rte"),
        ("[{type: masked_accuracy, mask_rate: 2}]", "evaluation.metrics.0.mask_rate"),
        ("[5]", "evaluation.metrics.0"),
    ],
)
def test_a_wrong_metric_is_refused_with_its_key(metrics, key):
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.load_config("quickstart", f"evaluation.metrics={metrics}")
    assert caught.value.keys == (key,)
    assert "mask" in str(caught.value) or key.endswith("0")


def test_the_schema_knows_the_metrics():
    items = schema()["$defs"]["Evaluation"]["properties"]["metrics"]["items"]
    assert any("masked_accuracy" in choice.get("enum", ()) for choice in items["anyOf"])


def test_the_accuracy_of_a_model_that_knows_the_answer_is_one(tiny):
    twenty = sedd.Alphabet("protein", tuple("ACDEFGHIKLMNPQRSTVWY"))
    data = sedd.Dataset(
        train=[np.full(12, 3)] * 40, valid=[np.full(12, 3)] * 8, alphabet=twenty,
        token_counts=np.bincount([3] * 480, minlength=20), exact_nll=None, summary="one sequence",
    )  # fmt: skip
    trainer = sedd.Trainer(tiny("optim.lr=0.01", "ema.decay=0.1", "training.n_iters=20"), data=data)
    assert MaskedAccuracy().evaluate(trainer.model, data)["accuracy"] < 1.0
    list(trainer.steps())
    assert MaskedAccuracy(mask_rate=0.5).evaluate(trainer.model, data) == {"accuracy": 1.0}


def test_a_run_whose_metric_is_not_installed_is_diagnosed_and_reported_with_its_numbers(tiny, tmp_path):
    config = tiny(*QUICK).replace(evaluation={"metrics": [Meddling()]})
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    with pytest.raises(sedd.ConfigError):
        sedd.load_config(tmp_path / "run" / "config.yaml")
    assert sedd.diagnose(tmp_path / "run").config == tiny(*QUICK)
    contents = gather(tmp_path / "run")
    assert contents.config is not None
    rows = {row[0]: row[1:] for row in own_numbers(contents).rows}
    assert rows["meddling/sequences"][-1] == "2"
    assert "meddling/sequences" in render(contents)
