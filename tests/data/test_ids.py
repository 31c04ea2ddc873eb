"""Token ids as data: numbers separated by spaces, from a file to a model and back."""

from __future__ import annotations

import json

import pytest

import sedd
from sedd.config.sections import Data
from sedd.data import ids_alphabet, open_data, open_whole
from sedd.data.alphabet import Alphabet
from sedd.errors import DataError, SamplingError
from sedd.sampling.templates import parse_sequence, parse_template, read_templates
from tests.cli.commands import sedd_
from tests.conftest import TINY

LARGE = ids_alphabet(50_257)


def test_ids_survive_encoding_decoding_and_json() -> None:
    assert LARGE.encode(" 0 50256\t7\n").tolist() == [0, 50_256, 7]
    assert LARGE.decode([50_256, 7, LARGE.mask_id]) == "50256 7 _"
    assert Alphabet.from_dict(json.loads(json.dumps(LARGE.to_dict()))) == LARGE


@pytest.mark.parametrize("word", ["50257", "-1", "007", "x", "1,2", "²", "9" * 5000])
def test_what_is_no_id_is_refused_with_its_position(word: str) -> None:
    with pytest.raises(DataError, match="position 1") as caught:
        LARGE.encode(f"5 {word}")
    assert "0 to 50256" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_has_a_sequence_on_each_line_or_after_each_header(tmp_path) -> None:
    (tmp_path / "lines.txt").write_text("1 2 3\n\n4  5\n9\n")
    (tmp_path / "fasta.txt").write_text(">a\n1 2\n3\n>b x\n4 5\n")
    alphabet = ids_alphabet(10)
    for name in ("lines.txt", "fasta.txt"):
        store = open_whole(Data(alphabet="ids"), str(tmp_path / name), alphabet)
        assert [store[i].tolist() for i in range(len(store))] == [[1, 2, 3], [4, 5]]
        assert store.alphabet == alphabet


def test_the_alphabet_of_training_data_goes_to_the_largest_id_of_both_files(tmp_path) -> None:
    (tmp_path / "train.txt").write_text("1 2 3\n4 5\n")
    (tmp_path / "valid.txt").write_text("1 400\n")
    data = Data(alphabet="ids", train=str(tmp_path / "train.txt"), valid=str(tmp_path / "valid.txt"))
    assert open_data(data, seed=0).alphabet == ids_alphabet(401)


@pytest.mark.parametrize("content", ["1 2\n3 MKV\n", "1 2\n3 99999999\n", "1 2\n3 -4\n"])
def test_a_word_that_is_no_id_is_named_with_its_line(tmp_path, content) -> None:
    (tmp_path / "bad.txt").write_text(content)
    for known in (True, False):
        data = Data(alphabet="ids", train=str(tmp_path / "bad.txt"))
        with pytest.raises(DataError) as caught:
            open_whole(data, str(tmp_path / "bad.txt"), ids_alphabet(10)) if known else open_data(data, seed=0)
        assert (caught.value.file, caught.value.line) == (tmp_path / "bad.txt", 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.csv", "name,tokens\na,1 2 3\nb,4 5\n"),
        ("ids.jsonl", '{"name": "a", "tokens": [1, 2, 3]}\n{"name": "b", "tokens": "4 5"}\n'),
        ("ids.txt", "tokens\n1 2 3\n4 5\n"),
    ],
)
def test_ids_are_a_column_of_a_table(tmp_path, name, content) -> None:
    (tmp_path / name).write_text(content)
    store = open_whole(Data(alphabet="ids", column="tokens"), str(tmp_path / name), ids_alphabet(10))
    assert [store[i].tolist() for i in range(len(store))] == [[1, 2, 3], [4, 5]]
    data = Data(alphabet="ids", column="tokens", train=str(tmp_path / name), holdout=0.4)
    assert open_data(data, seed=0).alphabet == ids_alphabet(6)


def test_ids_are_a_column_of_lists_of_a_parquet_table(tmp_path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    parquet.write_table(arrow.table({"input_ids": [[1, 2, 3], [4, 5]]}), tmp_path / "ids.parquet")
    data = Data(alphabet="ids", train=str(tmp_path / "ids.parquet"), holdout=0.4)
    with pytest.raises(DataError, match=r"data\.column"):
        open_data(data, seed=0)
    store = open_whole(data.model_copy(update={"column": "input_ids"}), data.train, ids_alphabet(10))
    assert [store[i].tolist() for i in range(len(store))] == [[1, 2, 3], [4, 5]]


def test_templates_have_marks_between_ids(tmp_path) -> None:
    assert parse_template("12 _ <mask> 7", LARGE, "t").tolist() == [12, 50_257, 50_257, 7]
    assert parse_sequence("12 7", LARGE, "t").tolist() == [12, 7]
    for wrong, error in (("12 7", SamplingError), (" ", SamplingError), ("12 x _", DataError)):
        with pytest.raises(error):
            parse_template(wrong, LARGE, "t")
    (tmp_path / "lines").write_text("12 _\n\n7 ?\n")
    (tmp_path / "fasta").write_text(">a\n12\n_\n")
    assert [text for _, text in read_templates(tmp_path / "lines", LARGE)] == ["12 _", "7 ?"]
    assert read_templates(tmp_path / "fasta", LARGE) == [("a", "12 _")]
    assert read_templates(tmp_path / "lines", LARGE, mark="?")[1][1] == "7 _"


def test_a_model_of_ids_trains_samples_resumes_a_file_and_evaluates_its_own_samples(tmp_path) -> None:
    (tmp_path / "data.txt").write_text("".join(f"{i % 7} {i % 300} {i % 11} 299\n" for i in range(400)))
    data = (f"data.train={tmp_path / 'data.txt'}", "data.alphabet=ids", "data.holdout=0.3")
    run, out = tmp_path / "run", tmp_path / "out.txt"
    sedd_("train", "quickstart", *TINY, *data, "--run", run, "--samples", "1")
    sedd_("sample", run, "-n", "3", "--out", out, "--device", "cpu")
    complete = out.read_text()
    assert complete.count(" length=4 ") == 3
    out.write_text(complete[:-3])
    sedd_("sample", run, "-n", "3", "--out", out, "--resume", "--device", "cpu")
    assert out.read_text() == complete
    found = json.loads(sedd_("evaluate", run, out, "--device", "cpu", "--json"))
    assert (found["sequences"], found["residues"]) == (3, 12)
    filled = sedd.load(run, device="cpu").infill(["5 _ 7 299"])[0].split()
    assert [filled[0], *filled[2:]] == ["5", "7", "299"]
