"""Weights of other programs: the numbers of the original, every layout, and what becomes of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import sedd
from sedd.foreign.weights.importing import import_weights
from sedd.foreign.weights.source import open_source
from sedd.runs import checkpoint
from sedd.runs.directory import RunDirectory
from tests.cli.commands import failed, sedd_
from tests.foreign.published import N, mdlm_hub, network, rewrite, run_configuration, sedd_hub, sedd_run

ORIGINAL = Path(__file__).resolve().parents[3] / "shared" / "foreign" / "weights"


def loaded(path: Path, run: Path, **options: str) -> sedd.Pretrained:
    import_weights(path, run, **options)
    return sedd.load(run, device="cpu")


def same(model: sedd.Pretrained, expected: torch.nn.Module) -> bool:
    tensors = expected.state_dict()
    own = model.network.state_dict()
    return own.keys() == tensors.keys() and all(torch.equal(own[name], tensors[name]) for name in tensors)


# Numbers of the original -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "expected", "options"),
    [
        ("sedd_hub", "expected", {}),
        ("sedd_uniform_hub", "expected", {}),
        ("sedd_run", "expected_raw", {"weights": "raw"}),
        ("sedd_run", "expected_ema", {"weights": "ema"}),
        ("sedd_run", "expected_ema", {}),
        ("mdlm_hub", "expected", {}),
    ],
)
def test_the_numbers_are_those_of_the_original_code(folder, expected, options, tmp_path):
    if not ORIGINAL.is_dir():
        pytest.skip("the checkpoints of the original code are not beside this checkout (../shared/foreign/weights)")
    model = loaded(ORIGINAL / folder, tmp_path / "run", **options)
    known = np.load(ORIGINAL / folder / f"{expected}.npz")
    tokens, sigma = torch.from_numpy(known["tokens"]), torch.from_numpy(known["sigma"])
    with torch.no_grad():
        output = model.network(tokens, sigma)
        score = model.process.log_score(output, tokens, sigma)
    if "log_p" in known:
        assert np.abs(torch.log_softmax(output, -1).numpy() - known["log_p"]).max() < 1e-5
        return
    own = torch.zeros(*tokens.shape, known["output"].shape[-1])
    own[..., : model.alphabet.n] = score
    if own.shape[-1] > model.alphabet.n:  # the output for MASK, which is no score and which sedd does not use
        scale = torch.log(torch.expm1(sigma.double())).float()[:, None] + math.log(model.alphabet.n)
        own[..., -1] = output[..., -1] - scale
    own.scatter_(-1, tokens[..., None], 0.0)
    assert np.abs(own.numpy() - known["output"]).max() < 1e-5


# Layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("safe", [False, True])
def test_a_hub_folder_of_sedd_is_a_run(graph, safe, tmp_path):
    made = network(graph)
    noise = "loglinear" if graph == "absorb" else "geometric"
    model = loaded(sedd_hub(tmp_path / "hub", made.state_dict(), safe=safe, graph=graph, noise=noise), tmp_path / "run")
    assert same(model, made)
    assert (model.config.graph.type, model.config.noise.type, model.config.model.head) == (graph, noise, "score")
    assert model.config.noise.sigma_max == pytest.approx(-math.log(1e-3) if graph == "absorb" else 20.0)
    assert model.alphabet == sedd.data.ids_alphabet(N)
    assert len(model.sample(1, length=5, steps=2)[0].split()) == 5


def test_a_training_directory_has_averaged_and_raw_weights(tmp_path):
    raw, averaged = network(seed=1), network(seed=2)
    folder = sedd_run(tmp_path / "theirs", raw, averaged)
    assert same(loaded(folder, tmp_path / "a"), averaged)
    assert same(loaded(folder, tmp_path / "b", weights="raw"), raw)
    found = loaded(folder / "checkpoints-meta" / "checkpoint.pth", tmp_path / "c", weights="raw", alphabet="protein")
    assert (found.step, found.alphabet.name) == (700, "protein")


def test_pls_counts_micro_batches_and_names_its_blocks(tmp_path):
    configuration = run_configuration()
    model = {name: value for name, value in configuration["model"].items() if name != "n_blocks"} | {"n_blocks_prot": 2}
    noise = {"type": "loglinear", "eps": 0.02, "sigma_min": 0.01, "sigma_max": 0.95}
    folder = sedd_run(tmp_path / "theirs", network(), network(), model=model, curriculum={"enabled": True})
    rewrite(folder / ".hydra/config.yaml", noise=noise)
    found = loaded(folder, tmp_path / "run")
    assert (found.step, found.config.model.n_blocks) == (350, 2)
    assert found.config.noise.sigma_max == pytest.approx(-math.log(0.02))


def test_the_newest_of_numbered_checkpoints_is_taken(tmp_path):
    folder = sedd_run(tmp_path / "theirs", network(), network())
    (folder / "checkpoints").mkdir()
    for number in (9, 10):
        torch.save(
            {"model": network(seed=number).state_dict(), "step": number},
            folder / f"checkpoints/checkpoint_{number}.pth",
        )
    (folder / "checkpoints-meta/checkpoint.pth").unlink()
    assert open_source(folder, "raw").step == 10


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_the_prefixes_of_wrappers_are_removed(prefix, tmp_path):
    made = network()
    tensors = {prefix + name: tensor for name, tensor in made.state_dict().items()}
    assert same(loaded(sedd_hub(tmp_path / "hub", tensors), tmp_path / "run"), made)


def test_mdlm_is_the_normalised_head_without_time_and_without_the_row_of_mask(tmp_path):
    made = network(head="normalised")
    imported = import_weights(mdlm_hub(tmp_path / "hub", made), tmp_path / "run")
    assert len(imported.remarks) == 1
    model = sedd.load(tmp_path / "run", device="cpu")
    assert same(model, made)
    assert (model.config.model.head, model.config.model.time_conditioning) == ("normalised", False)


def test_half_precision_is_converted_and_said(tmp_path):
    tensors = {name: tensor.bfloat16() for name, tensor in network().state_dict().items()}
    imported = import_weights(sedd_hub(tmp_path / "hub", tensors), tmp_path / "run")
    assert "bfloat16" in imported.remarks[0]
    assert sedd.load(tmp_path / "run", device="cpu").network.vocab_embed.embedding.dtype == torch.float32


def test_a_file_of_an_old_torch_is_read(tmp_path):
    made = network()
    hub = sedd_hub(tmp_path / "hub", made.state_dict())
    torch.save(made.state_dict(), hub / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert same(loaded(hub, tmp_path / "run"), made)


def test_links_are_followed_as_in_the_cache_of_the_hub(tmp_path):
    made = network()
    hub = sedd_hub(tmp_path / "hub", made.state_dict(), safe=True)
    for number, name in enumerate(("config.json", "model.safetensors")):
        (hub / name).rename(tmp_path / f"blob{number}")
        (hub / name).symlink_to(tmp_path / f"blob{number}")
    assert same(loaded(hub, tmp_path / "run"), made)


# What becomes of a run ---------------------------------------------------------------------------------------------


def test_an_imported_run_evaluates_samples_fills_in_and_scores_variants(tmp_path, monkeypatch, capsys):
    hub, run = sedd_hub(tmp_path / "hub", network().state_dict()), tmp_path / "run"
    printed = sedd_("import", "weights", hub, "--run", run, "--alphabet", "protein")
    (tmp_path / "some.fasta").write_text(">a\nMKVLAAGIVG\n>b\nMKKLLPTAAA\n")
    found = json.loads(sedd_("evaluate", run, tmp_path / "some.fasta", "--device", "cpu", "--json"))
    assert (found["sequences"], found["residues"], found["input"]["in_training"]) == (2, 20, None)
    assert sedd_("sample", run, "-n", "2", "--steps", "2", "--device", "cpu").count(" length=12 ") == 2
    assert sedd.load(run, device="cpu").infill(["MK_LAA"], steps=2)[0].startswith("MK")
    (tmp_path / "wild.fasta").write_text(">w\nMKVLAAGIVG\n")
    (tmp_path / "mutations.csv").write_text("A5G\n")
    scored = sedd_("score-variants", run, tmp_path / "wild.fasta", tmp_path / "mutations.csv", "--masks", "2")
    assert "A5G" in scored
    origin = checkpoint.read(run / "checkpoints" / "step-00000000").state["imported"]
    assert origin["file"] == str(hub / "pytorch_model.bin")
    assert origin["sha256"] in printed
    assert RunDirectory(run).environment()["imported_sha256"] == origin["sha256"]
    assert "imported" in failed(monkeypatch, capsys, "evaluate", run)


def test_a_vocabulary_without_letters_is_sampled_and_evaluated_as_numbers(tmp_path):
    hub, run = sedd_hub(tmp_path / "hub", network(n=50_257).state_dict(), n=50_257), tmp_path / "run"
    sedd_("import", "weights", hub, "--run", run)
    sedd_("sample", run, "-n", "2", "--steps", "2", "--length", "6", "--out", tmp_path / "out.txt", "--device", "cpu")
    found = json.loads(sedd_("evaluate", run, tmp_path / "out.txt", "--device", "cpu", "--json", "--no-controls"))
    assert (found["sequences"], found["residues"]) == (2, 12)


def test_training_does_not_go_on_from_imported_weights(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    import_weights(sedd_hub(tmp_path / "hub", network().state_dict()), run, alphabet="protein")
    (tmp_path / "some.fasta").write_text("".join(f">s{i}\nMKVLAAGIVG{'ACDEFGHIKL'[i]}\n" for i in range(10)))
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    data = (f"data.train={tmp_path / 'some.fasta'}",)
    assert "imported" in failed(monkeypatch, capsys, "train", "--resume", "--run", run, *data)
    assert before == {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
