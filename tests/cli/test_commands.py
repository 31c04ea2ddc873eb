"""The command line: what it prints, and that an expected error is one message and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.plugins.registry import registry
from tests.conftest import TINY

runner = CliRunner()


def sedd_(*arguments: str | Path) -> str:
    result = runner.invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(tmp_path) -> Path:
    sedd_("train", "quickstart", *TINY, "--run", tmp_path / "run", "--samples", "3")
    return tmp_path / "run"


def test_train_reports_the_bound_against_the_exact_value_and_where_everything_is(tmp_path):
    printed = sedd_("train", "quickstart", *TINY, "--run", tmp_path / "run", "--samples", "3")
    for words in ("held-out bound", "exact value", "gap to exact", "metrics.jsonl", "step-00000008.fasta"):
        assert words in printed
    assert (tmp_path / "run" / "samples" / "step-00000008.fasta").read_text().count(">") == 3


def test_sample_prints_fasta_or_writes_it(run, tmp_path):
    printed = sedd_("sample", run, "-n", "2", "--length", "7", "--device", "cpu")
    headers = [line for line in printed.splitlines() if line.startswith(">")]
    assert len(headers) == 2
    assert "length=7" in headers[0]
    sedd_("sample", run, "-n", "2", "--out", tmp_path / "deep" / "out.fasta", "--device", "cpu")
    assert (tmp_path / "deep" / "out.fasta").exists()


def test_evaluate_prints_the_bound_of_held_out_data_or_of_a_file(run, tmp_path):
    assert "nats per residue" in sedd_("evaluate", run, "--device", "cpu", "--sequences", "10")
    (tmp_path / "some.fasta").write_text(">a\nMKVLAAGIVG\n>b\nMKKLLPTAAA\n")
    found = json.loads(sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--json"))
    assert (found["sequences"], found["residues"]) == (2, 20)


def test_prepare_makes_a_store_to_train_on(tmp_path):
    letters = "ACDEFGHIKLMNPQRSTVWY"
    records = (f">s{i}\n{letters[i % 20 :] + letters[: i % 20]}{letters[i // 20]}\n" for i in range(60))
    (tmp_path / "in.fasta").write_text("".join(records))
    assert "sequences to train on" in sedd_("data", "prepare", tmp_path / "in.fasta", tmp_path / "store", "holdout=0.2")
    with pytest.warns(sedd.SeddWarning, match="held-out sequences: the bound is rough"):
        sedd_(
            "train",
            "quickstart",
            *TINY,
            f"data.train={tmp_path / 'store'}",
            "data.holdout=0.2",
            "--run",
            tmp_path / "run",
        )


def test_a_store_is_verified_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "in.fasta").write_text("".join(f">s{i}\n{'MK' * i}ACDEFG\n" for i in range(60)))
    sedd_("data", "prepare", tmp_path / "in.fasta", tmp_path / "store", "holdout=0.2", "--workers", "1")
    printed = sedd_("data", "verify", tmp_path / "store")
    assert printed.count("undamaged") == 2
    assert sedd_("data", "verify", tmp_path / "store" / "train").count("undamaged") == 1
    tokens = tmp_path / "store" / "valid" / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[5] ^= 1
    tokens.write_bytes(content)
    for place, message in ((tmp_path / "store", r"tokens.bin: damaged, its sha256"), (tmp_path, "no token store")):
        with pytest.raises(sedd.DataError, match=message):
            sedd_("data", "verify", place)


def test_the_small_preset_trains_on_a_fasta_and_says_what_was_dropped(tmp_path):
    records = [f">s{i}\n{'ACDEFGHIKLMNPQRSTVWY'[i % 19 :]}{'MK' * (i // 19)}A\n" for i in range(100)]
    (tmp_path / "my.fasta").write_text("".join(records) + ">bad\nACX\n")
    size = ("model.hidden_size=16", "model.n_heads=2", "model.n_blocks=1", "model.length=32", "sampling.steps=4")
    clock = ("training.n_iters=6", "training.batch_size=8", "optim.warmup=2", "curriculum.preschool_time=3")
    printed = sedd_(
        "train", "small", f"data.train={tmp_path / 'my.fasta'}", "data.holdout=0.4", *size, *clock,
        "--device", "cpu", "--run", tmp_path / "run",
    )  # fmt: skip
    assert "101 read, 100 kept, 1 dropped" in printed
    assert (tmp_path / "run" / "samples" / "step-00000006.fasta").read_text().count(">") == 10


def test_schema_is_json_with_every_plugin(tmp_path):
    made = json.loads(sedd_("schema"))
    kinds = ("difficulty_ramp", "type")
    options = [definition.get("properties", {}) for definition in made["$defs"].values()]
    names = {part[kind]["const"] for part in options for kind in kinds if "const" in part.get(kind, {})}
    assert names == {plugin.name for plugin in registry().plugins}
    sedd_("schema", tmp_path / "schema.json")
    assert json.loads((tmp_path / "schema.json").read_text()) == made


def test_plugins_lists_every_kind_with_its_source():
    printed = sedd_("plugins")
    for words in ("difficulty_ramp", "exponential", "geometric", "xpu", "tensorboard", "sedd (built in)"):
        assert words in printed


ERRORS = [
    (["train", "quickstat"], "Did you mean 'quickstart'"),
    (["train", "quickstart", "optim.rl=1"], "optim.lr"),
    (["train", "quickstart", "optim.lr=many"], "optim.lr"),
    (["train", "quickstart", "data.train=nowhere.fasta"], "nowhere.fasta"),
    (["sample", "nowhere"], "neither a run"),
    (["data", "prepare", "nowhere.fasta", "out"], "nowhere.fasta"),
    (["data", "prepare", "nowhere.fasta", "out", "holdut=1"], "holdout"),
    (["train", "quickstart", "--device", "abacus"], "abacus"),
]


@pytest.mark.parametrize(("arguments", "words"), ERRORS, ids=[" ".join(arguments) for arguments, _ in ERRORS])
def test_an_expected_error_is_one_message_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sedd", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in printed
    assert "Traceback" not in printed


def test_the_installed_command_answers():
    answer = subprocess.run(
        [sys.executable, "-m", "sedd", "train", "nothing"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: nothing: there is no such file")


def test_resume_continues_the_newest_run_or_starts_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sedd_("train", "quickstart", *TINY, "--resume", "--samples", "0")
    (made,) = (tmp_path / "runs").iterdir()
    assert "Resumed at step 8" in sedd_("train", "quickstart", *TINY, "--resume", "--samples", "0")
    assert list((tmp_path / "runs").iterdir()) == [made]


def test_evaluate_does_not_score_a_run_on_data_it_was_not_made_from(tiny, tmp_path, monkeypatch, capsys):
    sedd.Trainer(tiny(), data=[[1, 2, 3], [4, 5], [6, 7]], run=tmp_path / "run").fit(progress=False)
    monkeypatch.setattr(sys, "argv", ["sedd", "evaluate", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        cli.main()
    assert "was trained on other data than data.train=synthetic gives now" in capsys.readouterr().err.replace("\n", " ")
