"""Weights in the Hugging Face layout: every tensor accounted for, and the numbers of the original library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import sedd
from sedd.foreign.weights.importing import import_weights
from sedd_network_esm import Esm

CONFIG = {
    "model_type": "esm",
    "vocab_size": 33,
    "mask_token_id": 32,
    "pad_token_id": 1,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 26,
    "position_embedding_type": "rotary",
    "hidden_act": "gelu",
    "emb_layer_norm_before": False,
    "layer_norm_eps": 1e-5,
    "token_dropout": True,
    "hidden_dropout_prob": 0.2,
}
PART = Esm(hidden_size=16, n_blocks=2, n_heads=2, intermediate_size=24, length=24, dropout=0.2)
EMBEDDINGS, QUERY = "esm.embeddings.word_embeddings.weight", "esm.encoder.layer.1.attention.self.query.weight"


def theirs(seed: int = 0) -> dict[str, Tensor]:
    """A state dict as ESM-2 has it."""
    torch.manual_seed(seed)
    tensors = {name: 0.3 * torch.randn_like(tensor) for name, tensor in PART.build(33, 32).state_dict().items()}
    rotary = 10_000.0 ** (-torch.arange(0, 8, 2).float() / 8)
    tensors |= {f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq": rotary.clone() for i in range(2)}
    tensors |= {
        "lm_head.decoder.weight": tensors[EMBEDDINGS].clone(),
        "esm.contact_head.regression.weight": torch.ones(1, 4),
    }
    return tensors | {
        "esm.embeddings.position_ids": torch.arange(26)[None],
        "esm.contact_head.regression.bias": torch.ones(1),
    }


def hub(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    safetensors.torch.save_file(dict(theirs() if tensors is None else tensors), folder / "model.safetensors")
    return folder


def test_a_hub_folder_becomes_a_run_that_samples_scores_and_is_exported(tmp_path: Path) -> None:
    given = theirs()
    imported = import_weights(hub(tmp_path / "hub"), tmp_path / "run")
    assert imported.config.model == PART
    assert (imported.config.graph.type, imported.alphabet.name) == ("absorb", "esm")
    model = sedd.load(tmp_path / "run", device="cpu")
    own = model.network.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in own.items())
    left_out = " ".join(imported.remarks)
    assert all(name in left_out for name in set(given) - set(own) if "layer.1" not in name)
    texts = model.sample(3, length=8, steps=4)
    assert set("".join(texts)) <= set("ACDEFGHIKLMNPQRSTVWY")
    assert len(model.score_variants("MKVLAAGIV", ["A5G"], masks=2)) == 1
    assert model.embed(["MKVLAAGIV", "MK"], layer=1).shape == (2, 16)


def test_an_untied_last_layer_is_kept(tmp_path: Path) -> None:
    tensors = theirs() | {"lm_head.decoder.weight": torch.randn(33, 16)}
    import_weights(hub(tmp_path / "hub", tensors, tie_word_embeddings=False), tmp_path / "run")
    network = sedd.load(tmp_path / "run", device="cpu").network
    assert torch.equal(network.state_dict()["lm_head.decoder.weight"], tensors["lm_head.decoder.weight"])


def test_the_names_that_transformers_5_writes_are_read(tmp_path: Path) -> None:
    given = theirs()
    written = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in given.items()
        if "layer.1.attention.self.rotary" not in name
    }
    rotary = "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"
    written[rotary.replace(".0.", ".*.")] = written.pop(rotary)
    import_weights(hub(tmp_path / "hub", written), tmp_path / "run")
    own = sedd.load(tmp_path / "run", device="cpu").network.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in own.items())


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in theirs().items() if key != name}


WRONG_TENSORS = {
    QUERY: without(QUERY),
    EMBEDDINGS: theirs() | {EMBEDDINGS: torch.ones(40, 16), "lm_head.decoder.weight": torch.ones(40, 16)},
    "esm.encoder.layer.2.LayerNorm.weight": theirs() | {"esm.encoder.layer.2.LayerNorm.weight": torch.ones(16)},
    "lm_head.decoder.weight": theirs() | {"lm_head.decoder.weight": torch.ones(33, 16)},
    "inv_freq": theirs() | {"esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq": torch.ones(4)},
}


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(sedd.CheckpointError) as caught:
        import_weights(hub(tmp_path / "hub", WRONG_TENSORS[name]), tmp_path / "run")
    assert name in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"position_embedding_type": "absolute"},
        {"vocab_size": 40},
        {"emb_layer_norm_before": True},
        {"hidden_size": "wide"},
        {"num_attention_heads": 3},
        {"is_folding_model": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_configuration_that_the_network_cannot_be_is_refused(changed: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(sedd.CheckpointError) as caught:
        import_weights(hub(tmp_path / "hub", **changed), tmp_path / "run")
    assert caught.value.file == tmp_path / "hub" / "config.json"
    assert not (tmp_path / "run").exists()


def original(tmp_path: Path, **options: object) -> tuple[object, Path]:
    """A small random `EsmForMaskedLM` and its folder, as transformers writes it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    keys = {key: value for key, value in CONFIG.items() if key != "model_type"} | options
    torch.manual_seed(1)
    made = transformers.EsmForMaskedLM(transformers.EsmConfig(**keys)).eval()
    for parameter in made.parameters():
        parameter.data.normal_(std=0.3)
    made.save_pretrained(tmp_path / "hub")
    return made, tmp_path / "hub"


@pytest.mark.parametrize("token_dropout", [True, False])
def test_the_numbers_are_those_of_transformers(token_dropout: bool, tmp_path: Path) -> None:
    made, folder = original(tmp_path, token_dropout=token_dropout)
    import_weights(folder, tmp_path / "run")
    model = sedd.load(tmp_path / "run", device="cpu")
    rows = [torch.tensor([4, 32, 9, 20, 32, 5]), torch.tensor([32, 6, 7]), torch.tensor([11])]
    tokens, mask = torch.full((3, 6), 5), torch.zeros(3, 6, dtype=torch.bool)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, True
    with torch.no_grad():
        found = model.network(tokens, torch.ones(3), mask)
        states = list(model.network.hidden_states(tokens, torch.ones(3), mask))
        for row, ids in enumerate(rows):
            # One at a time: some versions of transformers count padding as tokens in token dropout.
            whole = torch.cat([torch.tensor([0]), ids, torch.tensor([2])])[None]
            expected = made(whole, output_hidden_states=True)  # type: ignore[operator]  # of transformers
            difference = found[row, : len(ids)] - expected.logits[0, 1:-1, :32]
            assert float(difference.abs().max()) < 1e-5
            for own, other in zip(states, expected.hidden_states, strict=True):
                assert np.abs(own[row, : len(ids)].numpy() - other[0, 1:-1].numpy()).max() < 1e-5


def test_trained_weights_go_back_into_transformers(tmp_path: Path) -> None:
    made, folder = original(tmp_path)
    import_weights(folder, tmp_path / "run")
    tensors = sedd.load(tmp_path / "run", device="cpu").network.state_dict()
    with torch.no_grad():
        for parameter in made.parameters():  # type: ignore[attr-defined]  # of transformers
            parameter.zero_()
    missing = set(made.load_state_dict(tensors, strict=False).missing_keys)  # type: ignore[attr-defined]  # likewise
    assert all("contact_head" in name or "inv_freq" in name or name == "lm_head.decoder.weight" for name in missing)
    whole = torch.tensor([[0, 4, 32, 9, 2]])
    with torch.no_grad():
        own = sedd.load(tmp_path / "run", device="cpu").network(whole[:, 1:-1], torch.ones(1))
        assert float((made(whole).logits[0, 1:-1, :32] - own[0]).abs().max()) < 1e-5  # type: ignore[operator]
