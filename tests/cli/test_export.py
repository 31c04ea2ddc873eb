"""`sedd export`: the folder loads as the run does, and a damaged one is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sedd
from sedd.errors import CheckpointError
from sedd.runs.manifest import DamagedError
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY
from tests.foreign.published import network, sedd_hub


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    sedd_("train", "quickstart", *TINY, "--run", path, "--samples", "0")
    return path


def tensors(model: sedd.Pretrained) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


@pytest.mark.parametrize(("weights", "which"), [("ema", "best"), ("model", "latest")])
def test_the_folder_loads_as_the_run_does(weights, which, run, tmp_path):
    sedd_("export", run, tmp_path / "out", "--weights", weights, "--which", which)
    model, parent = (
        sedd.load(tmp_path / "out", device="cpu"),
        sedd.load(run, which=which, weights=weights, device="cpu"),
    )
    own, expected = tensors(model), tensors(parent)
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], expected[name]) for name in own)
    assert (model.step, model.alphabet, model.lengths) == (parent.step, parent.alphabet, parent.lengths)
    assert model.trained_on == parent.trained_on
    assert model.sample(2, seed=3) == parent.sample(2, seed=3)
    lineage = json.loads((tmp_path / "out" / "config.json").read_text())["lineage"]
    assert lineage["run"] == json.loads((run / "environment.json").read_text())["run"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model.head=score", "graph.type=uniform"),
        ("model.time_conditioning=false",),
        ("model.qk_norm=true", "optim.optimizer=Muon", "optim.lr=0.05"),
    ],
)
def test_the_card_loads_the_network_with_torch_and_safetensors_alone(overrides, tmp_path):
    sedd_("train", "quickstart", *TINY, *overrides, "model.n_blocks=2", "--run", tmp_path / "run", "--samples", "0")
    sedd_("export", tmp_path / "run", tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("```python\n")[2].split("```")[0]
    assert len(code.splitlines()) <= 10
    (tmp_path / "out" / "check.py").write_text(
        "import sys\nsys.modules['sedd'] = None\n" + code + "torch.manual_seed(0)\n"
        "x, mask = torch.randint(0, len(symbols), (3, 20)), torch.ones(3, 20, dtype=torch.bool)\n"
        "mask[1, 15:] = False\n"
        "torch.save(network.load('.')(x, torch.tensor([0.1, 1.0, 5.0]), mask), 'found.pt')\n"
    )
    subprocess.run([sys.executable, "check.py"], cwd=tmp_path / "out", check=True, capture_output=True)
    model, mask = sedd.load(tmp_path / "run", device="cpu"), torch.ones(3, 20, dtype=torch.bool)
    mask[1, 15:] = False
    torch.manual_seed(0)
    x = torch.randint(0, model.alphabet.n, (3, 20))
    expected = model.network(x, torch.tensor([0.1, 1.0, 5.0]), mask)
    difference = (torch.load(tmp_path / "out" / "found.pt", weights_only=True) - expected)[mask]
    assert float(difference.abs().max()) < 1e-5
    assert float(expected.abs().max()) > 1e-3


def test_the_card_has_the_bound_the_data_and_the_lineage(run, tmp_path):
    sedd_("export", run, tmp_path / "my-model")
    card = (tmp_path / "my-model" / "README.md").read_text()
    step = sedd.load(run, device="cpu").step
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    bound = next(line["bound_nats"] for line in lines if line["kind"] == "bound" and line["step"] == step)
    assert f"{bound:.4f} ±" in card
    assert "200 sequences" in card
    assert 'sedd.load("my-model")' in card
    sedd_("export", run, tmp_path / "raw", "--weights", "model")
    assert "Not measured" in (tmp_path / "raw" / "README.md").read_text()


def test_the_folder_serves_the_commands_in_place_of_a_run(run, tmp_path):
    sedd_("export", run, tmp_path / "out")
    (tmp_path / "some.fasta").write_text(">a\nMKVLAAGIVG\n>b\nMKKLLPTAAA\n")
    found = json.loads(sedd_("evaluate", tmp_path / "out", tmp_path / "some.fasta", "--device", "cpu", "--json"))
    assert found["sequences"] == 2
    assert sedd_("sample", tmp_path / "out", "-n", "2", "--device", "cpu").count(">") == 2


def test_imported_weights_are_exported_with_their_source(tmp_path):
    sedd_("import", "weights", sedd_hub(tmp_path / "hub", network().state_dict()), "--run", tmp_path / "run")
    sedd_("export", tmp_path / "run", tmp_path / "out")
    model = sedd.load(tmp_path / "out", device="cpu")
    assert torch.equal(model.network.vocab_embed.embedding, network().vocab_embed.embedding)
    lineage = json.loads((tmp_path / "out" / "config.json").read_text())["lineage"]
    assert lineage["imported_from"] == "pytorch_model.bin"
    assert len(lineage["imported_sha256"]) == 64


def test_paths_of_data_are_not_exported(tmp_path):
    (tmp_path / "secret").mkdir()
    data = tmp_path / "secret" / "mine.fasta"
    data.write_text(
        "".join(f">s{i}\nMKVLAAG{'ACDEFGHIKLMNPQRSTVWY'[i % 20]}{'ACDEFGHIKL'[i // 20]}\n" for i in range(200))
    )
    options = (f"data.train={data}", "data.holdout=0.3", f"data.cache={tmp_path / 'secret' / 'cache'}")
    sedd_("train", "quickstart", *TINY, *options, "--run", tmp_path / "run", "--samples", "0")
    sedd_("export", tmp_path / "run", tmp_path / "out")
    files = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert any(b"mine.fasta" in content for content in files)
    assert not any(b"secret" in content for content in files)


def test_nothing_is_written_over(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    failed(monkeypatch, capsys, "export", run, tmp_path / "there")
    failed(monkeypatch, capsys, "export", tmp_path / "nowhere", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "file"]
    sedd_("export", run, tmp_path / "out")
    failed(monkeypatch, capsys, "export", tmp_path / "out", tmp_path / "again")


def test_a_damaged_folder_is_refused(run, tmp_path):
    sedd_("export", run, tmp_path / "good")
    about = json.loads((tmp_path / "good" / "config.json").read_text())

    def damaged(name: str, content: bytes) -> Path:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        (tmp_path / "bad" / name).write_bytes(content)
        return tmp_path / "bad"

    weights = bytearray((tmp_path / "good" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    for name, content in (
        ("model.safetensors", bytes(weights)),
        ("model.safetensors", b""),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", json.dumps({key: about[key] for key in about if key != "config"}).encode()),
        ("alphabet.json", b"null"),
    ):
        with pytest.raises(DamagedError):
            sedd.load(damaged(name, content), device="cpu")
    for change in ({"library": "other"}, {"format": 99}):
        with pytest.raises(CheckpointError):
            sedd.load(damaged("config.json", json.dumps(about | change).encode()), device="cpu")
