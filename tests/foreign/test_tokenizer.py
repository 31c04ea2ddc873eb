"""Imported ids with a tokenizer: text in and text out."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

import sedd
from sedd.data import ids_alphabet
from sedd.data.alphabet import Alphabet
from sedd.data.tokenizer import TokenizedAlphabet
from sedd.errors import CheckpointError, DataError
from sedd.foreign.weights.importing import import_weights
from tests.cli.commands import sedd_
from tests.foreign.published import network, sedd_hub

VOCABULARY = 300
TEXT = ["the cat sat on the mat\n", "a dog ran to the cat\n", "the dog sat, and a cat ran!\n"] * 5


@pytest.fixture
def tokenizer() -> Any:
    """A small tokenizer of bytes, as that of GPT-2."""
    library = pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    return made


@pytest.fixture
def hub(tmp_path: Path, tokenizer: Any) -> Path:
    n = tokenizer.get_vocab_size()
    folder = sedd_hub(tmp_path / "hub", network(n=n).state_dict(), n=n)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    return folder


def test_text_becomes_the_ids_of_the_tokenizer_and_text_again(tokenizer) -> None:
    alphabet = TokenizedAlphabet.of(tokenizer.get_vocab_size(), tokenizer.to_str())
    for text in (TEXT[0], "çé 漢\n\n ▒ <x>", "the"):
        assert alphabet.encode(text).tolist() == tokenizer.encode(text).ids
        assert alphabet.decode(alphabet.encode(text)) == text
        assert alphabet.length(text) == len(tokenizer.encode(text).ids)
    ids = alphabet.encode("the cat").tolist()
    assert alphabet.decode([ids[0], alphabet.mask_id, alphabet.mask_id]) == alphabet.decode(ids[:1]) + "<mask><mask>"
    assert Alphabet.from_dict(json.loads(json.dumps(alphabet.to_dict()))) == alphabet
    assert pickle.loads(pickle.dumps(alphabet)) == alphabet
    assert alphabet != ids_alphabet(alphabet.n)


def test_an_id_that_the_model_does_not_have_is_named(tokenizer) -> None:
    alphabet = TokenizedAlphabet.of(10, tokenizer.to_str())
    with pytest.raises(DataError, match="0 to 9"):
        alphabet.encode("the cat")
    with pytest.raises(DataError):
        alphabet.decode([11])


def test_a_model_writes_text_resumes_a_file_evaluates_text_fills_in_and_is_exported(tmp_path, hub) -> None:
    run, out = tmp_path / "run", tmp_path / "out.txt"
    assert "tokenizer.json" in sedd_("import", "weights", hub, "--run", run)
    options = ("--steps", "2", "--length", "8", "--device", "cpu", "--out", out)
    sedd_("sample", run, "-n", "3", *options)
    complete = out.read_text(newline="") if sys.version_info >= (3, 13) else out.read_bytes().decode()
    assert complete.count(" length=8 ") == 3
    out.write_bytes(complete.encode()[:-3])
    sedd_("sample", run, "-n", "3", *options, "--resume")
    assert out.read_bytes().decode() == complete
    (tmp_path / "text.txt").write_text("the cat\n\na dog ran\n")
    found = json.loads(sedd_("evaluate", run, tmp_path / "text.txt", "--device", "cpu", "--json", "--no-controls"))
    (tmp_path / "text.csv").write_text('id,text\na,"the cat"\nb,a dog ran\n')
    table = ("evaluate", run, tmp_path / "text.csv", "--column", "text", "--per-sequence", tmp_path / "bounds.csv")
    assert json.loads(sedd_(*table, "--device", "cpu", "--json", "--no-controls"))["residues"] == found["residues"]
    assert [line.split(",")[0] for line in (tmp_path / "bounds.csv").read_text().splitlines()] == ["id", "a", "b"]
    model = sedd.load(run, device="cpu")
    residues = model.alphabet.length("the cat") + model.alphabet.length("a dog ran")
    assert (found["sequences"], found["residues"]) == (2, residues)
    sedd_("export", run, tmp_path / "exported")
    again = sedd.load(tmp_path / "exported", device="cpu")
    assert again.alphabet == model.alphabet
    (filled,) = again.infill(["the <mask><mask> cat"], steps=2)
    assert filled.startswith("the ")
    assert filled.endswith(" cat")
    (tmp_path / "templates.txt").write_text("the <mask> cat\n")
    drawn = sedd_("sample", run, "--template", tmp_path / "templates.txt", "--steps", "2", "--device", "cpu")
    assert drawn.startswith("=== ")


def test_numbers_can_be_had_although_there_is_a_tokenizer(tmp_path, hub) -> None:
    n = import_weights(hub, tmp_path / "run", alphabet="ids").alphabet.n
    assert sedd.load(tmp_path / "run", device="cpu").alphabet == ids_alphabet(n)


def test_without_the_package_ids_are_numbers_and_a_remark_says_so(tmp_path, monkeypatch) -> None:
    hub = sedd_hub(tmp_path / "hub", network().state_dict())
    (hub / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    imported = import_weights(hub, tmp_path / "run")
    assert imported.alphabet == ids_alphabet(20)
    assert any("tokenizers" in remark for remark in imported.remarks)
    with pytest.raises(DataError, match="hf"):
        TokenizedAlphabet.of(20, "{}")


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", b'{"version": "1.0"'])
def test_a_damaged_tokenizer_is_named_and_nothing_is_written(tmp_path, content) -> None:
    pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    hub = sedd_hub(tmp_path / "hub", network().state_dict())
    (hub / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        import_weights(hub, tmp_path / "run")
    assert caught.value.file == hub / "tokenizer.json"
    assert not (tmp_path / "run").exists()
