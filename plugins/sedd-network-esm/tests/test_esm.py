"""The contract of sedd, an independent forward pass, and a run from a run file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sedd
from sedd.plugins.registry import registry
from sedd.testing import Check, checks_for
from sedd_network_esm import Esm

SMALL = {"type": "esm", "hidden_size": 16, "n_blocks": 2, "n_heads": 2, "intermediate_size": 24, "length": 24}
RUN = {
    "model": SMALL,
    "curriculum": {"difficulty_ramp": "constant"},
    "optim": {"warmup": 1},
    "training": {"n_iters": 4, "batch_size": 8, "log_every": 2, "eval_every": 4},
    "evaluation": {"sequences": 8, "masks": 2},
    "device": {"type": "cpu"},
}


@pytest.mark.parametrize("check", checks_for(Esm), ids=str)
def test_contract(check: Check) -> None:
    check()


def awake(seed: int = 0, **options: object) -> torch.nn.Module:
    """A network whose weights are far from where training begins."""
    network = Esm.model_validate({**SMALL, **options}).build(33, 32).eval()
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.3)
    return network


# An independent forward pass ---------------------------------------------------------------------------------------


def norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def turned(x: np.ndarray) -> np.ndarray:
    """Rotary embedding of x (length, d) as rotations in the planes of components i and i + d/2, one by one."""
    length, d = x.shape
    out = np.empty_like(x)
    for position in range(length):
        for i in range(d // 2):
            angle = position * 10_000.0 ** (-2 * i / d)
            a, b = x[position, i], x[position, i + d // 2]
            out[position, i] = a * math.cos(angle) - b * math.sin(angle)
            out[position, i + d // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def attention(x: np.ndarray, w: dict[str, np.ndarray], name: str, heads: int) -> np.ndarray:
    q, k, v = (linear(x, w, f"{name}.self.{part}") for part in ("query", "key", "value"))
    d = x.shape[1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        logits = turned(q[:, part] / math.sqrt(d)) @ turned(k[:, part]).T
        weights = np.exp(logits - logits.max(1, keepdims=True))
        mixed.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
    return linear(np.concatenate(mixed, 1), w, f"{name}.output.dense")


def by_hand(w: dict[str, np.ndarray], tokens: np.ndarray, *, special: bool, dropout: bool) -> np.ndarray:
    """Logits (length, 33) of one sequence, from the equations of ESM-2."""
    ids = np.concatenate([[0], tokens, [2]]) if special else tokens
    x = w["esm.embeddings.word_embeddings.weight"][ids]
    if dropout:
        masked = ids == 32
        x = np.where(masked[:, None], 0.0, x) * (1 - 0.15 * 0.8) / (1 - masked.mean())
    for index in range(2):
        name = f"esm.encoder.layer.{index}"
        x = x + attention(norm(x, w, f"{name}.attention.LayerNorm"), w, f"{name}.attention", 2)
        inner = gelu(linear(norm(x, w, f"{name}.LayerNorm"), w, f"{name}.intermediate.dense"))
        x = x + linear(inner, w, f"{name}.output.dense")
    x = norm(x, w, "esm.encoder.emb_layer_norm_after")
    x = norm(gelu(linear(x, w, "lm_head.dense")), w, "lm_head.layer_norm")
    logits = x @ w["esm.embeddings.word_embeddings.weight"].T + w["lm_head.bias"]
    return logits[1:-1] if special else logits


def sequences() -> list[Tensor]:
    """Tokens of some sequences, a third of them masked; the last one completely."""
    generator = torch.Generator().manual_seed(3)
    found = [torch.randint(4, 29, (length,), generator=generator) for length in (9, 5, 1, 12)]
    for tokens in found:
        tokens[::3] = 32
    return [*found, torch.full((7,), 32)]


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("special", [True, False])
def test_the_logits_are_those_of_an_independent_forward_pass(special: bool, dropout: bool) -> None:
    network = awake(special_tokens=special, token_dropout=dropout)
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    given = sequences() if special else sequences()[:2]  # all masked without ends: 0 divided by 0 in the equations
    longest = max(map(len, given))
    tokens = torch.stack([torch.cat([row, row.new_full((longest - len(row),), 7)]) for row in given])
    mask = torch.stack([torch.arange(longest) < len(row) for row in given])
    with torch.no_grad():
        found = network(tokens, torch.ones(len(given)), mask)
    for row, logits in zip(given, found, strict=True):
        expected = by_hand(weights, row.numpy(), special=special, dropout=dropout)
        assert np.abs(logits[: len(row)].numpy() - expected[:, :32]).max() < 1e-5


def test_a_sequence_that_is_all_mask_has_finite_logits_without_ends() -> None:
    network = awake(special_tokens=False)
    assert bool(network(torch.full((1, 5), 32), torch.ones(1), None).isfinite().all())


def test_the_hidden_states_lead_to_the_logits() -> None:
    network = awake()
    tokens, sigma = sequences()[0][None], torch.ones(1)
    with torch.no_grad():
        *earlier, last = network.hidden_states(tokens, sigma)
        logits = network.lm_head(last, network.esm["embeddings"]["word_embeddings"].weight)
        assert torch.equal(logits[..., :32], network(tokens, sigma))
    assert [tuple(state.shape) for state in (*earlier, last)] == [(1, 9, 16)] * 3


def test_dropout_changes_training_and_nothing_else() -> None:
    network, tokens = awake(dropout=0.5), sequences()[0][None]
    plain = awake()(tokens, torch.ones(1))
    assert torch.equal(network(tokens, torch.ones(1)), plain)
    assert not torch.equal(network.train()(tokens, torch.ones(1)), plain)


# Runs --------------------------------------------------------------------------------------------------------------


def test_sedd_finds_the_plugin_through_its_entry_point() -> None:
    assert registry().of("model")["esm"] is Esm


def test_a_run_trains_resumes_samples_and_is_loaded(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = ("".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), size)) for size in random.integers(8, 24, 60))
    (tmp_path / "some.fasta").write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(texts)))
    data = {"alphabet": "esm", "train": str(tmp_path / "some.fasta"), "cache": str(tmp_path / "cache"), "holdout": 0.2}
    config, run = sedd.Config(**RUN, data=data), tmp_path / "run"
    sedd.Trainer(config, run=run).fit(until=2, progress=False)
    trainer = sedd.Trainer(config, run=run, resume=True)
    trainer.fit(progress=False)
    straight = sedd.Trainer(config)
    for _ in straight.steps():
        pass
    resumed = trainer.network.state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.network.state_dict().items())
    model = sedd.load(run, which="latest", device="cpu")
    samples = model.sample(4, length=10, steps=4, seed=2)
    assert samples == trainer.model.sample(4, length=10, steps=4, seed=2)
    assert set("".join(samples)) <= set("ACDEFGHIKLMNPQRSTVWY")
    assert model.nelbo(["MKVLAAGIV"]).nats > 0
    record = json.loads((run / "environment.json").read_text())
    assert record["model.esm"].startswith("sedd-network-esm ")


def test_an_alphabet_without_ends_is_refused_with_the_way_out() -> None:
    with pytest.raises(sedd.ConfigError) as caught:
        Esm.model_validate(SMALL).build(21, 20)
    assert caught.value.keys == ("model.special_tokens",)
    assert Esm.model_validate({**SMALL, "special_tokens": False}).build(21, 20)(
        torch.zeros(1, 3).long(), None
    ).shape == (1, 3, 20)
