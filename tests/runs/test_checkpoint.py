"""Checkpoints are written atomically; damage is detected and named, and the checkpoint before is used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sedd.errors import CheckpointError, SeddWarning
from sedd.runs import checkpoint
from sedd.runs.checkpoint import Checkpoint


def example(value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        tensors={"model": {"w": torch.full((3, 4), value)}, "ema": {"w": torch.zeros(2)}},
        state={"step": 3, "loss": 0.1 + 0.2},
        config={"seed": 0},
    )


def test_what_is_written_is_read_back_exactly(tmp_path):
    path = checkpoint.write(tmp_path, 12, example())
    assert path.name == "step-00000012"
    saved = checkpoint.read(path)
    assert torch.equal(saved.tensors["model"]["w"], torch.full((3, 4), 1.0))
    assert saved.state == {"step": 3, "loss": 0.1 + 0.2}
    assert saved.config == {"seed": 0}


def test_tied_weights_are_stored(tmp_path):
    shared = torch.ones(3)
    tied = Checkpoint(tensors={"model": {"a": shared, "b": shared}}, state={}, config={})
    saved = checkpoint.read(checkpoint.write(tmp_path, 1, tied))
    assert torch.equal(saved.tensors["model"]["a"], saved.tensors["model"]["b"])


@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_found_and_named(tmp_path_factory, data):
    path = checkpoint.write(tmp_path_factory.mktemp("c"), 1, example())
    manifest = json.loads((path / "manifest.json").read_text())
    name = data.draw(st.sampled_from(sorted(manifest["files"])))
    content = bytearray((path / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << (bit % 8)
    (path / name).write_bytes(bytes(content))
    with pytest.raises(checkpoint.DamagedError) as caught:
        checkpoint.read(path)
    assert caught.value.file == path / name


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("harm", [_truncate, os.remove], ids=["truncated", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "state.json", "config.json", "manifest.json"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, name, harm):
    checkpoint.write(tmp_path, 1, example(1.0))
    broken = checkpoint.write(tmp_path, 2, example(2.0))
    harm(broken / name)
    with pytest.warns(SeddWarning):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[0].name == "step-00000001"
    assert broken.is_dir()  # reading changes nothing
    with pytest.warns(SeddWarning):
        checkpoint.latest(tmp_path, set_aside=True)
    assert (tmp_path / "damaged-step-00000002").is_dir()


def test_when_every_checkpoint_is_damaged_the_run_does_not_start_from_scratch(tmp_path):
    os.remove(checkpoint.write(tmp_path, 1, example()) / "model.safetensors")
    with pytest.warns(SeddWarning), pytest.raises(CheckpointError) as caught:
        checkpoint.latest(tmp_path, set_aside=True)
    assert caught.value.file == tmp_path
    with pytest.raises(CheckpointError):  # also later, when it was set aside before
        checkpoint.latest(tmp_path, set_aside=True)
    assert (tmp_path / "damaged-step-00000001").is_dir()


def test_a_kill_while_one_of_the_same_step_is_replaced_loses_nothing(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, 1, example(1.0))
    rename = Path.rename

    def dies_at_the_second(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path, 1, example(2.0))
    monkeypatch.undo()
    found = checkpoint.latest(tmp_path, set_aside=True)
    assert found is not None
    assert torch.equal(found[1].tensors["model"]["w"], torch.full((3, 4), 1.0))


def test_without_an_intact_checkpoint_there_is_none(tmp_path):
    assert checkpoint.latest(tmp_path) is None


def test_a_crash_while_writing_leaves_the_old_checkpoints_and_nothing_incomplete(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, 1, example())
    for dying in range(1, 8):  # die at the nth file that is made durable
        calls = 0

        def fsync(handle: int, dying: int = dying) -> None:
            nonlocal calls
            calls += 1
            if calls == dying:
                raise OSError("power cut")

        monkeypatch.setattr(os, "fsync", fsync)
        try:
            checkpoint.write(tmp_path, 2, example())
        except OSError:
            # Only the last sync, that of the folder after the rename, may leave the new checkpoint in place.
            assert len(checkpoint.listing(tmp_path)) == 1 or calls >= 7
        monkeypatch.undo()
        found = checkpoint.latest(tmp_path)
        assert found is not None
    checkpoint.prune(tmp_path, keep=5, best=None)
    assert all(path.name.startswith("step-") for path in tmp_path.iterdir())


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in range(1, 7):
        checkpoint.write(tmp_path, step, example())
    checkpoint.prune(tmp_path, keep=2, best="step-00000002")
    assert [path.name for path in checkpoint.listing(tmp_path)] == ["step-00000002", "step-00000005", "step-00000006"]


def test_a_checkpoint_of_a_newer_format_is_an_error_and_stays_as_it_is(tmp_path):
    path = checkpoint.write(tmp_path, 1, example())
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    for use in (checkpoint.read, lambda path: checkpoint.latest(path.parent, set_aside=True)):
        with pytest.raises(CheckpointError) as caught:
            use(path)
        assert type(caught.value) is CheckpointError  # not a DamagedError
    assert path.is_dir()  # intact, and left where it is


def _linked(path: Path) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _sparse(path: Path) -> None:
    os.truncate(path, 1 << 42)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.skipif(os.name == "nt", reason="no pipes with names")
@pytest.mark.parametrize("harm", [_linked, _sparse, _pipe])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_link_a_pipe_and_a_sparse_file_are_damage(tmp_path, name, harm):
    path = checkpoint.write(tmp_path, 1, example())
    harm(path / name)
    with pytest.raises(checkpoint.DamagedError):
        checkpoint.read(path)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/b.json", "a\\b.json", "..", ""])
def test_a_manifest_that_lists_files_elsewhere_is_damage(tmp_path, name):
    path = checkpoint.write(tmp_path, 1, example())
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["state.json"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(checkpoint.DamagedError):
        checkpoint.read(path)
