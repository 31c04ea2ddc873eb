"""Run files: what is right loads with exactly its numbers, whatever its form and in whatever layer it is given."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from sedd.config.config import Config
from sedd.config.run_file import load_config, parse_override
from sedd.errors import SeddWarning
from sedd.plugins.trackers import Csv


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("number", ['!!float "5e-5"', "5e-5", "5.0e-5", "0.00005", '"5e-5"', "5E-5", "+5e-5", ".5e-4"])
def test_every_notation_of_a_float_is_a_number(number: str, tmp_path: Path) -> None:
    assert load_config(write(tmp_path, f"optim: {{lr: {number}}}\n")).optim.lr == 5e-5


def test_the_snippets_of_existing_run_files_load_as_they_are(tmp_path: Path) -> None:
    text = """
optim:
  {optimizer: AdamW, lr: !!float "5e-5", warmup: 10000, grad_clip: 0.5, weight_decay: 0.01, beta1: 0.9, eps: 1e-8}
noise:      {type: cosine, sigma_min: 1e-4, sigma_max: 0.5}
curriculum: {difficulty_ramp: linear, preschool_time: 20000, min_difficulty: 0.1}
training:   {n_iters: 500000, batch_size: 32, accum: 4, ema: 0.9995}
graph:      {type: absorb}
model:      {hidden_size: 768, cond_dim: 256, length: 512, n_blocks: 12, n_heads: 12, scale_by_sigma: true}
sampling:   {predictor: euler, steps: 128, noise_removal: true}
"""
    with pytest.warns(SeddWarning):
        config = load_config(write(tmp_path, text))
    assert len(config.advice()) == 1
    assert config.optim.eps == 1e-8
    assert config.ema.decay == 0.9995


def test_short_forms_are_expanded(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "device: cpu\ntrackers: [csv]\ntraining: {ema: 0.5}\n"))
    assert config.device.part_name() == "cpu"
    assert config.trackers == (Csv(),)
    assert config.ema.decay == 0.5


def test_the_two_forms_of_the_average_may_agree() -> None:
    assert Config(ema={"decay": 0.9}, training={"ema": 0.9}).ema.decay == 0.9


@pytest.mark.parametrize("assignment", ["training.ema=0.5", "ema.decay=0.5"])
@pytest.mark.parametrize("short", [True, False])
def test_an_override_in_either_form_replaces_a_value_in_either_form(assignment: str, short: bool) -> None:
    source = {"training": {"ema": 0.9}} if short else {"ema": {"decay": 0.9}}
    assert load_config(source, assignment).ema.decay == 0.5


def test_a_section_in_the_short_form_replaces_a_value_in_the_long_one() -> None:
    assert load_config({"ema": {"decay": 0.9}}, training={"ema": 0.5}).ema.decay == 0.5


def test_an_override_of_the_device_keeps_its_other_options() -> None:
    config = load_config({"device": {"type": "auto", "precision": "float32"}}, "device=cpu")
    assert (config.device.part_name(), config.device.precision) == ("cpu", "float32")


def test_later_layers_win() -> None:
    config = load_config("quickstart", "optim.lr=1e-4", "optim.lr=2e-4", "seed=3", optim={"warmup": 7})
    assert (config.optim.lr, config.optim.warmup, config.seed) == (2e-4, 7, 3)


def test_overrides_are_yaml() -> None:
    assert parse_override("data.residues.substitute={U: C}") == (("data", "residues", "substitute"), {"U": "C"})
    assert parse_override("optim.lr=1e-4") == (("optim", "lr"), 1e-4)
    assert parse_override("data.valid=null") == (("data", "valid"), None)


def test_a_value_may_have_equals_signs() -> None:
    assert parse_override("data.train=k=v/a.fasta") == (("data", "train"), "k=v/a.fasta")


STABLE = {
    "optim": {"lr": 5e-5, "warmup": 10_000, "grad_clip": 0.5},
    "noise": {"type": "cosine", "sigma_max": 0.5},
    "curriculum": {"difficulty_ramp": "linear", "preschool_time": 20_000},
    "ema": {"decay": 0.9995},
    "training": {"batch_size": 32, "accum": 4},
}
AGGRESSIVE = {
    "optim": {"lr": 1e-4, "warmup": 5_000, "grad_clip": 1.0},
    "noise": {"sigma_max": 0.8},
    "curriculum": {"difficulty_ramp": "exponential", "preschool_time": 5_000},
    "ema": {"decay": 0.999},
}


@pytest.mark.parametrize(("name", "numbers"), [("uniref50_stable", STABLE), ("uniref50_aggressive", AGGRESSIVE)])
def test_the_low_noise_presets_have_exactly_their_numbers_and_a_warning(
    name: str, numbers: dict[str, dict[str, Any]]
) -> None:
    with pytest.warns(SeddWarning):
        config = load_config(name)
    assert config.prior_kept == math.exp(-numbers["noise"]["sigma_max"])
    data = config.to_dict()
    assert {section: {key: data[section][key] for key in keys} for section, keys in numbers.items()} == numbers


@pytest.mark.parametrize("name", ["quickstart", "uniref50"])
def test_the_recommended_presets_have_the_full_noise_range_and_no_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config(name)
    assert math.exp(-config.noise.sigma_max) < 0.0011


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 7\r\noptim:\r\n  lr: 1e-4\r\n")
    assert load_config(path).seed == 7


def test_an_empty_file_is_the_default_configuration(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing yet\n")) == Config()
