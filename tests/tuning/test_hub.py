"""Models on the Hugging Face Hub, from its cache alone: no test uses the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import sedd
from sedd.errors import CheckpointError, SeddError
from sedd.runs import hub
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    sedd.Trainer(sedd.load_config("quickstart", *TINY), run=tmp_path / "run").fit(progress=False)
    sedd_("export", tmp_path / "run", tmp_path / "out")
    return tmp_path / "out"


class Hub:
    """In place of huggingface_hub: one repository, and what was uploaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uploaded = folder, []

    def snapshot_download(self, name: str, revision: str | None = None) -> str:
        if (name, revision) not in [("me/model", None), ("me/model", "v1")]:
            raise OSError("404 Client Error")
        return str(self.folder)

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.uploaded.append((name, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.uploaded.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


@pytest.mark.parametrize("name", ["hf://me/model", "hf://me/model@v1"])
def test_a_repository_is_loaded_and_fine_tuned_like_a_folder(exported, tmp_path, tiny, monkeypatch, name):
    monkeypatch.setattr(hub, "_hub", lambda: Hub(exported))
    assert sedd.load(name, device="cpu").step == sedd.load(exported, device="cpu").step
    assert sedd_("sample", name, "-n", "2", "--device", "cpu").count(">") == 2
    assert sedd.Trainer(tiny(f"training.init_from={name}"), run=tmp_path / "child").lineage[0].source == name


def test_a_repository_that_is_not_there_is_said(exported, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(hub, "_hub", lambda: Hub(exported))
    with pytest.raises(CheckpointError, match="me/other"):
        sedd.load("hf://me/other")
    assert "me/other" in failed(monkeypatch, capsys, "sample", "hf://me/other", "-n", "1")


def test_a_folder_is_uploaded(exported, tmp_path, monkeypatch, capsys):
    fake = Hub(exported)
    monkeypatch.setattr(hub, "_hub", lambda: fake)
    sedd_("export", tmp_path / "run", tmp_path / "again", "--push", "me/model")
    files = ["README.md", "alphabet.json", "config.json", "model.safetensors", "network.py"]
    assert fake.uploaded == [("me/model", True), ("me/model", files)]
    with pytest.raises(CheckpointError):
        hub.push(exported, "no repository")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(SeddError, match=r"\[hf\]"):
        sedd.load("hf://me/model")


def test_the_cache_of_the_hub_is_enough(exported, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra hf is not installed")
    from huggingface_hub import constants

    repository, commit = tmp_path / "hub" / "models--me--model", "a" * 40
    shutil.copytree(exported, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert sedd.load("hf://me/model", device="cpu").step == sedd.load(exported, device="cpu").step
    with pytest.raises(CheckpointError):
        sedd.load("hf://me/other")
