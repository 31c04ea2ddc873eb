"""The probe: the bound on training sequences, which leaves training as it is, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.data.statistics import mean_length
from sedd.evaluation.bound import MOST_BY_SEQUENCE, Bound
from sedd.evaluation.controls import smoothed
from sedd.evaluation.evaluated import EvaluatedSequences
from sedd.evaluation.probe import probe_sequences
from sedd.runs import checkpoint
from sedd.runs.history import History
from sedd.runs.metrics import DataRecord, EvaluatedRecord
from tests.training.test_compiling import compiler, torch_warnings

TIMING = ("seconds", "residues_per_second")


def train_lines(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in lines if line["kind"] == "train"]


def tensors(run: Path) -> dict[str, bytes]:
    last = checkpoint.listing(run / "checkpoints")[-1]
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def mean(bound: Bound, sequences: EvaluatedSequences) -> float:
    return float(np.average(bound.by_sequence, weights=sequences.residues))


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_a_run_with_the_probe_is_the_run_without_it_bit_for_bit(tiny, tmp_path, graph):
    bounds = []
    for count in (0, 64):
        config = tiny(
            f"evaluation.train_sequences={count}", "model.dropout=0.2", "training.eval_every=1", f"graph.type={graph}"
        )
        trainer = sedd.Trainer(config, run=tmp_path / str(count))
        bounds.append(trainer.fit(progress=False))
    assert tensors(tmp_path / "0") == tensors(tmp_path / "64")
    assert train_lines(tmp_path / "0") == train_lines(tmp_path / "64")
    assert bounds[0] == bounds[1]
    without, with_probe = (History.read(tmp_path / name) for name in ("0", "64"))
    assert [bound.probe for bound in without.bounds] == [None] * 8
    assert all(bound.probe.sequences == bound.probe_raw.sequences == 64 for bound in with_probe.bounds)
    assert without.evaluated.probe is None


@pytest.mark.long
@compiler
@torch_warnings
def test_the_probe_compiles_nothing(tiny):
    graphs, losses = [], []
    for count in (0, 16):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        config = tiny(f"evaluation.train_sequences={count}", "training.compile=on", "training.eval_every=2")
        losses.append([report.loss for report in sedd.Trainer(config).steps()])
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] > 0
    assert losses[0] == losses[1]


class Counting(nn.Module):
    """A network that counts its training passes in a buffer, by which its output is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(0))
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        self.passes += self.training
        return self.table(tokens) * self.passes


def test_the_raw_probe_has_the_weights_and_buffers_of_training_and_leaves_the_averages_alone(tiny):
    trainer = sedd.Trainer(tiny("training.eval_every=3", "ema.decay=0.5"), model=Counting())
    for report in trainer.steps():
        if report.bound is None:
            continue
        average = {name: value.clone() for name, value in trainer.ema.network.state_dict().items()}
        assert trainer.evaluator.evaluated(report) == report
        estimator = trainer.evaluator.probe
        trainer.network.eval()
        assert report.probe_raw == estimator(trainer.network)
        trainer.network.train()
        assert report.probe == estimator(trainer.ema.network)
        assert report.probe != report.probe_raw
        assert all(torch.equal(value, average[name]) for name, value in trainer.ema.network.state_dict().items())
        assert trainer.network.passes == report.step


def test_the_probe_and_the_held_out_bound_agree_for_a_model_that_has_learnt_nothing(tiny):
    config = tiny("training.eval_every=1", "optim.lr=1e-9")
    report = next(iter(sedd.Trainer(config).steps()))
    for bound in (report.bound, report.probe, report.probe_raw):
        assert bound.nats == pytest.approx(np.log(20), abs=1e-4)


def test_a_small_training_set_is_evaluated_as_a_whole(tiny):
    own = ["ACDEFGHIK", "LMNPQRSTVWY", "ACACAC", "WYWYWYWYWYWYWYWYWYWYWYWYWYWYWY"]
    trainer = sedd.Trainer(tiny("data.holdout=0.2"), data=own)
    report = list(trainer.steps())[-1]
    train = trainer.data.train
    assert report.probe.sequences == len(train) == len(report.probe.by_sequence)
    assert report.probe.residues == sum(min(24, len(train[i])) for i in range(len(train)))


def test_the_choice_of_training_sequences_is_fixed_and_reads_only_them():
    class Huge:
        """Sixty million sequences, of which few may be read."""

        reads = 0

        def __len__(self) -> int:
            return 60_000_000

        def __getitem__(self, index: int) -> np.ndarray:
            self.reads += 1
            return np.full(2 + index % 5, index % 20)

    source = Huge()
    first, again, fewer = (probe_sequences(source, count) for count in (64, 64, 3))
    assert first.indices.tolist() == again.indices.tolist() == sorted(set(first.indices.tolist()))
    assert (len(first), len(fewer)) == (64, 3)
    assert first.indices.max() > 30_000_000
    assert first.lengths_at(np.array([1, 0])).tolist() == [len(first[1]), len(first[0])]
    assert source.reads == 4


def test_the_records_describe_the_evaluated_sequences(tiny, tmp_path):
    config = tiny("evaluation.sequences=10", "evaluation.train_sequences=7", "model.length=16")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    reports = [report for report in trainer.steps() if report.bound is not None]
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    history = History.read(tmp_path / "run")
    held_out, probe = history.evaluated.held_out, history.evaluated.probe
    assert (held_out.sequences, probe.sequences) == (10, 7)
    last = history.bounds[-1]
    for bound, recorded, sequences in (
        (reports[-1].bound, last.held_out, held_out),
        (reports[-1].probe, last.probe, probe),
        (reports[-1].probe_raw, last.probe_raw, probe),
    ):
        assert bound.residues == sequences.residues.sum() == sequences.token_counts.sum()
        assert mean(bound, sequences) == pytest.approx(bound.nats, rel=1e-6)
        np.testing.assert_allclose(recorded.by_sequence, bound.by_sequence, rtol=5e-6)
        assert recorded.nats == bound.nats
        known = [value is not None for value in bound.profile]
        assert np.isfinite(recorded.profile).tolist() == known
        assert (recorded.profile_stderr[known] > 0).all()
    # The unigram cross-entropies add up to that of all tokens together.
    logs = np.log(smoothed(trainer.data.token_counts))
    assert held_out.unigram @ held_out.residues == pytest.approx(-float(held_out.token_counts @ logs), rel=1e-5)
    assert history.data.held_out_token_counts == tuple(trainer.data.valid.token_counts.tolist())
    assert history.data.held_out_sequences == 256
    assert history.data.held_out_mean_length == mean_length(trainer.data.valid, longest=16)
    assert 0.0 < last.ema_initial_share == trainer.ema.initial_share < 1e-4
    assert [bound.ema_initial_share for bound in history.bounds] == sorted(
        (bound.ema_initial_share for bound in history.bounds), reverse=True
    )


def test_data_without_counts_are_described_by_the_evaluated_sequences(tiny):
    own = [np.full(5, index % 20) for index in range(40)]
    trainer = sedd.Trainer(tiny("data.holdout=0.5", "evaluation.sequences=3"), data=own)
    evaluated = EvaluatedRecord.of(trainer.config, trainer.data, 0)
    record = DataRecord.of(trainer.config, trainer.data, evaluated)
    assert sum(record.held_out_token_counts) == 15
    assert record.held_out_sequences == len(trainer.data.valid) > 3


def test_of_very_many_sequences_none_is_listed():
    data = [np.array([0, 1, 1])] * (MOST_BY_SEQUENCE + 1)
    described = EvaluatedSequences.of(data, np.arange(len(data)), np.array([0.5, 0.5]), seed=0, max_length=8)
    assert described.sequences == MOST_BY_SEQUENCE + 1
    assert described.token_counts.tolist() == [MOST_BY_SEQUENCE, 2 * MOST_BY_SEQUENCE]
    assert len(described.residues) == len(described.unigram) == len(described.composition) == 0


def test_the_sequences_are_described_again_only_if_others_are_evaluated(tiny, tmp_path):
    run = tmp_path / "run"
    sedd.Trainer(tiny(), run=run).fit(until=4, progress=False)
    sedd.Trainer(tiny(), run=run, resume=True).fit(until=6, progress=False)
    sedd.Trainer(tiny("evaluation.train_sequences=5"), run=run, resume=True).fit(progress=False)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    described = [line for line in lines if line["kind"] == "evaluated"]
    assert [line["step"] for line in described] == [0, 6]
    assert [line["probe"]["sequences"] for line in described] == [64, 5]
    assert History.read(run).evaluated.probe.sequences == 5


def test_a_run_of_an_old_version_is_resumed(tiny, tmp_path):
    run = tmp_path / "run"
    sedd.Trainer(tiny("evaluation.train_sequences=0"), run=run).fit(until=4, progress=False)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("  train_sequences: 0\n", ""))
    assert "train_sequences" not in (run / "config.yaml").read_text()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if '"evaluated"' not in line))
    sedd.Trainer(tiny(), run=run, resume=True).fit(progress=False)
    history = History.read(run)
    assert [bound.probe is not None for bound in history.bounds] == [False, True]
    assert history.evaluated.step == 4
