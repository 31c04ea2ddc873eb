"""The command line: what it prints and writes, and that an expected error is one message and exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sedd
from sedd.diagnosis.labels import LABELS
from sedd.plugins.registry import registry
from tests.cli.commands import assert_errors, assert_printed, failed, sedd_
from tests.conftest import TINY


@pytest.fixture
def run(tmp_path) -> Path:
    sedd_("train", "quickstart", *TINY, "--run", tmp_path / "run", "--samples", "3")
    return tmp_path / "run"


def test_train_reports_the_bound_against_the_exact_value_and_where_everything_is(tmp_path):
    printed = sedd_("train", "quickstart", *TINY, "--run", tmp_path / "run", "--samples", "3").splitlines(keepends=True)
    begin, end = (
        next(i for i, line in enumerate(printed) if found in line) for found in ("parameters on", "held-out bound")
    )
    # Whether the bound of this model improves differs from machine to machine; test_summary has these sentences.
    assert_printed("train", "".join([*printed[: begin + 1], *printed[end:]]), {tmp_path: "TMP"})
    verdict = sedd.diagnose(tmp_path / "run").verdict
    said = [line for line in printed[begin + 1 : end] if not line.startswith("step ")]
    assert said[:2] == [f"{verdict.lead}\n", f"Verdict: {LABELS[verdict.kind]}. {verdict.certainty}\n"]
    assert (tmp_path / "run" / "samples" / "step-00000008.fasta").read_text().count(">") == 3


def test_sample_prints_fasta_or_writes_it(run, tmp_path):
    lines = sedd_("sample", run, "-n", "2", "--length", "7", "--device", "cpu").splitlines()
    headers = [line for line in lines if line.startswith(">")]
    assert len(headers) == 2
    assert "length=7" in headers[0]
    sedd_("sample", run, "-n", "2", "--out", tmp_path / "deep" / "out.fasta", "--device", "cpu")
    assert (tmp_path / "deep" / "out.fasta").exists()


def test_evaluate_takes_held_out_data_or_a_file(run, tmp_path):
    found = json.loads(sedd_("evaluate", run, "--device", "cpu", "--sequences", "10", "--json"))
    assert found["sequences"] == 10
    (tmp_path / "some.fasta").write_text(">a\nMKVLAAGIVG\n>b\nMKKLLPTAAA\n")
    found = json.loads(sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--json"))
    assert (found["sequences"], found["residues"]) == (2, 20)


def test_prepare_makes_a_store_to_train_on(tmp_path):
    letters = "ACDEFGHIKLMNPQRSTVWY"
    records = (f">s{i}\n{letters[i % 20 :] + letters[: i % 20]}{letters[i // 20]}\n" for i in range(60))
    (tmp_path / "in.fasta").write_text("".join(records))
    printed = sedd_("data", "prepare", tmp_path / "in.fasta", tmp_path / "store", "holdout=0.2")
    assert_printed("data-prepare", printed, {tmp_path: "TMP"})
    store = (f"data.train={tmp_path / 'store'}", "data.holdout=0.2")
    with pytest.warns(sedd.SeddWarning) as warned:
        sedd_("train", "quickstart", *TINY, *store, "--run", tmp_path / "run")
    assert any("data.holdout" in str(warning.message) for warning in warned)  # few held-out sequences


def test_a_store_is_verified_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "in.fasta").write_text("".join(f">s{i}\n{'MK' * i}ACDEFG\n" for i in range(60)))
    sedd_("data", "prepare", tmp_path / "in.fasta", tmp_path / "store", "holdout=0.2", "--workers", "1")
    parts = sedd_("data", "verify", tmp_path / "store").splitlines()
    assert [line.partition(":")[0] for line in parts] == [str(tmp_path / "store" / part) for part in ("train", "valid")]
    assert len(sedd_("data", "verify", tmp_path / "store" / "train").splitlines()) == 1
    tokens = tmp_path / "store" / "valid" / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[5] ^= 1
    tokens.write_bytes(content)
    for path, named in ((tmp_path / "store", tokens), (tmp_path, tmp_path)):
        with pytest.raises(sedd.DataError) as caught:
            sedd_("data", "verify", path)
        assert str(caught.value).startswith(str(named))


@pytest.mark.filterwarnings("ignore:With 41 held-out sequences:sedd.errors.SeddWarning")  # they differ very much
def test_the_small_preset_trains_on_a_fasta_and_counts_what_was_dropped(tmp_path):
    records = [f">s{i}\n{'ACDEFGHIKLMNPQRSTVWY'[i % 19 :]}{'MK' * (i // 19)}A\n" for i in range(100)]
    (tmp_path / "my.fasta").write_text("".join(records) + ">bad\nACX\n")
    size = ("model.hidden_size=16", "model.n_heads=2", "model.n_blocks=1", "model.length=32", "sampling.steps=4")
    clock = ("training.n_iters=6", "training.batch_size=8", "optim.warmup=2", "curriculum.preschool_time=3")
    printed = sedd_(
        "train", "small", f"data.train={tmp_path / 'my.fasta'}", "data.holdout=0.4", *size, *clock,
        "--device", "cpu", "--run", tmp_path / "run",
    )  # fmt: skip
    assert re.search(r"101 \w+, 100 \w+, 1 \w+", printed)  # read, kept, dropped
    assert (tmp_path / "run" / "samples" / "step-00000006.fasta").read_text().count(">") == 10


def test_schema_is_json_with_every_plugin(tmp_path):
    made = json.loads(sedd_("schema"))
    sections = made["properties"]
    choices = [sections[name]["anyOf"] for name in ("curriculum", "noise", "model", "device")]
    metrics = made["$defs"]["Evaluation"]["properties"]["metrics"]
    parts = [
        part["properties"]
        for choice in (*choices, sections["trackers"]["items"]["anyOf"], metrics["items"]["anyOf"])
        for part in choice
        if "properties" in part
    ]
    names = {part.get("difficulty_ramp", part.get("type"))["const"] for part in parts}
    names |= set(made["$defs"]["Data"]["properties"]["alphabet"]["anyOf"][0]["enum"])
    assert names == {plugin.name for plugin in registry().plugins}
    sedd_("schema", tmp_path / "schema.json")
    assert json.loads((tmp_path / "schema.json").read_text()) == made


def test_plugins_lists_every_plugin_with_its_source():
    words = set(re.findall(r"[\w().]+", sedd_("plugins")))
    assert {plugin.name for plugin in registry().plugins} <= words
    assert {"difficulty_ramp", "sedd"} <= {word.rpartition(".")[2] for word in words}


ERRORS = [
    ["train", "quickstat"],
    ["train", "quickstart", "optim.rl=1"],
    ["train", "quickstart", "optim.lr=many"],
    ["train", "quickstart", "data.train=nowhere.fasta"],
    ["sample", "nowhere"],
    ["data", "prepare", "nowhere.fasta", "out"],
    ["data", "prepare", "nowhere.fasta", "out", "holdut=1"],
    ["train", "quickstart", "--device", "abacus"],
]


def test_an_expected_error_is_one_message_and_exit_code_2(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert_errors("errors", ERRORS, monkeypatch, capsys, {tmp_path: "TMP"})


def test_the_installed_command_answers():
    answer = subprocess.run(
        [sys.executable, "-m", "sedd", "train", "nothing"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: nothing: ")


def test_resume_continues_the_newest_run_or_starts_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sedd_("train", "quickstart", *TINY, "--resume", "--samples", "0")
    (made,) = (tmp_path / "runs").iterdir()
    lines = (made / "metrics.jsonl").read_text()
    sedd_("train", "quickstart", *TINY, "--resume", "--samples", "0")
    assert list((tmp_path / "runs").iterdir()) == [made]
    assert (made / "metrics.jsonl").read_text() == lines  # it was finished: nothing was trained again


def test_evaluate_does_not_score_a_run_on_data_it_was_not_made_from(tiny, tmp_path, monkeypatch, capsys):
    sedd.Trainer(tiny(), data=[[1, 2, 3], [4, 5], [6, 7]], run=tmp_path / "run").fit(progress=False)
    assert "data.train=synthetic" in failed(monkeypatch, capsys, "evaluate", tmp_path / "run")
