"""Embeddings: a vector per sequence or residue, the same whatever is beside it, in memory and in files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sedd
from sedd.evaluation import embedding
from tests.cli.commands import failed, sedd_

TEXTS = ["MKVLAAGIV", "ACDEFGHIKLMNPQRSTVWY", "M", "WYAC"]


@pytest.fixture
def run(tiny, tmp_path: Path) -> Path:
    """A run of a network with two blocks, whose weights are far from where training begins."""
    trainer = sedd.Trainer(tiny("model.n_blocks=2", "model.hidden_size=12"), run=tmp_path / "run")
    torch.manual_seed(0)
    for network in (trainer.network, trainer.ema.network):
        for parameter in network.parameters():
            parameter.data.normal_(std=0.3)
    trainer.save()
    return tmp_path / "run"


@pytest.fixture
def model(run: Path) -> sedd.Pretrained:
    return sedd.load(run, device="cpu")


def test_a_sequence_has_a_vector_and_each_residue_has_one(model):
    means, residues = model.embed(TEXTS), model.embed(TEXTS, pool=None)
    assert (means.shape, means.dtype) == ((4, 12), np.float32)
    assert [vectors.shape for vectors in residues] == [(len(text), 12) for text in TEXTS]
    assert np.abs(means - np.stack([vectors.mean(0) for vectors in residues])).max() < 1e-6


def test_other_sequences_and_their_order_have_no_effect(model, monkeypatch):
    together = model.embed(TEXTS)
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    backwards = model.embed(TEXTS[::-1])[::-1]
    monkeypatch.setattr(embedding, "WINDOW_RESIDUES", 12)
    monkeypatch.setattr(embedding, "BATCH_RESIDUES", 9)
    for other in (alone, backwards, model.embed(TEXTS)):
        assert np.abs(together - other).max() < 1e-5


def test_the_layers_are_those_of_the_network_without_mask_at_the_least_noise(model):
    ids = torch.from_numpy(model.alphabet.encode(TEXTS[0]).astype(np.int64))[None]
    sigma = torch.full((1,), model.process.sigma_range[0])
    with torch.no_grad():
        embedded = model.network.vocab_embed(ids)[0]
        output = model.network(ids, sigma)[0]
        last = torch.from_numpy(model.embed(TEXTS[:1], pool=None)[0])
        from_last = model.network.output_layer.linear(last)
    assert torch.equal(embedded, torch.from_numpy(model.embed(TEXTS[:1], layer=0, pool=None)[0]))
    assert (from_last - output).abs().max() < 1e-5
    by_number = [model.embed(TEXTS, layer=layer) for layer in (0, 1, 2)]
    from_the_end = [model.embed(TEXTS, layer=layer) for layer in (-3, -2, -1)]
    assert all(np.array_equal(a, b) for a, b in zip(by_number, from_the_end, strict=True))
    assert not np.allclose(by_number[1], by_number[2])


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_refused(model, layer):
    with pytest.raises(sedd.ConfigError):
        model.embed(TEXTS, layer=layer)


def test_another_kind_of_pooling_is_refused(model):
    with pytest.raises(sedd.ConfigError):
        model.embed(TEXTS, pool="max")


@pytest.mark.parametrize("texts", [[], "MKV", ["MKV", ""], ["MKZ"], ["M" * 25]], ids=repr)
def test_what_cannot_be_embedded_is_refused(model, texts):
    with pytest.raises(sedd.DataError):
        model.embed(texts)


class Silent(nn.Module):
    """A network of a user that does not say what its hidden states are."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)

    def forward(self, tokens, sigma, mask=None):
        return self.table(tokens)


class Speaking(Silent):
    def hidden_states(self, tokens, sigma, mask=None):
        yield self.table(tokens)


def test_a_network_of_a_user_says_what_its_hidden_states_are(tiny, tmp_path):
    for network in (Silent(), Speaking()):
        model = sedd.Trainer(tiny(), model=network).model
        if isinstance(network, Speaking):
            assert model.embed(["MK"]).shape == (1, 20)
        else:
            with pytest.raises(sedd.ConfigError) as caught:
                model.embed(["MK"])
            assert "hidden_states" in str(caught.value)


# Files ---------------------------------------------------------------------------------------------------------------

FASTA = f">a\n{TEXTS[0]}\n>b\n{TEXTS[1]}AAAAAAAAAA\n>bad\nMKXXB\n>a\n{TEXTS[3]}\n"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    (tmp_path / "some.fasta").write_text(FASTA)
    return tmp_path / "some.fasta"


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def expected(model: sedd.Pretrained) -> np.ndarray:
    return model.embed([TEXTS[0], (TEXTS[1] + "A" * 10)[:24], TEXTS[3]])


def test_a_file_of_embeddings_has_the_names_and_says_what_was_dropped_cropped_and_repeated(run, model, fasta, tmp_path):
    printed = sedd_("embed", run, fasta, tmp_path / "new" / "out.npz", "--device", "cpu")
    found = arrays(tmp_path / "new" / "out.npz")
    assert found["names"].tolist() == ["a", "b", "a"]
    assert found["lengths"].tolist() == [9, 24, 4]
    assert found["embeddings"].dtype == np.float32
    assert np.abs(found["embeddings"] - expected(model)).max() < 1e-5
    assert "1 of 3 sequences are longer than 24 residues" in printed
    assert "1 of 3 sequences have the name of an earlier one" in printed
    assert "dropped" in printed


def test_a_file_of_residues_says_where_each_sequence_begins(run, model, fasta, tmp_path):
    sedd_("embed", run, fasta, tmp_path / "out.npz", "--pool", "none", "--layer", "1", "--device", "cpu")
    found = arrays(tmp_path / "out.npz")
    assert found["offsets"].tolist() == [0, 9, 33, 37]
    own = model.embed([TEXTS[3]], layer=1, pool=None)[0]
    assert np.abs(found["embeddings"][33:37] - own).max() < 1e-5


@pytest.mark.parametrize("pool", ["mean", "none"])
def test_a_parquet_file_has_the_same_numbers(pool, run, model, fasta, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr("sedd.evaluation.embedding_files.ROW_GROUP", 2)
    sedd_("embed", run, fasta, tmp_path / "out.parquet", "--pool", pool, "--device", "cpu")
    sedd_("embed", run, fasta, tmp_path / "out.npz", "--pool", pool, "--device", "cpu")
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert np.array_equal(np.array(table["embedding"], np.float32), arrays(tmp_path / "out.npz")["embeddings"])
    if pool == "mean":
        assert (table["sequence"], table["name"]) == ([1, 2, 3], ["a", "b", "a"])
    else:
        assert table["name"] == ["a"] * 9 + ["b"] * 24 + ["a"] * 4
        assert table["residue"] == [*range(1, 10), *range(1, 25), *range(1, 5)]


def test_bad_input_writes_nothing_and_keeps_the_older_file(run, fasta, tmp_path, monkeypatch, capsys):
    (tmp_path / "old.npz").write_bytes(b"old")
    before = sorted(path.name for path in tmp_path.iterdir())
    failed(monkeypatch, capsys, "embed", run, fasta, tmp_path / "out.csv", "--device", "cpu")
    failed(monkeypatch, capsys, "embed", run, fasta, tmp_path / "old.npz", "--layer", "9", "--device", "cpu")
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_without_pyarrow_a_parquet_file_is_refused_with_what_to_install(run, fasta, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = failed(monkeypatch, capsys, "embed", run, fasta, tmp_path / "out.parquet", "--device", "cpu")
    assert "parquet" in said
    assert not (tmp_path / "out.parquet").exists()
