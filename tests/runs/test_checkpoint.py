"""Checkpoints are written atomically; damage is detected and named, and the checkpoint before is used."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from sedd.errors import CheckpointError, SeddWarning
from sedd.files import json_bytes
from sedd.runs import checkpoint, manifest
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
    name = data.draw(st.sampled_from(sorted(file.name for file in path.iterdir())))
    content = bytearray((path / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << (bit % 8)
    (path / name).write_bytes(bytes(content))
    with pytest.raises(checkpoint.DamagedError) as caught:
        checkpoint.read(path)
    assert caught.value.file == path / name


def test_a_checkpoint_from_before_manifests_had_a_hash_of_themselves_is_read(tmp_path):
    path = checkpoint.write(tmp_path, 1, example())
    content = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(json_bytes({key: content[key] for key in ("format", "step", "files")}))
    assert checkpoint.read(path).run is None


def test_a_flipped_bit_anywhere_in_a_manifest_is_found(tmp_path):
    path = checkpoint.write(tmp_path, 1, example())
    manifest = path / "manifest.json"
    written = manifest.read_bytes()
    for bit in range(0, 8 * len(written), 7):  # every byte, and each bit of a byte
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << (bit % 8)
        manifest.write_bytes(flipped)
        with pytest.raises(checkpoint.DamagedError):
            checkpoint.read(path)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _replace_by_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")).name)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARMS = [_truncate, os.remove, _replace_by_directory, _replace_by_loop, _replace_by_link, _replace_by_pipe]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
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


def _file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def _loop(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.name)


@pytest.mark.parametrize("harm", [_file, _loop])
def test_what_lies_in_place_of_a_checkpoint_is_damaged(tmp_path, harm):
    checkpoint.write(tmp_path, 1, example())
    harm(checkpoint.write(tmp_path, 2, example()))
    with pytest.warns(SeddWarning):
        found = checkpoint.latest(tmp_path, set_aside=True)
    assert found is not None
    assert found[0].name == "step-00000001"
    assert os.path.lexists(tmp_path / "damaged-step-00000002")
    checkpoint.write(tmp_path, 2, example())


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_an_unreadable_checkpoint_is_damaged(tmp_path, monkeypatch, code):
    checkpoint.write(tmp_path, 1, example())
    broken = checkpoint.write(tmp_path, 2, example())
    monkeypatch.setattr(os, "open", failing_open(broken, code))
    with pytest.warns(SeddWarning):
        found = checkpoint.latest(tmp_path, set_aside=True)
    assert found is not None
    assert found[0].name == "step-00000001"


@pytest.mark.parametrize("code", manifest.EXHAUSTED)
def test_a_checkpoint_is_not_damaged_because_the_process_has_no_file_handles_or_memory(tmp_path, monkeypatch, code):
    path = checkpoint.write(tmp_path, 1, example())
    monkeypatch.setattr(os, "open", failing_open(path, code))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(tmp_path, set_aside=True)
    assert not isinstance(caught.value, checkpoint.DamagedError)
    assert path.is_dir()


def failing_open(folder: Path, code: int) -> Callable[..., int]:
    """`os.open` that fails for the files of a folder."""
    opened = os.open

    def fails(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).parent == folder:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, *arguments, **options)

    return fails


@pytest.mark.parametrize("harm", [_file, _loop])
def test_unreadable_checkpoints_are_not_no_checkpoints(tmp_path, harm):
    folder = tmp_path / "checkpoints"
    checkpoint.write(folder, 1, example())
    harm(folder)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest(folder, set_aside=True)
    assert caught.value.file == folder


FORGED = {
    "no state": {"state.json": None},
    "a state that is a list": {"state.json": b"[]"},
    "deep nesting": {"config.json": b"[" * 100_000},
    "no tensors": {"model.safetensors": b"not tensors"},
    "a header that claims more": {"model.safetensors": (2**60).to_bytes(8, "little")},
    "shards that do not fit": {
        "model-00001-of-00002.safetensors": safetensors.torch.save({"w": torch.zeros(2, 2)}),
        "model-00002-of-00002.safetensors": safetensors.torch.save({"w": torch.zeros(2, 3)}),
    },
    "a name outside": {"../secret": b""},
    "a name that no file has": {"nul\0": b""},
}


@pytest.mark.parametrize("files", FORGED.values(), ids=FORGED)
def test_a_forged_checkpoint_with_right_hashes_is_damaged(tmp_path, files):
    checkpoint.write(tmp_path, 1, example())
    path = checkpoint.write(tmp_path, 2, example())
    content = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"} | files
    content = {name: data for name, data in content.items() if data is not None}
    for name, data in content.items():
        if name in files and "\0" not in name:
            (path / name).write_bytes(data)
    forged = manifest.Manifest(2, {name: manifest.Entry.of(data) for name, data in content.items()})
    (path / "manifest.json").write_bytes(forged.to_bytes())
    with pytest.warns(SeddWarning):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[0].name == "step-00000001"


def test_checkpoints_are_sorted_by_their_step(tmp_path):
    for step in (99_999_999, 100_000_000, 7):
        checkpoint.write(tmp_path, step, example())
    assert [checkpoint.step_of(path) for path in checkpoint.listing(tmp_path)] == [7, 99_999_999, 100_000_000]


def test_what_killed_processes_left_is_removed(tmp_path):
    checkpoint.write(tmp_path, 1, example())
    for name in (".step-00000002.tmp", ".step-00000001.old", ".step-00000003.trash"):
        (tmp_path / name).mkdir()
    (tmp_path / ".step-00000004.old").write_bytes(b"")
    (tmp_path / "step-00000004").write_bytes(b"")
    checkpoint.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000004"]


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
            assert not list(tmp_path.glob(".step-*.tmp"))  # a full disk has its space back
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


def test_forgetting_what_comes_after_a_step_keeps_its_own_checkpoint(tmp_path):
    for step in (1, 2, 3, 10):
        checkpoint.write(tmp_path, step, example())
    checkpoint.forget_after(tmp_path, 2)
    assert [path.name for path in checkpoint.listing(tmp_path)] == ["step-00000001", "step-00000002"]


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
