"""`sedd.diagnose` and `sedd diagnose` with the logs of other programs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import sedd
from tests.cli.commands import sedd_
from tests.conftest import TINY
from tests.diagnosis.logs import PLAIN, written

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")

STEPS = np.arange(0, 4000, 100)
TWO = "step,a_loss,b_loss\n" + "".join(f"{step},{2.9 - step / 1e5},5\n" for step in STEPS)
OTHERS_LINES = "".join(json.dumps({"step": int(step), "loss": 2.9 - step / 1e5}) + "\n" for step in STEPS)


def test_json_lines_of_others_are_a_log_and_ours_are_a_run(tmp_path):
    config = sedd.load_config("quickstart", *TINY, "training.log_every=2")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    ours = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert sedd.diagnose(written(tmp_path, OTHERS_LINES, "metrics.jsonl"), config=config).external_curve is not None
    assert sedd.diagnose(written(tmp_path, ours, "log.txt"), config=config).external_curve is None
    with pytest.raises(sedd.CheckpointError):
        sedd.diagnose(written(tmp_path, f'{{"kind": "tr\n{ours}', "torn.jsonl"), config=config)
    for option in ({"loss": "loss"}, {"unit": "bits"}):
        with pytest.raises(sedd.ConfigError):
            sedd.diagnose(tmp_path / "run", **option)
    # Our own directory is a run even where a tracker has written a log beside its metrics.
    written(tmp_path / "run", PLAIN, "metrics.csv")
    assert sedd.diagnose(tmp_path / "run").external_curve is None


def test_a_directory_of_another_program_is_a_log(tmp_path):
    written(tmp_path, TWO.replace("a_loss", "train_loss"), "metrics.csv")
    found = sedd.diagnose(tmp_path, config="quickstart")
    assert found.external_curve is not None
    assert found.external_curve.curve.steps.tolist() == STEPS.tolist()


def test_a_directory_without_any_log_is_an_error_about_a_run(tmp_path):
    with pytest.raises(sedd.SeddError, match=r"metrics\.jsonl"):
        sedd.diagnose(tmp_path)


def test_the_column_and_the_unit_reach_the_curve_and_notes_come_first(tmp_path):
    file = written(tmp_path, TWO)
    with pytest.raises(sedd.DataError, match="--loss"):
        sedd.diagnose(file, config="quickstart")
    found = sedd.diagnose(file, config="quickstart", loss="a_loss", unit="masked")
    curve = found.external_curve.curve
    assert curve.unit == "masked"
    assert curve.losses[0] == 2.9
    assert len(curve.notes) > 0
    assert found.assumed[: len(curve.notes)] == list(curve.notes)
    command = ("diagnose", file, "--config", "quickstart", "--loss", "a_loss", "--unit", "masked")
    assert json.loads(sedd_(*command, "--json"))["assumed"] == found.assumed
    assert sedd_(*command) == f"{found}\n"
    sedd_(*command[:-1], "nits", exit_code=2)


def test_a_forecast_takes_expected_losses_from_any_log(tmp_path):
    file = written(tmp_path, "step: 0, training_loss: 0.3\nstep: 800, training_loss: 2.9\n", "logs")
    found = json.loads(sedd_("forecast", "quickstart", "--expect", file, "--json"))
    assert [row["step"] for row in found["rows"]] == [0, 800]
    assert len(found["expected"]) == 2


def test_an_empty_metrics_file_belongs_to_a_run(tmp_path):
    with pytest.raises(sedd.ConfigError, match=r"config\.yaml"):
        sedd.diagnose(written(tmp_path, "", "metrics.jsonl"))
