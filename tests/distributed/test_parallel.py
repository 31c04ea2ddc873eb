"""Several processes give the results of one process: equal losses, weights, bounds and samples."""

from __future__ import annotations

import json
import shutil
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
from sedd.runs import checkpoint
from sedd.training.compiling import missing_compiler
from tests.conftest import TINY
from tests.processes import sedd_command, torchrun, train, train_in_process
from tests.training.test_trainer import Brittle

MISSING = missing_compiler(torch.device("cpu"))
PLAIN = ("model.dropout=0.1", "model.n_blocks=2", "optim.grad_clip=100")
FEW = (*PLAIN, "training.batch_size=2", "training.accum=2")
"""Four sequences per step: three processes need micro-batches of weight 0."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of the newest checkpoint, by file and name."""
    newest = checkpoint.latest(run / "checkpoints")
    assert newest is not None
    return {f"{group}/{name}": t for group, tensors in newest[1].tensors.items() for name, t in tensors.items()}


class TrainedRun(NamedTuple):
    """A run directory, and the results of `tests.worker.train_tiny` of each rank."""

    run: Path
    by_rank: list[dict[str, Any]]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """One process with as many micro-batches as `pair` has on both ranks."""
    run = tmp_path_factory.mktemp("single") / "run"
    return TrainedRun(run, train_in_process(run, *PLAIN, "training.batch_size=4", "training.accum=2"))


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Two processes, with each strategy."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    recompute = f"training.activation_checkpointing={'true' if request.param == 'fsdp2' else 'false'}"
    return TrainedRun(run, train(run, *PLAIN, f"distributed.strategy={request.param}", recompute, count=2))


def test_two_processes_have_the_losses_and_weights_of_one(single, pair, request):
    first, second = pair.by_rank
    one = single.by_rank[0]
    assert first == second
    assert len(one["probes"]) == 2 * 2 * 64  # both networks, at both evaluations
    expected, trained = weights(single.run), weights(pair.run)
    assert expected.keys() == trained.keys()
    if "ddp" in request.node.name:
        assert first == one
        assert all(torch.equal(expected[name], trained[name]) for name in expected)
    else:  # kernels compute on shards: other rounding
        for name in ("losses", "norms", "nats", "stderr", "probes"):
            assert first.pop(name) == pytest.approx(one[name], rel=1e-6)
        assert first.items() <= one.items()
        assert all(torch.allclose(expected[name], trained[name], rtol=1e-5, atol=1e-7) for name in expected)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_on_steps_with_several_length_strata(strategy, tmp_path):
    options = (*PLAIN, f"distributed.strategy={strategy}", "training.batch_size=32")
    first, second = train(tmp_path / "run", *options, count=2)
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *options))
    assert trainer.batches.window(0)[0].cuts
    losses = [report.loss for report in trainer.steps()]
    assert first["losses"] == second["losses"] == pytest.approx(losses, rel=1e-6)
    saved = weights(tmp_path / "run")
    ema = trainer.ema.network.state_dict()
    assert all(torch.allclose(saved[f"ema/{name}"], value, atol=1e-6) for name, value in ema.items())


@pytest.mark.long
@pytest.mark.skipif(MISSING is not None, reason=f"compiling needs {MISSING}")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_compiled_processes_have_the_losses_of_one_eager_process(single, strategy, tmp_path):
    options = (*PLAIN, f"distributed.strategy={strategy}", "training.compile=on")
    # Not strict: torch's compiler raises warnings about its own code.
    first, second = train(tmp_path / "run", *options, count=2, stop=3, strict=False)
    assert first["compiled"]
    assert second["compiled"]
    assert first["losses"] == second["losses"] == pytest.approx(single.by_rank[0]["losses"][:3], rel=1e-4)


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes with sharded weights that stopped at step 4 of 8."""
    run = tmp_path_factory.mktemp("half_trained") / "run"
    train(run, *FEW, "distributed.strategy=fsdp2", stop=4, count=2)
    return run


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and EMA weights of one process that trained to the end."""
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *FEW))
    return [report.loss for report in trainer.steps()], trainer.ema.network.state_dict()


@pytest.mark.parametrize("count", [1, 3])
def test_a_checkpoint_of_two_processes_can_be_resumed_by_one_or_three(half_trained, uninterrupted, tmp_path, count):
    run = tmp_path / "run"
    shutil.copytree(half_trained, run)
    assert (checkpoint.listing(run / "checkpoints")[-1] / "model-00002-of-00002.safetensors").exists()
    losses, ema = uninterrupted
    resume = train_in_process if count == 1 else partial(train, count=count)
    for result in resume(run, *FEW, "distributed.strategy=fsdp2", resume=True):
        assert result["resumed"] == 4
        assert result["losses"] == pytest.approx(losses[4:], rel=1e-5)
    saved = weights(run)
    assert all(torch.allclose(saved[f"ema/{name}"], value, atol=1e-6) for name, value in ema.items())


def test_a_sharded_checkpoint_is_loaded_like_any_other(half_trained):
    model = sedd.load(half_trained, device="cpu", which="latest")
    assert model.step == 4
    assert len(model.sample(2, length=5)) == 2
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *FEW), run=half_trained, resume=True)
    for name, value in trainer.ema.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value)


def test_a_checkpoint_without_one_of_its_shard_files_is_damaged(half_trained, tmp_path):
    shutil.copytree(half_trained, tmp_path / "run")
    (path,) = checkpoint.listing(tmp_path / "run" / "checkpoints")
    (path / "ema-00002-of-00002.safetensors").unlink()
    with pytest.raises(checkpoint.DamagedError) as caught:
        checkpoint.read(path)
    assert caught.value.file == path / "ema-00002-of-00002.safetensors"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_non_finite_gradient_on_one_rank_makes_all_ranks_skip_the_step(tmp_path, strategy):
    first, second = train(tmp_path / "run", *PLAIN, f"distributed.strategy={strategy}", nan_at=(1, 3), count=2)
    assert first["skipped"] == second["skipped"] == [False, False, True, *[False] * 5]
    assert first["losses"][3:] == second["losses"][3:]
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path / "run").values())


@pytest.mark.long
def test_the_command_line_trains_under_torchrun_and_only_rank_0_prints(tmp_path):
    run = tmp_path / "run"
    options = ["--run-dir", str(run), "--samples", "3", "distributed.strategy=fsdp2"]
    done = torchrun(2, *sedd_command("train", "quickstart", *TINY, *PLAIN, *options)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out bound") == 1
    assert done.stderr.count("parameters on cpu x 2 processes") == 1
    assert "Warning" not in done.stderr
    assert (run / "samples" / "step-00000008.fasta").read_text().count(">") == 3
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["data", "evaluated", "train", "bound", "train", "train", "bound"]


@pytest.mark.long
def test_an_error_on_all_ranks_is_a_message_without_a_traceback():
    done = torchrun(2, *sedd_command("train", "quickstart", *TINY, "training.batch_size=1")[1:])
    assert done.returncode != 0
    assert "error:" in done.stderr
    assert "trainer.py" not in done.stderr


@given(sequences=st.integers(1, 40), accum=st.integers(1, 5), size=st.integers(1, 6), lengths=st.integers(0, 2**32 - 1))
def test_every_sequence_is_in_one_micro_batch_and_all_ranks_have_equally_many(sequences, accum, size, lengths):
    random = np.random.default_rng(lengths)
    residues = np.sort(random.integers(1, 30, sequences))
    cuts = tuple(np.unique(random.integers(1, sequences, random.integers(0, 4))).tolist()) if sequences > 1 else ()
    plan = GlobalBatch(np.arange(sequences) + 100, np.arange(sequences), residues, cuts)
    by_rank = [micro_batches(plan, accum, rank=rank, size=size) for rank in range(size)]
    assert len({len(own) for own in by_rank}) == 1
    assert len(by_rank[0]) <= accum + len(cuts)
    real = [micro_batch for own in by_rank for micro_batch in own if not micro_batch.is_padding]
    assert all((plan.samples[micro_batch.positions] == micro_batch.batch.samples).all() for micro_batch in real)
    assert sorted(int(s) for micro_batch in real for s in micro_batch.batch.samples) == plan.samples.tolist()
    assert all([micro_batch.last for micro_batch in own] == [False] * (len(own) - 1) + [True] for own in by_rank)
    strata = plan.parts()
    assert all(
        any(np.isin(micro_batch.batch.samples, stratum.samples).all() for stratum in strata) for micro_batch in real
    )
    if not cuts:
        single = micro_batches(plan, accum * size, rank=0, size=1)
        in_turn = [by_rank[number % size][number // size].batch.samples.tolist() for number in range(len(single))]
        assert in_turn == [micro_batch.batch.samples.tolist() for micro_batch in single]
    if accum <= len(strata) and not any(len(stratum) % size for stratum in strata):
        for turn, stratum in enumerate(strata):  # all ranks have equally many sequences of every stratum
            assert {len(own[turn].batch) for own in by_rank} == {len(stratum) // size}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_activation_checkpointing_changes_no_number(dropout):
    config = sedd.load_config("quickstart", *TINY, "model.n_blocks=2", f"model.dropout={dropout}")
    plain, checkpointed = (
        sedd.Trainer(config.replace(training={"activation_checkpointing": enabled})) for enabled in (False, True)
    )
    assert [report.loss for report in plain.steps()] == [report.loss for report in checkpointed.steps()]
    for name, value in plain.network.state_dict().items():
        assert torch.equal(checkpointed.network.state_dict()[name], value)


def test_activation_checkpointing_needs_blocks():
    config = sedd.load_config("quickstart", *TINY, "training.activation_checkpointing=true")
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Trainer(config, model=Brittle(set()))
    assert caught.value.keys == ("training.activation_checkpointing",)
