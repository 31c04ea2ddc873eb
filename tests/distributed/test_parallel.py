"""Several processes train what one would: the same curve, checkpoints for any number, decisions made together."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sedd
from sedd.data.micro_batches import micro_batches
from sedd.data.order import GlobalBatch
from sedd.distributed.group import Place, World, at_place, check_devices
from sedd.plugins.backends import Cuda
from sedd.runs import checkpoint
from sedd.training.compiling import missing_compiler
from tests.conftest import TINY
from tests.processes import environment, sedd_command, torchrun, train, train_here

MISSING = missing_compiler(torch.device("cpu"))
PLAIN = ("model.dropout=0.1", "model.n_blocks=2", "optim.grad_clip=100")
FEW = (*PLAIN, "training.batch_size=2", "training.accum=2")
"""Four sequences in a step: three processes need stand-ins."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Everything that was trained, by file and name."""
    found = checkpoint.latest(run / "checkpoints")
    assert found is not None
    return {f"{group}/{name}": t for group, tensors in found[1].tensors.items() for name, t in tensors.items()}


class PaddingMask(NamedTuple):
    """A run, and what each of its processes saw."""

    run: Path
    by_rank: list[dict[str, Any]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> PaddingMask:
    """One process with as many micro-batches as two have together."""
    run = tmp_path_factory.mktemp("alone") / "run"
    return PaddingMask(run, train_here(run, *PLAIN, "training.batch_size=4", "training.accum=2"))


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PaddingMask:
    """Two processes."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    recompute = f"training.activation_checkpointing={'true' if request.param == 'fsdp2' else 'false'}"
    return PaddingMask(run, train(run, *PLAIN, f"distributed.strategy={request.param}", recompute, count=2))


def test_two_processes_train_what_one_does(alone, pair, request):
    first, second = pair.by_rank
    one = alone.by_rank[0]
    assert first == second
    here, there = weights(alone.run), weights(pair.run)
    assert here.keys() == there.keys()
    if "ddp" in request.node.name:
        assert first == one
        assert all(torch.equal(here[name], there[name]) for name in here)
    else:  # kernels work on shares: the last bits are rounded in other places
        for name in ("losses", "norms", "nats", "stderr"):
            assert first.pop(name) == pytest.approx(one[name], rel=1e-6)
        assert first.items() <= one.items()
        assert all(torch.allclose(here[name], there[name], rtol=1e-5, atol=1e-7) for name in here)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_share_steps_of_several_lengths(strategy, tmp_path):
    options = (*PLAIN, f"distributed.strategy={strategy}", "training.batch_size=32")
    first, second = train(tmp_path / "run", *options, count=2)
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *options))
    assert trainer.batches.window(0)[0].cuts
    losses = [report.loss for report in trainer.steps()]
    assert first["losses"] == second["losses"] == pytest.approx(losses, rel=1e-6)
    saved = weights(tmp_path / "run")
    average = trainer.ema.network.state_dict()
    assert all(torch.allclose(saved[f"ema/{name}"], value, atol=1e-6) for name, value in average.items())


@pytest.mark.skipif(MISSING is not None, reason=f"compiling needs {MISSING}")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_compiled_pair_has_the_curve_of_one_eager_process(alone, strategy, tmp_path):
    options = (*PLAIN, f"distributed.strategy={strategy}", "training.compile=on")
    # Not strict: torch's compiler warns of what it does itself.
    first, second = train(tmp_path / "run", *options, count=2, stop=3, strict=False)
    assert first["compiled"]
    assert second["compiled"]
    assert first["losses"] == second["losses"] == pytest.approx(alone.by_rank[0]["losses"][:3], rel=1e-4)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes with shares that stopped in the middle."""
    run = tmp_path_factory.mktemp("half") / "run"
    train(run, *FEW, "distributed.strategy=fsdp2", stop=4, count=2)
    return run


@pytest.fixture(scope="module")
def straight() -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and averaged weights of one process that did not stop."""
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *FEW))
    return [report.loss for report in trainer.steps()], trainer.ema.network.state_dict()


@pytest.mark.parametrize("count", [1, 3])
def test_what_two_have_saved_one_or_three_can_resume(half, straight, tmp_path, count):
    run = tmp_path / "run"
    shutil.copytree(half, run)
    assert (checkpoint.listing(run / "checkpoints")[-1] / "model-00002-of-00002.safetensors").exists()
    losses, average = straight
    resume = train_here if count == 1 else partial(train, count=count)
    for seen in resume(run, *FEW, "distributed.strategy=fsdp2", resume=True):
        assert seen["resumed"] == 4
        assert seen["losses"] == pytest.approx(losses[4:], rel=1e-5)
    saved = weights(run)
    assert all(torch.allclose(saved[f"ema/{name}"], value, atol=1e-6) for name, value in average.items())


def test_a_checkpoint_of_shares_is_loaded_like_any_other(half):
    model = sedd.load(half, device="cpu", which="latest")
    assert model.step == 4
    assert len(model.sample(2, length=5)) == 2
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *FEW), run=half, resume=True)
    for name, value in trainer.ema.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value)


def test_a_missing_share_is_damage(half, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    (path,) = checkpoint.listing(tmp_path / "run" / "checkpoints")
    (path / "ema-00002-of-00002.safetensors").unlink()
    with pytest.raises(checkpoint.DamagedError, match="ema-00002-of-00002"):
        checkpoint.read(path)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_when_one_process_has_a_gradient_that_is_not_finite_all_skip_the_step(tmp_path, strategy):
    first, second = train(tmp_path / "run", *PLAIN, f"distributed.strategy={strategy}", poison=(1, 3), count=2)
    assert first["skipped"] == second["skipped"] == [False, False, True, *[False] * 6]
    assert first["losses"][3:] == second["losses"][3:]
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path / "run").values())


def test_the_command_line_trains_in_a_group_and_speaks_once(tmp_path):
    run = tmp_path / "run"
    options = ["--run-dir", str(run), "--samples", "3", "distributed.strategy=fsdp2"]
    done = torchrun(2, *sedd_command("train", "quickstart", *TINY, *PLAIN, *options)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out bound") == 1
    assert done.stderr.count("parameters on cpu x 2 processes") == 1
    assert "Warning" not in done.stderr
    assert (run / "samples" / "step-00000008.fasta").read_text().count(">") == 3
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["data", "train", "bound", "train", "train", "bound"]


def test_an_error_of_all_processes_is_a_message_without_a_traceback(tmp_path):
    done = torchrun(2, *sedd_command("train", "quickstart", *TINY, "training.batch_size=1")[1:])
    assert done.returncode != 0
    assert "2 processes, and 1 sequences in an optimizer step: some would have nothing to do" in done.stderr
    assert "trainer.py" not in done.stderr


def test_processes_that_train_something_else_are_refused():
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY))
    mine, data = trainer.config.as_dict(), trainer.data.fingerprint
    for other, what in (((mine | {"seed": 7}, data), r"configuration \(seed\)"), ((mine, {"train": {}}), "data")):
        trainer.world = Rank(Place(0, 2), [(mine, data), other])
        with pytest.raises(sedd.errors.DistributedError, match=f"process 1 of 2 has another {what} than process 0"):
            trainer._check_group()


def test_more_processes_than_devices_are_refused():
    place = Place(rank=2, size=4, local_rank=2, local_size=4)
    with pytest.raises(sedd.DeviceError, match=r"4 processes .* 2 cuda devices; .*--nproc-per-node 2"):
        check_devices(Cuda(), place, 2)
    check_devices(Cuda(), place, 4)


def test_the_device_of_a_process_is_its_own():
    assert at_place(Cuda(), 3).device() == torch.device("cuda", 3)
    assert at_place(Cuda(precision="bfloat16"), 3).precision == "bfloat16"
    assert at_place(Cuda(), 0).device() == torch.device("cuda", 0)


@dataclass(frozen=True)
class Rank(World):
    """One process of a group that is not there."""

    place: Place
    gathered: list[Any] = field(default_factory=list)

    def all_gather_object(self, item: Any) -> list[Any]:
        return self.gathered


@given(sequences=st.integers(1, 40), accum=st.integers(1, 5), size=st.integers(1, 6), lengths=st.integers(0, 2**32 - 1))
def test_every_sequence_is_dealt_to_one_process_and_all_have_as_many_parts(sequences, accum, size, lengths):
    random = np.random.default_rng(lengths)
    residues = np.sort(random.integers(1, 30, sequences))
    cuts = tuple(np.unique(random.integers(1, sequences, random.integers(0, 4))).tolist()) if sequences > 1 else ()
    plan = GlobalBatch(np.arange(sequences) + 100, np.arange(sequences), residues, cuts)
    dealt = [micro_batches(plan, accum, rank=rank, size=size) for rank in range(size)]
    assert len({len(mine) for mine in dealt}) == 1
    assert len(dealt[0]) <= accum + len(cuts)
    real = [piece for mine in dealt for piece in mine if not piece.is_padding]
    assert all((plan.samples[piece.positions] == piece.batch.samples).all() for piece in real)
    assert sorted(int(s) for piece in real for s in piece.batch.samples) == plan.samples.tolist()
    assert all([piece.last for piece in mine] == [False] * (len(mine) - 1) + [True] for mine in dealt)
    strata = plan.parts()
    assert all(any(np.isin(piece.batch.samples, each.samples).all() for each in strata) for piece in real)
    if not cuts:
        one = micro_batches(plan, accum * size, rank=0, size=1)
        turns = [dealt[number % size][number // size].batch.samples.tolist() for number in range(len(one))]
        assert turns == [piece.batch.samples.tolist() for piece in one]
    if accum <= len(strata) and not any(len(stratum) % size for stratum in strata):
        for turn, stratum in enumerate(strata):  # all have as much of every length
            assert {len(mine[turn].batch) for mine in dealt} == {len(stratum) // size}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputing_activations_changes_nothing(dropout):
    config = sedd.load_config("quickstart", *TINY, "model.n_blocks=2", f"model.dropout={dropout}")
    plain, frugal = (
        sedd.Trainer(config.replace(training={"activation_checkpointing": switch})) for switch in (False, True)
    )
    assert [report.loss for report in plain.steps()] == [report.loss for report in frugal.steps()]
    for name, value in plain.network.state_dict().items():
        assert torch.equal(frugal.network.state_dict()[name], value)


def test_recomputing_needs_blocks():
    config = sedd.load_config("quickstart", *TINY, "training.activation_checkpointing=true")
    with pytest.raises(sedd.ConfigError, match=r"Embedding has no blocks to recompute"):
        sedd.Trainer(config, model=torch.nn.Embedding(21, 20))


ALONE_IMPORTS = """
import builtins

real, seen = builtins.__import__, set()


def spy(name, globals=None, *more, **others):
    if name.startswith("torch.distributed"):
        seen.add((globals or {}).get("__name__", ""))
    return real(name, globals, *more, **others)


builtins.__import__ = spy
import sedd
from tests.conftest import TINY

trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, "distributed.strategy=fsdp2"), run="run")
trainer.fit(progress=False)
trainer.sample(2)
assert not {name for name in seen if name.startswith("sedd")}, seen
"""


def test_one_process_imports_nothing_distributed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ALONE_IMPORTS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
