"""`sedd evaluate` and `sedd score-variants`: output and files."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

import sedd
from tests.cli.commands import assert_errors, assert_printed, sedd_

FASTA = ">a one\nMKVLAAGIVG\n>b\nMKKLLPTAAA\n>c\nAAAACCCCDDDDEEEEFFFFGGGGHHHHIIII\n"


def error(*arguments: str | Path) -> str:
    with pytest.raises(sedd.SeddError) as caught:
        sedd_(*arguments)
    return str(caught.value)


@pytest.fixture(params=["absorb", "uniform"])
def run(request, tiny, tmp_path) -> Path:
    sedd.Trainer(tiny(f"graph.type={request.param}"), run=tmp_path / "run").fit(progress=False)
    return tmp_path / "run"


@pytest.fixture
def absorb(tiny, tmp_path) -> Path:
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    return tmp_path / "run"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_evaluate_prints_the_bound_its_interval_the_mask_rates_and_the_controls(absorb, tmp_path):
    common = ("evaluate", absorb, "--device", "cpu", "--masks", "4")
    printed = sedd_(*common, "--sequences", "200", "--per-sequence", tmp_path / "each.csv")
    assert_printed("evaluate", printed, {tmp_path: "TMP"})
    assert "shuffled" not in sedd_(*common, "--sequences", "9", "--no-controls")


def test_the_json_holds_everything_and_all_the_keys_it_ever_had(run, tmp_path):
    (tmp_path / "some.fasta").write_text(FASTA)
    found = json.loads(sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--json", "--masks", "4"))
    before = {"step", "nats", "stderr", "bits", "perplexity", "trained", "sequences", "residues", "cropped"}
    assert before | {"profile", "up_to", "up_to_stderr"} <= set(found)
    assert {"interval", "half_sequences", "half_masks", "sd_sequences", "sd_masks", "rates", "letters"} <= set(found)
    assert set(found["controls"]) == {"uniform", "unigram", "composition", "shuffled"}
    assert (found["sequences"], found["residues"], found["cropped"], found["masks"]) == (3, 44, 1, 4)
    assert found["interval"][0] < found["nats"] < found["interval"][1]
    assert found["letters"] == "the training data"


def test_evaluate_writes_a_row_for_each_sequence_with_the_ids_of_the_file(run, tmp_path):
    (tmp_path / "some.fasta").write_text(FASTA)
    to = tmp_path / "deep" / "each.csv"
    sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--per-sequence", to)
    found = rows(to)
    assert [(row["id"], row["residues"]) for row in found] == [("a", "10"), ("b", "10"), ("c", "24")]
    overall = json.loads(sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--json"))
    mean = sum(float(row["nats"]) * int(row["residues"]) for row in found) / 44
    assert mean == pytest.approx(overall["nats"], abs=1e-4)


@pytest.fixture
def of_file(tiny, tmp_path) -> Path:
    (tmp_path / "train.fasta").write_text(
        "".join(f">t{i}\n{'MKVLAAGIVG'[i % 10 :]}{'ACDEFGHIKL' * 2}\n" for i in range(40))
    )
    config = tiny(f"data.train={tmp_path / 'train.fasta'}", "data.holdout=0.2", "model.length=24")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    return tmp_path / "run"


DIRTY = FASTA + f">bad\nMKX\n>low\nmkvl\n>tiny\nM\n>known\nMKVLAAGIVG{'ACDEFGHIKL' * 2}\n>other\nG{'ACDEFGHIKL' * 2}\n"


def test_what_was_dropped_repaired_cropped_and_trained_on_is_said_everywhere(of_file, tmp_path):
    (tmp_path / "some.fasta").write_text(DIRTY)
    common = ("evaluate", of_file, tmp_path / "some.fasta", "--device", "cpu", "--no-controls")
    read = json.loads(sedd_(*common, "--json"))["input"]
    assert (read["read"], read["kept"], read["cropped"]) == (8, 6, 2)
    assert read["in_training"] in (1, 2)  # the others may be in the held-out part
    assert {kind: found[0] for kind, found in read["dropped"].items()} == {"ambiguous": 1, "short": 1}
    printed = sedd_(*common, "--per-sequence", tmp_path / "each.csv")
    assert "8 read, 6 kept, 2 dropped" in printed
    assert f"{read['in_training']} of 6 sequences are in the training set" in printed
    assert "2 of 6 sequences are longer than 24 residues" in printed
    found = rows(tmp_path / "each.csv")
    assert [row["id"] for row in found] == ["a", "b", "c", "bad", "low", "tiny", "known", "other"]
    assert [bool(row["nats"]) for row in found] == [True, True, True, False, True, False, True, True]
    remarks = {row["id"]: row["remark"] for row in found}
    assert remarks["bad"].startswith("dropped: ")
    assert remarks["low"]
    assert not remarks["a"]
    assert "cropped from 32 to 24" in remarks["c"]
    assert ("in the training set" in remarks["known"]) + ("in the training set" in remarks["other"]) == read[
        "in_training"
    ]


def test_a_column_of_a_table_is_evaluated(absorb, tmp_path):
    (tmp_path / "some.csv").write_text("id,seq\na,MKVLAAGIVG\nb,MKKLLPTAAA\n")
    common = ("evaluate", absorb, tmp_path / "some.csv", "--device", "cpu", "--no-controls")
    assert "--column seq" in error(*common)
    sedd_(*common, "--column", "seq", "--per-sequence", tmp_path / "each.csv")
    assert [row["id"] for row in rows(tmp_path / "each.csv")] == ["a", "b"]


def test_that_the_training_set_is_gone_is_said(of_file, tmp_path):
    (tmp_path / "some.fasta").write_text(FASTA)
    (tmp_path / "train.fasta").unlink()
    common = ("evaluate", of_file, tmp_path / "some.fasta", "--device", "cpu", "--no-controls")
    assert json.loads(sedd_(*common, "--json"))["input"]["in_training"] is None
    assert "unknown" in sedd_(*common)


def test_all_sequences_are_in_the_table_and_those_without_names_have_numbers(absorb, tmp_path):
    sedd_("evaluate", absorb, "--device", "cpu", "--per-sequence", tmp_path / "each.csv", "--no-controls")
    assert [row["id"] for row in rows(tmp_path / "each.csv")] == [str(number) for number in range(1, 257)]


def test_other_weights_and_other_checkpoints_can_be_evaluated(absorb):
    common = ("--device", "cpu", "--sequences", "20", "--no-controls", "--json")
    averaged, raw, latest = (
        json.loads(sedd_("evaluate", absorb, *common, *more))
        for more in ((), ("--weights", "model"), ("--which", "latest"))
    )
    assert averaged["nats"] != raw["nats"]
    assert latest["step"] == 8
    checkpoint = absorb / "checkpoints" / "step-00000008"
    assert json.loads(sedd_("evaluate", checkpoint, *common)) == latest


def test_data_of_a_user_are_evaluated_with_the_token_frequencies_of_the_run(tiny, tmp_path):
    sedd.Trainer(tiny(), data=[[1, 2, 3], [4, 5], [6, 7]], run=tmp_path / "run").fit(progress=False)
    (tmp_path / "some.fasta").write_text(FASTA)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-00000008")
    for path in (tmp_path / "run", checkpoint):
        found = json.loads(sedd_("evaluate", path, tmp_path / "some.fasta", "--device", "cpu", "--json"))
        assert found["letters"] == "the training data"
    (tmp_path / "run" / "metrics.jsonl").unlink()
    found = json.loads(sedd_("evaluate", tmp_path / "run", tmp_path / "some.fasta", "--device", "cpu", "--json"))
    assert found["letters"] == "the evaluated sequences themselves"


def test_score_variants_writes_a_row_for_each_mutation(run, tmp_path):
    (tmp_path / "wild.fasta").write_text(FASTA[:50].split(">c")[0])
    (tmp_path / "some.csv").write_text("id,mutation\nb,M1A\na,M1A\nb,K2R:K3R\n")
    to = tmp_path / "deep" / "scores.csv"
    common = (run, tmp_path / "wild.fasta", tmp_path / "some.csv", "--device", "cpu", "--masks", "4")
    sedd_("score-variants", *common, "--out", to)
    found = rows(to)
    assert [(row["id"], row["mutation"]) for row in found] == [("b", "M1A"), ("a", "M1A"), ("b", "K2R:K3R")]
    model = sedd.load(run, device="cpu")
    (score,) = model.score_variants("MKVLAAGIVG", ["M1A"], masks=4)
    assert float(found[1]["log_odds"]) == pytest.approx(score.log_odds, rel=1e-4)
    assert float(found[1]["bound_difference"]) == pytest.approx(score.bound_difference, rel=1e-4)
    printed = sedd_("score-variants", *common, "--no-bound").splitlines()
    assert printed[0] == "id,mutation,log_odds,bound_difference,stderr,remark"
    assert printed[1].endswith(",,,")


def test_score_variants_reads_hgvs_says_what_has_no_score_and_makes_all_changes(absorb, tmp_path):
    (tmp_path / "wild.fasta").write_text(">a\nMKVL\n")
    (tmp_path / "some.csv").write_text("hgvs_pro;score\np.Met1Ala;0,1\np.Lys2Ter;-1\np.=;0\n")
    common = ("score-variants", absorb, tmp_path / "wild.fasta", "--device", "cpu", "--no-bound")
    sedd_(*common, tmp_path / "some.csv", "--out", tmp_path / "to.csv")
    found = rows(tmp_path / "to.csv")
    assert [row["mutation"] for row in found] == ["p.Met1Ala", "p.Lys2Ter", "p.="]
    assert [bool(row["remark"]) for row in found] == [False, True, False]
    assert found[1]["log_odds"] == ""
    assert float(found[2]["log_odds"]) == 0.0
    sedd_(*common, "--all-singles", "--out", tmp_path / "all.csv.gz")
    text = gzip.decompress((tmp_path / "all.csv.gz").read_bytes()).decode().splitlines()
    assert len(text) == 1 + 4 * 19
    assert [row["log_odds"] for row in csv.DictReader(text) if row["mutation"] == "M1A"] == [found[0]["log_odds"]]
    assert "--all-singles" in error(*common)


def test_score_variants_checks_its_input_before_it_writes(absorb, tmp_path):
    (tmp_path / "wild.fasta").write_text(">a\nMKVL\n")
    (tmp_path / "some.csv").write_text("M1A\nA2K\n")
    words = error("score-variants", absorb, tmp_path / "wild.fasta", tmp_path / "some.csv", "-o", tmp_path / "to.csv")
    assert "some.csv:2: A2K: " in words
    assert not (tmp_path / "to.csv").exists()


def test_score_variants_refuses_a_model_of_text(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    config = tiny(
        f"data.train={tmp_path / 'text.txt'}", "data.alphabet=text", "data.chunk_length=16", "data.holdout=0.3"
    )
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    (tmp_path / "wild.fasta").write_text(">a\nMKVL\n")
    words = error("score-variants", tmp_path / "run", tmp_path / "wild.fasta", tmp_path / "wild.fasta")
    assert "data.alphabet=protein" in words
    evaluated = sedd_("evaluate", tmp_path / "run", tmp_path / "text.txt", "--device", "cpu", "--json")
    assert json.loads(evaluated)["sequences"] > 0


def test_an_empty_or_missing_file_is_one_message(absorb, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.fasta").write_text("")
    commands = [["evaluate", str(absorb), str(tmp_path / name)] for name in ("empty.fasta", "nowhere.fasta")]
    assert_errors("errors-evaluate", commands, monkeypatch, capsys, {tmp_path: "TMP"})
