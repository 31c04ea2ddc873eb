"""The forecast equals the training loss: of an untrained model everywhere, of a trained one from its profile."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

import sedd
from sedd.data import Batch, Dataset, open_data
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.forecast import Forecast, default_steps, make_forecast, scatter
from sedd.diagnosis.rises import smallest_preschool_time
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss import diffusion_loss
from sedd.diffusion.loss_profile import mask_range
from sedd.diffusion.noising import noise_state, path_positions
from sedd.diffusion.parametrization import Network, Parametrization
from sedd.diffusion.process import Process
from sedd.model.transformer import Transformer
from tests.conftest import REAL, TINY
from tests.learners import Bag, compositions

# Noise that stops early and ramps longer than the run are meant here.
pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")

SKEWED = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.009, 0.001])
RAMPS = ["linear", "exponential", "cosine", "stages"]
MODES = ["scale", "truncate", "bias"]
NOISES = ["loglinear", "geometric", "cosine", "linear"]
GRAPHS = ["absorb", "uniform"]
KNOTS = "curriculum.stages=[{step: 0, difficulty: 0.4}, {step: 400, difficulty: 0.7}, {step: 1000, difficulty: 1}]"


def configured(*overrides: str, ramp: str = "linear") -> sedd.Config:
    knots = [KNOTS] if ramp == "stages" else []
    # Noise from 0.01 on: below, a mask is so rare and so costly that the draws of these tests would be too few.
    noise = ("noise.sigma_min=0.01", "noise.sigma_max=3", "curriculum.min_difficulty=0.4")
    basic = ("curriculum.preschool_time=1000", "training.n_iters=2000", "model.length=64", *noise)
    return sedd.load_config({}, f"curriculum.difficulty_ramp={ramp}", *basic, *knots, *overrides)


def statistics_of(frequencies: np.ndarray) -> DataStatistics:
    return DataStatistics(frequencies, 64.0, "made up")


def measured(config: sedd.Config, step: int, network: Network, *, sequences: int = 1500, length: int = 64) -> float:
    """The training loss of a network that does not change, over many draws of the library's own, nats per residue.

    Which residues are hit is spread evenly over each sequence and over neighbouring noise levels, so that few draws
    are enough; each residue by itself is hit with the chance that the noise level says.
    """
    random = np.random.default_rng(step)
    graph = make_graph(config.graph.type, len(SKEWED))
    u = np.sort(path_positions(step, np.arange(sequences)))
    difficulty = config.curriculum.difficulty(step)
    state = noise_state(config.noise, torch.from_numpy(u), difficulty=difficulty, mode=config.curriculum.mode)
    offsets = (random.random() + np.arange(sequences) * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0
    strata = np.argsort(random.random((sequences, length)), axis=1) + offsets[:, None]
    uniforms = torch.from_numpy(np.stack([strata / length, random.random((sequences, length))], -1)).float()
    tokens = torch.from_numpy(random.choice(len(SKEWED), size=(sequences, length), p=SKEWED))
    batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(sequences))
    with torch.no_grad():
        found = diffusion_loss(
            network, batch, state, uniforms, process=Process(graph, config.noise, Parametrization.of(config.model))
        )
    return float(found.total) / tokens.numel()


def constant(output: Tensor) -> Network:
    return lambda tokens, sigma, mask: output.expand(*tokens.shape, -1)


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.long)])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("mode", MODES)
def test_an_untrained_model_has_the_forecast_loss_at_every_difficulty_of_every_ramp(mode, noise, graph):
    chosen = (f"graph.type={graph}", f"noise.type={noise}", f"curriculum.mode={mode}")
    network = constant(torch.zeros(len(SKEWED)))
    forecast = make_forecast(configured(*chosen), statistics_of(SKEWED), steps=(0, 1000))
    for row in forecast.rows:
        assert measured(forecast.config, row.step, network) == pytest.approx(row.untrained, rel=0.02)
    for ramp in RAMPS:
        climbing = replace(forecast, config=configured(*chosen, ramp=ramp))
        expected = climbing.loss(350, "untrained")
        assert measured(climbing.config, 350, network) == pytest.approx(expected, rel=0.02), ramp


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sigma_max", [0.8, 3.0])
def test_a_network_that_puts_out_token_frequencies_has_the_forecast_loss_of_the_unigram(graph, mode, sigma_max):
    config = configured(
        f"graph.type={graph}", "noise.type=cosine", f"noise.sigma_max={sigma_max}", f"curriculum.mode={mode}"
    )
    forecast = make_forecast(config, statistics_of(SKEWED), steps=(0, 1000))
    network = constant(torch.from_numpy(np.log(SKEWED)).float())
    for row in forecast.rows:
        assert measured(config, row.step, network, sequences=6000) == pytest.approx(row.unigram, rel=0.02), (
            f"step {row.step}"
        )


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("scaled", [True, False])
def test_the_raw_score_head_has_a_forecast_too(graph, scaled):
    config = configured(f"graph.type={graph}", "model.head=score", f"model.scale_by_sigma={str(scaled).lower()}")
    forecast = make_forecast(config, statistics_of(SKEWED), steps=(0, 500, 1000))
    network = constant(torch.zeros(Parametrization.of(config.model).outputs(make_graph(graph, len(SKEWED)))))
    for row in forecast.rows:
        assert measured(config, row.step, network) == pytest.approx(row.untrained, rel=0.02), f"step {row.step}"


def test_a_new_network_puts_out_zeros_as_the_forecast_assumes(tiny):
    network = Transformer(tiny().model, states=21, outputs=20)
    assert not network(torch.zeros(2, 5, dtype=torch.long), torch.ones(2), None).any()


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Real proteins, prepared once."""
    if not REAL.is_dir():
        pytest.skip("the real sequences are not beside this checkout (../shared/data)")
    file, cache = REAL / "uniref_10k.fasta.gz", tmp_path_factory.mktemp("proteins")
    return open_data(sedd.load_config("quickstart", f"data.train={file}", f"data.cache={cache}").data, seed=0)


@pytest.mark.parametrize(
    ("graph", "mode", "difficulty"),
    [
        ("absorb", "truncate", 0.2),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("absorb", "scale", 0.6), ("absorb", "truncate", 1.0), ("uniform", "truncate", 0.6))
        ),
    ],
)
def test_training_on_real_proteins_begins_at_the_forecast(proteins, graph, mode, difficulty):
    config = sedd.load_config(
        "quickstart",
        *TINY,
        f"graph.type={graph}",
        f"curriculum.mode={mode}",
        f"curriculum.min_difficulty={difficulty}",
        "curriculum.preschool_time=1000000000",
        "noise.type=cosine" if mode == "scale" else "noise.type=loglinear",
        "model.length=256",
        "training.batch_size=64",
        "training.n_iters=1000",
        "training.eval_every=1000",
        "optim.lr=1e-9",
    )
    (row,) = sedd.forecast(config, data=proteins, steps=[0]).rows
    # The first few masks of a sequence count much: 0.8 % of standard error.
    reports = list(islice(sedd.Trainer(config, data=proteins).steps(), 100))
    total = sum(float(report.bins.loss.sum()) for report in reports) / sum(report.residues for report in reports)
    assert total == pytest.approx(row.untrained, rel=0.02)


@pytest.mark.parametrize("graph", ["absorb", pytest.param("uniform", marks=pytest.mark.long)])
def test_a_run_shows_what_its_own_profile_forecasts(tiny, tmp_path, graph):
    config = tiny(
        f"graph.type={graph}",
        "training.n_iters=400",
        "training.batch_size=32",
        "training.log_every=5",
        "training.eval_every=1000",
        "checkpoint.every=1000",
        "curriculum.preschool_time=600",  # so that the difficulty still climbs at the end
        "optim.lr=1e-2",
        "evaluation.sequences=4",
    )
    trainer = sedd.Trainer(config, run=tmp_path / "run", data=compositions(), model=Bag(graph))
    trainer.fit(progress=False)
    last = [line for line in sedd.diagnose(tmp_path / "run").history.lines if line.step > 300]
    forecast = sedd.forecast(config, run=tmp_path / "run", steps=[line.step - 3 for line in last])
    expected = sum(row.run * line.bins.residues for row, line in zip(forecast.rows, last, strict=True))
    found = sum(float(line.bins.loss.sum()) for line in last)
    assert found == pytest.approx(expected, rel=0.03)
    frequencies = trainer.data.token_counts / trainer.data.token_counts.sum()
    unigram_ = make_forecast(config, DataStatistics(frequencies, 24.0, "")).loss(last[-1].step)
    assert forecast.rows[-1].run < 0.9 * unigram_  # it has learnt something


# What is derived from it ---------------------------------------------------------------------------------------------


def test_the_steepest_rise_of_a_straight_ramp_is_its_slope():
    config = configured("curriculum.mode=truncate", "noise.type=loglinear", "curriculum.preschool_time=5000")
    forecast = make_forecast(config, statistics_of(np.full(20, 0.05)))
    slope = 0.6 * 1000 / 5000 * (math.exp(-0.01) - math.exp(-3.0)) * math.log(20)
    assert forecast.rises["untrained"].per_1000 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("ramp", ["linear", "exponential", "cosine"])
def test_the_smallest_preschool_time_keeps_the_rise_under_the_limit_and_a_smaller_one_does_not(ramp):
    config = configured("noise.type=cosine", "noise.sigma_max=0.8", ramp=ramp)
    needed = make_forecast(config, statistics_of(SKEWED)).preschool_time
    for preschool_time, holds in ((needed, True), (round(0.8 * needed), False)):
        changed = config.replace(curriculum={"preschool_time": preschool_time})
        rise = make_forecast(changed, statistics_of(SKEWED)).rises["unigram"]
        assert (rise.per_1000 <= 0.1) == holds


@pytest.mark.parametrize("ramp", ["constant", "stages"])
def test_a_curriculum_that_cannot_be_stretched_has_no_smallest_preschool_time(ramp):
    config = configured(ramp=ramp)
    forecast = make_forecast(config, statistics_of(SKEWED))
    assert smallest_preschool_time(config, forecast.predictors["unigram"], limit=0.1) is None


def test_without_a_curriculum_nothing_rises_and_no_rule_fires():
    forecast = make_forecast(configured(ramp="constant"), statistics_of(SKEWED))
    assert forecast.rises["untrained"].per_1000 == 0.0
    assert forecast.false_alarms == []
    assert {row.untrained for row in forecast.rows} == {forecast.full.untrained}


def test_every_rule_that_will_fire_is_listed():
    steep = configured(
        "monitoring.max_loss=0.5", "monitoring.max_oscillation=0.001", "training.log_every=1", "training.batch_size=2"
    )
    forecast = make_forecast(steep, statistics_of(SKEWED))
    assert forecast.rises["unigram"].per_1000 > 0.1
    assert forecast.full.untrained > 0.5
    assert min(forecast.scatter.values()) > 0.001
    assert len(forecast.false_alarms) == 4  # the rise, the loss, the oscillation at the start and at full difficulty


@pytest.mark.parametrize("mode", ["truncate", "scale"])
def test_the_scatter_is_that_of_single_training_steps(mode):
    config = configured(f"curriculum.mode={mode}", "noise.type=cosine", "training.batch_size=8")
    network = constant(torch.zeros(len(SKEWED)))
    graph, statistics = make_graph("absorb", len(SKEWED)), statistics_of(SKEWED)
    losses = []
    for step in range(400):
        u = torch.from_numpy(path_positions(0, np.arange(8 * step, 8 * step + 8)))
        state = noise_state(config.noise, u, difficulty=0.5, mode=mode)
        tokens = torch.zeros(8, 64, dtype=torch.long)
        batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(8))
        torch.manual_seed(step)
        drawn = diffusion_loss(
            network,
            batch,
            state,
            torch.rand(8, 64, 2),
            process=Process(graph, config.noise, Parametrization.of(config.model)),
        )
        losses.append(float(drawn.total) / 512)
    assert scatter(config, graph, statistics, 0.5, steps=1000) == pytest.approx(
        np.std(losses) / np.mean(losses), rel=0.2
    )


def test_phases_follow_the_ramp_and_patience_and_have_hours_where_the_speed_is_known():
    config = configured("training.n_iters=100000", "monitoring.patience=50000")
    phases = make_forecast(config, statistics_of(SKEWED), throughput=2048 * 10.0).phases
    assert [(phase.name, phase.first, phase.last) for phase in phases] == [
        ("ramp", 0, 1000), ("full difficulty", 1000, 50_000), ("convergence", 50_000, 100_000)
    ]  # fmt: skip
    assert phases[0].hours == pytest.approx(1000 / 10 / 3600)  # 32 sequences of 64 residues in a step
    assert all(phase.hours is None for phase in make_forecast(config, statistics_of(SKEWED)).phases)


@pytest.mark.parametrize(
    ("loss", "level"),
    [(2.2, "above untrained"), (2.05, "above unigram"), (1.8, "below unigram"), (0.5, "below any known model")],
)
def test_expected_losses_are_compared_with_the_predictors(loss, level):
    config = configured("noise.type=cosine", "noise.sigma_min=0", "noise.sigma_max=1.2", ramp="constant")
    forecast = sedd.forecast(config)
    assert forecast.level(100, loss) == level
    (sentence,) = forecast.judge({100: loss})
    assert sentence.startswith(f"step 100: {loss}")


@pytest.mark.parametrize(
    ("ramp", "word", "first", "last"), [("linear", "harder", 0.4, 1.0), ("constant", "equally", 1.0, 1.0)]
)
def test_the_summary_states_how_the_loss_moves_without_learning(ramp, word, first, last):
    config = configured(ramp=ramp)
    forecast = make_forecast(config, statistics_of(SKEWED))
    assert word in forecast.summary
    for difficulty in (first, last):
        rates = mask_range(config.noise, difficulty, config.curriculum.mode)
        assert f"{forecast.predictors['untrained'].loss(*rates):.2f}" in forecast.summary


def test_the_summary_of_a_task_that_gets_easier_says_so(monkeypatch):
    # Built-in curricula never do; one of a plugin may.
    monkeypatch.setattr(Forecast, "loss", lambda self, step, predictor: 2.0 - step / 4000)
    assert re.findall(r"[\d.]+\d|easier", make_forecast(configured(), statistics_of(SKEWED)).summary) == [
        "2.00", "1.50", "easier"
    ]  # fmt: skip


def test_default_steps_show_the_ramp_and_the_end():
    assert default_steps(configured()) == [0, 125, 250, 375, 500, 625, 750, 875, 1000, 1500, 2000]


# `sedd.forecast` -----------------------------------------------------------------------------------------------------


def test_token_frequencies_come_from_the_data_or_else_from_proteins_in_general(tmp_path):
    (tmp_path / "my.fasta").write_text("".join(f">{i}\n{'W' * (i + 5)}A\n" for i in range(300)))
    by_hand = sedd.forecast("uniref50_aggressive", data=tmp_path / "my.fasta")
    configured_ = sedd.forecast(sedd.load_config("uniref50_aggressive", f"data.train={tmp_path / 'my.fasta'}"))
    usual = sedd.forecast("uniref50_aggressive")
    assert by_hand.full.unigram == configured_.full.unigram < 0.1 * usual.full.unigram
    assert by_hand.statistics.frequencies == pytest.approx(configured_.statistics.frequencies)
    assert usual.statistics.frequencies.min() > 0


def test_the_built_in_source_is_assumed_only_where_the_configuration_names_it():
    usual, named = (sedd.forecast(sedd.load_config({}, *given)) for given in ((), ("data.train=synthetic",)))
    assert usual.statistics.source == sedd.forecast("small").statistics.source
    assert usual.statistics.length == sedd.forecast("uniref50").statistics.length
    assert named.statistics.source.startswith("20,000")


def test_a_dataset_can_be_given_and_the_synthetic_source_needs_no_file(tiny):
    config = tiny()
    assert sedd.forecast(config).full == sedd.forecast(config, data=open_data(config.data, seed=0)).full


def test_more_symbols_raise_the_loss_of_the_untrained_model_and_not_that_of_the_unigram():
    few, many = (sedd.forecast("uniref50_aggressive", symbols=symbols) for symbols in (None, 36))
    assert many.full.untrained == pytest.approx(few.full.untrained * math.log(36) / math.log(20))
    assert many.full.unigram == pytest.approx(few.full.unigram)


WRONG = [
    ({"symbols": 5}, sedd.ConfigError, "symbols=5"),
    ({"throughput": 0.0}, sedd.ConfigError, "throughput=0.0"),
    ({"steps": [-1]}, sedd.ConfigError, "step -1"),
    ({"data": "nowhere.fasta"}, sedd.DataError, "nowhere.fasta"),
    ({"run": "nowhere"}, sedd.CheckpointError, "nowhere"),
]


def test_large_alphabets_are_forecast_where_there_is_a_closed_form(tiny):
    found = sedd.forecast(tiny(), symbols=5000, steps=[0])
    assert found.full.untrained == pytest.approx(found.full.mask_rate_max * math.log(5000), rel=1e-3)
    scaled = sedd.forecast(tiny("model.head=score"), symbols=5000, steps=[0])  # its output of 0 is the same predictor
    assert scaled.full.untrained == pytest.approx(found.full.untrained)
    for others in (("graph.type=uniform",), ("model.head=score", "model.scale_by_sigma=false")):
        with pytest.raises(sedd.ConfigError) as caught:
            sedd.forecast(tiny(*others), symbols=300)
        assert caught.value.keys == ("graph.type", "model.head")


@pytest.mark.parametrize(("arguments", "error", "named"), WRONG, ids=[str(arguments) for arguments, *_ in WRONG])
def test_an_error_names_the_wrong_argument(arguments, error, named):
    with pytest.raises(error) as caught:
        sedd.forecast("uniref50_aggressive", **arguments)
    assert str(caught.value).startswith(named)


def test_a_text_needs_its_data():
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.forecast(sedd.load_config("uniref50", "data.alphabet=text"))
    assert str(caught.value).startswith("data.alphabet=text")


def test_a_run_of_another_graph_is_no_predictor(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.forecast(tiny("graph.type=uniform"), run=tmp_path / "run")
    assert caught.value.keys == ("graph.type",)


def test_a_forecast_as_json_is_plain(tiny):
    import json

    found = json.loads(json.dumps(sedd.forecast(tiny(), throughput=1e5).to_dict()))
    assert found["without_curriculum"]["difficulty"] == 1.0
    assert found["symbols"] == 20
    assert len(found["rows"]) == len(default_steps(tiny()))
