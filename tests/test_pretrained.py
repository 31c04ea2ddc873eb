"""A trained model comes back from its run, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import sedd
from sedd.runs import checkpoint


@pytest.fixture
def run(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(progress=False)
    return trainer


def test_it_samples_and_scores_like_the_trainer_that_made_it(run):
    model = sedd.load(run.run.path, which="latest", device="cpu")
    assert model.step == 8
    assert model.sample(4, seed=3) == run.sample(4, seed=3)
    options = run.config.evaluation
    assert model.bound(run.data.valid, masks=options.masks, count=options.sequences) == run.evaluate()


def test_the_best_checkpoint_is_the_one_with_the_lowest_bound(run):
    model = sedd.load(run.run.path, device="cpu")
    assert model.step == run.state.best_step


def test_raw_weights_can_be_loaded_too(run):
    raw = sedd.load(run.run.path, which="latest", weights="model", device="cpu")
    assert torch.equal(raw.network.output_layer.linear.weight, run.network.output_layer.linear.weight)


def test_nelbo_takes_letters_and_refuses_others(run):
    model = sedd.load(run.run.path, device="cpu")
    assert 0 < model.nelbo(["MKV", "ACDEFGHIK"]).nats < 4
    with pytest.raises(sedd.DataError):
        model.nelbo(["MKZ"])
    with pytest.raises(sedd.DataError):
        model.nelbo([])


def test_lengths_come_from_the_training_set_or_are_given(run):
    model = sedd.load(run.run.path, device="cpu")
    assert {len(text) for text in model.sample(3, length=7)} == {7}
    assert all(8 <= len(text) <= 24 for text in model.sample(20))
    with pytest.raises(sedd.SamplingError):
        model.sample(1, length=25)


def test_a_directory_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(sedd.CheckpointError):
        sedd.load(tmp_path)


def test_a_model_whose_noise_stops_early_refuses_to_generate_from_nothing(tiny, tmp_path):
    with pytest.warns(sedd.SeddWarning):
        config = tiny("noise.sigma_max=0.5")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    with pytest.raises(sedd.SamplingError):
        trainer.sample(1)


def test_a_curriculum_that_is_not_installed_does_not_keep_a_model_from_loading(tiny, tmp_path):
    class Mine(sedd.Ramp):
        """Known to the script that trained, and to nobody else."""

        difficulty_ramp: str = "mine"

        def shape(self, progress):
            return progress

    sedd.Trainer(tiny(), curriculum=Mine(preschool_time=4), run=tmp_path / "run").fit(progress=False)
    assert len(sedd.load(tmp_path / "run", device="cpu").sample(1, length=4)[0]) == 4


def test_one_string_is_not_a_list_of_sequences(run):
    with pytest.raises(sedd.DataError):
        sedd.load(run.run.path, device="cpu").nelbo("MKVL")


def test_a_run_with_a_network_of_the_users_own_needs_it_to_load(run):
    with pytest.raises(sedd.CheckpointError):
        sedd.load(run.run.path, device="cpu", model=torch.nn.Linear(2, 2))


@pytest.mark.parametrize("wrong", [{"which": "lastest"}, {"weights": "emma"}])
def test_a_misspelt_choice_is_refused(run, wrong):
    with pytest.raises(sedd.ConfigError):
        sedd.load(run.run.path, **wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"train": None},
        {"train": {}},
        {"train": {"step": "x"}},
        {"alphabet": 3},
        {"lengths": None},
        {"lengths": {"quantiles": []}},
        {"lengths": {"quantiles": [8, 0]}},
        {"lengths": {"quantiles": [24, 8]}},
        {"lengths": {"quantiles": ["8"]}},
    ],
)
def test_a_checkpoint_with_right_hashes_and_alien_content_is_refused(tiny, tmp_path, change):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    saved = checkpoint.read(checkpoint.listing(trainer.run.checkpoints)[-1])
    forged = replace(saved, state={**saved.state, **change})
    path = checkpoint.write(tmp_path / "run" / "checkpoints", 5, forged)
    for given in (path, trainer.run.path):
        with pytest.raises(sedd.SeddError):
            sedd.load(given, which="latest")
