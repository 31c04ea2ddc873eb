"""A run file of another trainer means the same after it was converted: every key has an account, every clock a step."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import yaml

import sedd
from sedd.config.foreign.convert import convert, lines_of
from sedd.config.foreign.dialects import DIALECTS
from sedd.config.foreign.recognise import recognised
from sedd.config.foreign.writing import run_file
from sedd.config.reading import read_yaml
from sedd.config.run_file import presets
from tests.config.foreign.cases import FILES, OWN, TINY

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # such files stop their noise early


def changed_file(tmp_path: Path, name: str, **sections: object) -> Path:
    """One of our small files with other values; None removes a key."""
    data = yaml.safe_load((OWN / f"{name}.yaml").read_text())
    for section, values in sections.items():
        if isinstance(values, dict):
            data[section] = {k: v for k, v in (data.get(section, {}) | values).items() if v is not None}
        elif values is None:
            del data[section]
        else:
            data[section] = values
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize(("file", "dialect"), FILES)
def test_a_file_is_recognised_and_every_key_has_an_account(file, dialect):
    found = convert(file())
    assert found.dialect.name == dialect
    assert found.not_expressible == ()
    accounted = [entry.theirs for _, entry in lines_of(found) if entry.theirs]
    assert set(accounted) >= set(found.source.leaves())
    assert len(accounted) == len(set(accounted))
    for kind, entry in lines_of(found):
        assert entry.why or kind == "kept", entry
        assert "{" not in entry.why
        if entry.ours:  # the last word on a key is what the configuration has
            section, _, key = entry.ours.partition(".")
            value = getattr(found.config, section)
            value = getattr(value, key) if key else value
            assert value == (tuple(entry.to) if isinstance(entry.to, list) else entry.to)


@pytest.mark.parametrize(("file", "dialect"), FILES)
def test_the_run_file_loads_to_the_same_configuration_and_trains_ten_steps(file, dialect, tmp_path):
    found = convert(file())
    written = tmp_path / "run.yaml"
    written.write_text(run_file(found))
    assert sedd.load_config(written) == found.config
    trainer = sedd.Trainer(sedd.load_config(written, *TINY), run=tmp_path / "run")
    trainer.fit(progress=False)
    assert trainer.state.step == 10
    assert all(math.isfinite(line["loss"]) for line in trainer.run.read_metrics() if line["kind"] == "train")


@pytest.mark.parametrize("name", presets())
def test_our_own_run_files_are_no_dialect(name):
    assert recognised(yaml.safe_load(presets()[name])) is None
    assert recognised(sedd.load_config(name).to_dict()) is None


def test_one_slip_does_not_make_a_file_foreign(tmp_path):
    (tmp_path / "run.yaml").write_text("curriculum: {enabled: true}\noptim: {lr: 1e-4}\n")
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.load_config(tmp_path / "run.yaml")
    assert caught.value.keys == ("curriculum.enabled",)


def test_a_foreign_file_in_place_of_ours_is_one_line_with_its_dialect_and_the_command():
    for name, dialect in DIALECTS.items():
        with pytest.raises(sedd.ConfigError) as caught:
            sedd.load_config(OWN / f"{name}.yaml")
        assert str(caught.value).count("\n") == 0
        assert dialect.title in str(caught.value)
        assert "sedd import config" in str(caught.value)


def test_unknown_keys_are_grouped_and_an_error_has_at_most_ten_lines(tmp_path):
    sections = {f"section{i}": {f"key{j}": j for j in range(4)} for i in range(12)}
    for data, named in (({"training": {f"key{i}": i for i in range(40)}}, 40), (sections, 12)):
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
        with pytest.raises(sedd.ConfigError) as caught:
            sedd.load_config(tmp_path / "run.yaml")
        assert len(str(caught.value).splitlines()) <= 10
        assert len(caught.value.keys) == named


# Clocks, batches, the optimizer ------------------------------------------------------------------------------------


def test_micro_batches_become_optimizer_steps_and_the_schedule_stays():
    config = convert(OWN / "pls.yaml").config
    assert (config.training.n_iters, config.curriculum.preschool_time, config.checkpoint.every) == (3000, 500, 200)
    assert (config.training.log_every, config.training.eval_every) == (17, 100)
    assert (config.optim.warmup, config.lr_schedule.end_step) == (300, 2400)


def test_the_clock_of_a_log_is_that_of_the_program():
    config = convert(OWN / "pls.yaml", clock="theirs").config
    assert (config.training.n_iters, config.curriculum.preschool_time) == (9000, 1500)
    assert (config.optim.warmup, config.lr_schedule.end_step) == (900, 7200)


@pytest.mark.parametrize(("file", "dialect"), FILES)
def test_an_optimizer_step_has_as_many_sequences(file, dialect):
    found = convert(file())
    training = found.config.training
    key = "loader.global_batch_size" if dialect == "mdlm" else "training.batch_size"
    assert training.batch_size * training.accum == found.source.get(key)


@pytest.mark.parametrize("name", ["sedd", "d3"])
def test_clipping_and_eps_are_for_the_gradient_of_a_mean(name, tmp_path):
    found = convert(changed_file(tmp_path, name, optim={"grad_clip": 2.0})).config
    length = {"sedd": 1024, "d3": 60}[name]
    assert found.optim.grad_clip == pytest.approx(2.0 / length)
    assert found.optim.eps == pytest.approx(1e-8 / length)


@pytest.mark.parametrize("name", ["sedd", "d3", "pls"])
def test_a_negative_clip_switches_clipping_off(name, tmp_path):
    assert convert(changed_file(tmp_path, name, optim={"grad_clip": -1})).config.optim.grad_clip == 0.0


def test_a_curriculum_that_is_not_enabled_is_constant(tmp_path):
    off = convert(changed_file(tmp_path, "pls", curriculum={"enabled": False})).config
    none = convert(changed_file(tmp_path, "pls", curriculum=None)).config
    for config in (off, none):
        assert config.curriculum.difficulty_ramp == "constant"
    warped = convert(changed_file(tmp_path, "pls", curriculum={"probabilistic": True, "difficulty_ramp": None})).config
    assert (warped.curriculum.mode, warped.curriculum.difficulty_ramp) == ("bias", "exponential")


def test_the_loader_of_mdlm_divides_the_batch():
    training = convert(OWN / "mdlm.yaml").config.training
    assert (training.batch_size, training.accum) == (16, 4)


# References and files under defaults -------------------------------------------------------------------------------


def test_files_beside_the_run_file_are_used(tmp_path):
    shutil.copy(OWN / "sedd.yaml", tmp_path)
    (tmp_path / "model").mkdir()
    small = "hidden_size: 32\ncond_dim: 16\nlength: 48\nn_blocks: 1\nn_heads: 2\nscale_by_sigma: true\ndropout: 0.0\n"
    (tmp_path / "model" / "small.yaml").write_text(small)
    config = convert(tmp_path / "sedd.yaml").config
    assert (config.model.hidden_size, config.model.length) == (32, 48)
    assert config.optim.grad_clip == pytest.approx(2.0 / 48)


def test_references_are_resolved_and_a_circle_is_an_error(tmp_path):
    file = changed_file(tmp_path, "sedd", optim={"lr": "${eval:${.beta1} / 1000}", "warmup": "${training.log_freq}"})
    assert convert(file).config.optim.lr == pytest.approx(9e-4)
    assert convert(file).config.optim.warmup == 20
    circle = changed_file(tmp_path, "sedd", optim={"lr": "${.eps}", "eps": "${.lr}"})
    with pytest.raises(sedd.ConfigError) as caught:
        convert(circle)
    assert caught.value.keys[0].startswith("optim.")


BAD = {
    "a reference to the environment": ("sedd", {"optim": {"lr": "${oc.env:LR}"}}, "optim.lr"),
    "code in a reference": ("mdlm", {"optim": {"lr": "${eval:__import__('os').getpid()}"}}, "optim.lr"),
    "a power": ("mdlm", {"optim": {"lr": "${eval:9**9**9}"}}, "optim.lr"),
    "a missing file": ("sedd", {"defaults": ["_self_", {"model": "gigantic"}]}, "defaults"),
    "a file that lies elsewhere": ("sedd", {"defaults": [{"model": "../../etc/passwd"}]}, "defaults"),
    "defaults that are no list": ("sedd", {"defaults": "model"}, "defaults"),
    "a word for a number": ("pls", {"training": {"accum": "many"}}, "training.accum"),
    "a zero for a count": ("pls", {"training": {"accum": 0}}, "training.accum"),
    "a word for a boolean": ("pls", {"curriculum": {"enabled": "perhaps"}}, "curriculum.enabled"),
    "a list for a word": ("mdlm", {"parameterization": ["subs"]}, "parameterization"),
    "a list for a count": ("sedd", {"tokens": [20]}, "tokens"),
    "a missing length": ("sedd", {"defaults": ["_self_"]}, "model.length"),
    "a value beyond our bounds": ("d3", {"noise": {"sigma_max": 99}}, "noise.sigma_max"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_an_error_that_names_it(name, tmp_path):
    dialect, sections, key = BAD[name]
    file = changed_file(tmp_path, dialect, **sections)
    with pytest.raises(sedd.ConfigError) as caught:
        convert(file)
    assert key in caught.value.keys
    assert str(file) in str(caught.value)


INEXPRESSIBLE = {
    "mdlm": ({"parameterization": "d3pm"}, {"backbone": "dimamba"}, {"T": 1000}, {"diffusion": "uniform"}),
    "sedd": (
        {"optim": {"optimizer": "Adam"}}, {"optim": {"grad_clip": 0}}, {"noise": {"type": "cosine"}},
        {"training": {"weight": "likelihood"}}, {"training": {"batch_size": 63}}, {"model": {"type": "unet"}},
    ),
    "pls": ({"training": {"task": "joint"}}, {"lr_schedule": {"type": "cyclic"}}, {"noise": {"type": "polynomial"}},
            {"curriculum": {"difficulty_ramp": "sigmoid"}}),
    "d3": ({"model": {"architecture": "conv"}}, {"nn": "convolution"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "sections"), [(name, one) for name, all_ in INEXPRESSIBLE.items() for one in all_])
def test_what_sedd_cannot_express_is_an_error_that_lists_it_or_is_left_out(name, sections, tmp_path):
    if "model" in sections and name == "sedd":
        sections = {"defaults": ["_self_"], "model": {"length": 32, **sections["model"]}}
    file = changed_file(tmp_path, name, **sections)
    with pytest.raises(sedd.ConfigError) as caught:
        convert(file)
    forced = convert(file, force=True)
    assert {entry.theirs for entry in forced.not_expressible} == set(caught.value.keys)


def test_an_unknown_dialect_and_a_file_of_no_dialect_are_errors(tmp_path):
    (tmp_path / "some.yaml").write_text("optim: {lr: 1e-4}\n")
    for arguments in ((OWN / "sedd.yaml", "ddpm"), (tmp_path / "some.yaml",), (tmp_path / "none.yaml",)):
        with pytest.raises(sedd.ConfigError):
            convert(*arguments)
    assert convert(tmp_path / "some.yaml", "pls").config.optim.lr == 1e-4
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(sedd.ConfigError):
        convert(tmp_path / "list.yaml", "sedd")


def test_our_account_of_a_file_reads_back():
    found = convert(OWN / "pls.yaml")
    text = run_file(found)
    for entry in found.changed:
        assert entry.why in text
    assert read_yaml(OWN / "pls.yaml")["tokens"] == found.symbols
