"""Weights of other programs that do not fit: one message that names what is wrong, and nothing written."""

from __future__ import annotations

import math
import pickle
import re

import pytest
import safetensors.torch
import torch

from sedd.errors import CheckpointError, ConfigError
from sedd.foreign.weights.importing import import_weights
from sedd.foreign.weights.source import open_source
from tests.cli.commands import failed
from tests.foreign.published import Code, network, rewrite, sedd_hub, sedd_run


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
