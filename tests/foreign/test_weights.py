"""Weights of other programs: their numbers, every tensor accounted for, and nothing written where one is not."""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import sedd
from sedd.errors import CheckpointError, ConfigError
from sedd.foreign.weights.importing import import_weights
from sedd.foreign.weights.source import open_source
from sedd.runs import checkpoint
from sedd.runs.directory import RunDirectory
from tests.cli.commands import failed, sedd_
from tests.foreign.published import N, mdlm_hub, network, run_configuration, sedd_hub, sedd_run

ORIGINAL = Path(__file__).resolve().parents[3] / "shared" / "foreign" / "weights"


class Code:
    """Its pickle would run code."""

    def __reduce__(self):
        return print, ("the pickle has run code",)


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


def rewrite(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


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


# What is refused ---------------------------------------------------------------------------------------------------


def tensors_with(change) -> dict[str, torch.Tensor]:
    tensors = dict(network().state_dict())
    change(tensors)
    return tensors


NAME = "blocks.1.attn_out.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: tensors.pop(NAME), NAME),
        (lambda tensors: tensors.update(extra=torch.zeros(3)), "extra"),
        (lambda tensors: tensors.update({NAME: torch.zeros(16, 8)}), NAME),
        (lambda tensors: tensors.update({NAME: torch.zeros(16, 16, dtype=torch.int64)}), NAME),
        (lambda tensors: tensors.update({NAME: torch.full((16, 16), math.nan)}), NAME),
        (lambda tensors: tensors.update({NAME: torch.eye(16).to_sparse()}), NAME),
        (lambda tensors: tensors.update({NAME: "text"}), NAME),
        (lambda tensors: tensors.update({NAME: Code()}), "print"),
        (lambda tensors: tensors.update({"vocab_embed.embedding": torch.zeros(20, 16)}), "vocab_embed.embedding"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_written(change, named, tmp_path, monkeypatch, capsys):
    hub = sedd_hub(tmp_path / "hub", tensors_with(change))
    printed = failed(monkeypatch, capsys, "import", "weights", hub, "--run", tmp_path / "run")
    assert named in printed.replace("\n", "")
    assert "has run code" not in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_file_is_one_message(keep, safe, tmp_path, monkeypatch, capsys):
    hub = sedd_hub(tmp_path / "hub", network().state_dict(), safe=safe)
    file = hub / ("model.safetensors" if safe else "pytorch_model.bin")
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    printed = failed(monkeypatch, capsys, "import", "weights", hub, "--run", tmp_path / "run")
    assert file.name in printed.replace("\n", "")
    assert "weights_only" not in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", "LFS"),
        (b"<html>not found</html>", ""),
        (pickle.dumps({"a": Code()}), ""),
        (pickle.dumps({"a": Code()}, protocol=2), ""),
    ],
)
def test_what_is_no_file_of_tensors_is_one_message(content, said, name, tmp_path, monkeypatch, capsys):
    hub = sedd_hub(tmp_path / "hub", network().state_dict(), safe=name == "model.safetensors")
    (hub / name).write_bytes(content)
    printed = failed(monkeypatch, capsys, "import", "weights", hub, "--run", tmp_path / "run")
    assert name in printed.replace("\n", "")
    assert said in printed
    assert re.findall(r"weights_only|has run code|warning", printed.lower()) == []
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("ema"),
        lambda content: content["ema"].pop("shadow_params"),
        lambda content: content["ema"]["shadow_params"].pop(),
        lambda content: content["ema"]["shadow_params"].reverse(),
        lambda content: content.pop("model"),
        lambda content: content.update(step=-1),
        lambda content: content.update(model=[1]),
        lambda content: content.update(more=Code()),
    ],
)
def test_a_checkpoint_of_a_training_directory_that_does_not_fit_is_refused(change, tmp_path):
    folder = sedd_run(tmp_path / "theirs", network(), network())
    file = folder / "checkpoints-meta/checkpoint.pth"
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    with pytest.raises(CheckpointError) as caught:
        import_weights(folder, tmp_path / "run")
    assert caught.value.file == file
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tokens": "20"}, "tokens"),
        ({"tokens": 21}, "vocab_embed.embedding"),
        ({"graph": {"type": "tree"}}, "graph.type"),
        ({"noise": {"type": "loglinear", "eps": 2.0}}, "noise.eps"),
        ({"noise": {"type": "geometric", "sigma_max": 20}}, "noise.sigma_min"),
        ({"noise": {"type": "other"}}, "noise.type"),
        ({"model": {"hidden_size": 16}}, "model.cond_dim"),
    ],
)
def test_a_key_of_the_configuration_that_does_not_fit_is_named(changes, key, tmp_path):
    hub = sedd_hub(tmp_path / "hub", network().state_dict())
    rewrite(hub / "config.json", **changes)
    with pytest.raises(CheckpointError, match=key):
        import_weights(hub, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_path_without_a_known_layout_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"model_type": "bert"}')
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other/model.safetensors")
    for path in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "other"):
        with pytest.raises(CheckpointError):
            open_source(path)
    for text in ("[1]", "{", "\xff"):
        (tmp_path / "other/config.json").write_text(text, encoding="latin-1")
        with pytest.raises(CheckpointError):
            open_source(tmp_path / "other")


def test_options_that_do_not_fit_are_refused(tmp_path):
    hub, run = sedd_hub(tmp_path / "hub", network().state_dict()), tmp_path / "run"
    for options in ({"weights": "raw"}, {"weights": "other"}, {"alphabet": "esm"}, {"alphabet": "other"}):
        with pytest.raises(ConfigError):
            import_weights(hub, run, **options)
    assert not run.exists()
    import_weights(hub, run)
    with pytest.raises(CheckpointError):  # the run is there already
        import_weights(hub, run)
    with pytest.raises(CheckpointError):  # and is one of sedd
        import_weights(run, tmp_path / "again")
