"""Damage of every kind to every file of a checkpoint, a run and a token store: found, and fallen back from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from sedd.data.store import TokenStore
from sedd.runs import checkpoint
from tests.data.test_store import write as write_store
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import STEPS, configuration, error_of, fresh, train, warnings_of, weights_digest

Damage = Callable[[bytes, Random], bytes]


def _flip(data: bytes, random: Random) -> bytes:
    return flipped(data, random.randrange(8 * len(data)))


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _overwrite(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ random.randrange(1, 256)]) + data[at + 1 :]


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _extend(data: bytes, random: Random) -> bytes:
    return data + random.randbytes(random.randrange(1, 600))


def _remove_a_part(data: bytes, random: Random) -> bytes:
    begin = random.randrange(len(data))
    return data[:begin] + data[begin + random.randrange(1, 600) :]


def _zero_a_sector(data: bytes, random: Random) -> bytes:
    begin = 512 * random.randrange(len(data) // 512 + 1)
    return data[:begin] + bytes(len(data[begin : begin + 512])) + data[begin + 512 :]


def _zero(data: bytes, random: Random) -> bytes:
    return bytes(len(data))


def _random(data: bytes, random: Random) -> bytes:
    return random.randbytes(len(data))


def _empty(data: bytes, random: Random) -> bytes:
    return b""


DAMAGES: dict[str, Damage] = {
    "a flipped bit": _flip,
    "another byte": _overwrite,
    "truncated": _truncate,
    "extended": _extend,
    "a part removed": _remove_a_part,
    "a sector of zeros": _zero_a_sector,
    "zeros": _zero,
    "random bytes": _random,
    "empty": _empty,
}


def _delete(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / "elsewhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "deleted": _delete,
    "a directory in its place": _directory,
    "a symbolic link to itself": _loop,
    "a symbolic link to its copy": _link,
    "a pipe in its place": _pipe,
}


def corrupted_checkpoints(scale: float, seed: int, workdir: Path) -> Result:
    """Every bit of a manifest is flipped. Every file of a checkpoint is flipped, cut, extended, zeroed,
    deleted, or replaced by a directory, a link or a pipe. Each is found, and the checkpoint before is used.
    """
    random = Random(seed)
    run = train(configuration("checkpoint.keep=3"), fresh(workdir), until=4).run
    older, newest = checkpoint.listing(run.checkpoints)[-2:]
    manifest = (newest / "manifest.json").read_bytes()
    bits = sampled(range(8 * len(manifest)), scale, random)
    rounds = max(1, round(80 * scale))
    names = sorted(path.name for path in newest.iterdir())
    tally = Tally(workdir, len(bits) + len(names) * (rounds * len(DAMAGES) + len(REPLACEMENTS)) + 1)
    tally.control("an undamaged one is used", found=_used(run.checkpoints) == (newest.name, 0))
    for bit in bits:
        _damaged_file(tally, newest / "manifest.json", flipped(manifest, bit), older, f"bit {bit}")
    for name in names:
        data = (newest / name).read_bytes()
        for damage_name, damage in list(DAMAGES.items()) * rounds:
            damaged = damage(data, random)
            if damaged != data:
                _damaged_file(tally, newest / name, damaged, older, damage_name)
        for damage_name, replace in REPLACEMENTS.items():
            with tally.case(f"{name}, {damage_name}"):
                replace(newest / name)
                _check_fallen_back(newest.parent, older.name)
            _restore(newest / name, data)
    for path in checkpoint.listing(run.checkpoints):
        (path / "model.safetensors").write_bytes(b"")
    with tally.case("all damaged"):
        error = error_of(lambda: warnings_of(lambda: checkpoint.latest(run.checkpoints)))
        silent_unless(error is not None, "a run starts from scratch")
    return tally.result


def _damaged_file(tally: Tally, path: Path, damaged: bytes, older: Path, name: str) -> None:
    data = path.read_bytes()
    path.write_bytes(damaged)
    with tally.case(f"{path.name}, {name}"):
        _check_fallen_back(older.parent, older.name)
    path.write_bytes(data)


def _check_fallen_back(folder: Path, expected: str) -> None:
    name, count = _used(folder)
    silent_unless(count == 1, f"{count} warnings, and {name} is used")
    lost_unless(name == expected, f"{name} is used, expected {expected}")


def _used(folder: Path) -> tuple[str | None, int]:
    """The checkpoint that is used, and the number of warnings."""
    names: list[str] = []

    def look() -> None:
        found = checkpoint.latest(folder)
        names.append("" if found is None else found[0].name)

    count = len(warnings_of(look))
    return names[0], count


def _restore(path: Path, data: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def corrupted_runs(scale: float, seed: int, workdir: Path) -> Result:
    """The same for the other files of a run that is resumed."""
    random = Random(seed)
    config = configuration()
    expected = weights_digest(train(config, fresh(workdir, "straight")).run.path)
    half = train(config, fresh(workdir, "half"), until=STEPS // 2).run.path
    cases = [*_cases_of_runs(half, random, rounds=max(1, round(6 * scale)))]
    tally = Tally(workdir, len(cases))
    for name, harm in cases:
        run = fresh(workdir)
        shutil.copytree(half, run)
        with tally.case(name):
            harm(run)
            error = error_of(lambda r=run: warnings_of(lambda: train(config, r, resume=True)))
            lost_unless(error is not None or weights_digest(run) == expected, "the resumed run differs")
    return tally.result


def _cases_of_runs(half: Path, random: Random, *, rounds: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    for file in ("config.yaml", "environment.json", "metrics.jsonl"):
        data = (half / file).read_bytes()
        for name, damage in list(DAMAGES.items()) * rounds:
            damaged = damage(data, random)
            yield f"{file}, {name}", lambda run, f=file, d=damaged: _overwritten(run / f, d)
        for name, replace in REPLACEMENTS.items():
            yield f"{file}, {name}", lambda run, f=file, r=replace: r(run / f)
    for folder in ("checkpoints", "samples", ".lock", "metrics.jsonl.new", "config.yaml.new"):
        yield f"{folder} is a file", lambda run, f=folder: _file_in_place(run / f)
        yield f"{folder} is a link to itself", lambda run, f=folder: _loop_in_place(run / f)


def _overwritten(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _file_in_place(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_bytes(b"something")


def _loop_in_place(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.symlink_to(path.name)


def corrupted_stores(scale: float, seed: int, workdir: Path) -> Result:
    """The same for a token store, which `sedd data verify` finds."""
    random = Random(seed)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    sequences = ["".join(random.choices(letters, k=random.randrange(2, 40))) for _ in range(30)]
    store = fresh(workdir, "store")
    write_store(store, sequences)
    cases = sampled([(name, damage) for name in DAMAGES for damage in range(100)], scale, random)
    tally = Tally(workdir, 2 * len(cases))
    for file in ("tokens.bin", "offsets.npy"):
        data = (store / file).read_bytes()
        for name, _ in cases:
            damaged = DAMAGES[name](data, random)
            if damaged == data:
                continue
            (store / file).write_bytes(damaged)
            with tally.case(f"{file}, {name}"):
                found = error_of(lambda: TokenStore.open(store, verify=True))
                silent_unless(found is not None, "the damage is not found")
        (store / file).write_bytes(data)
    tally.control("an undamaged one is opened", found=error_of(lambda: TokenStore.open(store, verify=True)) is None)
    return tally.result
