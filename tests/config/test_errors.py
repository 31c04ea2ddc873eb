"""What is wrong in a configuration is an error with its line, its key, and the value or key that was probably meant."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sedd.config.config import Config
from sedd.config.messages import SYNONYMS
from sedd.config.run_file import load_config
from sedd.errors import ConfigError
from sedd.plugins.curricula import Linear
from sedd.plugins.registry import registry
from sedd.plugins.trackers import Csv

FILES: dict[str, tuple[str, int | None, tuple[str, ...]]] = {
    "an unknown key": ("seed: 1\noptim:\n  lr: 1e-4\n  warmpu: 10\n", 4, ("optim.warmpu",)),
    "an unknown section": ("trainig: {n_iters: 5}\n", 1, ("trainig",)),
    "a key in the wrong section": ("training:\n  grad_clip: 1.0\n", 2, ("training.grad_clip",)),
    "a key like no other": ("ema: {zzz: 1}\n", 1, ("ema.zzz",)),
    "an unknown option of a plugin": (
        "curriculum:\n  difficulty_ramp: exponential\n  rat: 3\n",
        3,
        ("curriculum.rat",),
    ),
    "an unknown key deep in a plugin": (
        "curriculum:\n  difficulty_ramp: stages\n  stages:\n  - step: 0\n    difficulty: 1.0\n    levle: 3\n",
        6,
        ("curriculum.stages.0.levle", "curriculum.stages"),
    ),
    "an option of another plugin": ("curriculum: {difficulty_ramp: cosine, rate: 3}\n", 1, ("curriculum.rate",)),
    "a number for a section": ("optim: 3\n", 1, ("optim",)),
    "nothing for a section": ("seed: 1\noptim:\n", 2, ("optim",)),
    "a number for a plugin": ("noise: 3\n", 1, ("noise",)),
    "a boolean for a number": ("training:\n  n_iters: true\n", 2, ("training.n_iters",)),
    "fields that contradict each other": (
        "seed: 1\nnoise: {type: cosine, sigma_min: 2, sigma_max: 1}\n",
        2,
        ("noise",),
    ),
    "heads that do not divide the width": ("model: {hidden_size: 100, n_heads: 3}\n", 1, ("model",)),
    "a key given twice": ("optim:\n  lr: 1e-4\n  warmup: 5\n  lr: 2e-4\n", 4, ("optim.lr",)),
    "a plugin that is nearly installed": ("noise: {type: cosin}\n", 1, ("noise.type",)),
    "a plugin that is not installed": (
        "seed: 3\ncurriculum:\n  mode: scale\n  difficulty_ramp: zigzag\n",
        4,
        ("curriculum.difficulty_ramp",),
    ),
    "a plugin whose name is a list": ("noise: {type: [cosine]}\n", 1, ("noise.type",)),
    "a device that is not installed": ("device: cuba\n", 1, ("device.type",)),
    "a tracker that is not installed": ("trackers:\n- csv\n- tensorbord\n", 3, ("trackers.1.type",)),
    "a tracker without a name": ("trackers: [{}]\n", 1, ("trackers.0.type",)),
    "two exponential averages": ("ema: {decay: 0.99}\ntraining: {ema: 0.9}\n", 2, ("training.ema",)),
    "a list at the top": ("- optim\n", None, ()),
    "a word at the top": ("optim\n", None, ()),
    "an unsafe tag": ("seed: !!python/object/apply:os.system ['true']\n", 1, ("seed",)),
    "an alias to itself": ("optim: &a\n  lr: *a\n", None, ()),
    "a key that is a list": ("? [a, b]\n: 1\n", 1, ()),
    "several problems at once": (
        "optim:\n  lr: 1e-4\n  warmpu: 1\nema: 3\ngraf: {type: uniform}\n",
        3,
        ("optim.warmpu", "ema", "graf"),
    ),
}
"""Run file, line of the first problem, keys of all problems. The messages of these are worded by sedd."""

FILES_OF_LIBRARIES: dict[str, tuple[str, int | None, tuple[str, ...]]] = {
    "a word for a number": ("training:\n  n_iters: many\n", 2, ("training.n_iters",)),
    "a fraction for an integer": ("training: {batch_size: 2.5}\n", 1, ("training.batch_size",)),
    "a value above its bound": ("optim:\n  beta1: 1.5\n", 2, ("optim.beta1",)),
    "a value below its bound": ("optim: {lr: -1e-4}\n", 1, ("optim.lr",)),
    "infinity": ("optim: {lr: .inf}\n", 1, ("optim.lr",)),
    "not a number": ("noise: {sigma_max: .nan}\n", 1, ("noise.sigma_max",)),
    "a choice that does not exist": ("graph: {type: absorbing}\n", 1, ("graph.type",)),
    "an average above its bound, in the short form": ("seed: 1\ntraining:\n  ema: 1.5\n", 3, ("ema.decay",)),
    "broken YAML": ("optim:\n  lr: [1, 2\nseed: 3\n", 3, ()),
    "a tab": ("optim:\n\tlr: 1\n", 2, ()),
    "a control character": ("seed: \x07\n", None, ()),
    "two documents": ("seed: 1\n---\nseed: 2\n", 2, ()),
    "an unsafe tag on a scalar": ("seed: !!python/name:os.system\n", 1, ()),
    "a tag that does not fit": ("optim: {lr: !!float abc}\n", 1, ("optim.lr",)),
    "a tag of truth that does not fit": ("optim: {lr: !!bool abc}\n", 1, ("optim.lr",)),
    "a number of thousands of digits": (f"optim: {{lr: 0x{'f' * 5_000}}}\n", 1, ("optim.lr",)),
    "thousands of digits in a list": (f"optim: {{lr: [0x{'f' * 5_000}]}}\n", 1, ("optim.lr",)),
}
"""The messages of these are worded by pydantic, PyYAML or Python, and differ between their versions."""

OVERRIDES = {
    "optim.lr": (),
    "=3": (),
    "optim..lr=3": (),
    "optim.lr=[1": (),
    "optim.lr=!!float x": (),
    "optim.lr=!!bool x": (),
    f"optim.lr=0x{'f' * 5_000}": ("optim.lr",),
    "optim.lr=fast": ("optim.lr",),
    "optim.learning_rate=1": ("optim.learning_rate",),
    "device=cuba": ("device.type",),
    "training.ema=2": ("ema.decay",),
    "seed.x=1": ("seed",),
    "curriculum.difficulty_ramp=cosin": ("curriculum.difficulty_ramp",),
    "model.n_heads=5": ("model",),
}
"""Override and keys of all problems."""


def error_of(source: Any, *overrides: Any, **sections: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(source, *overrides, **sections)
    return caught.value


@pytest.mark.parametrize("case", [*FILES, *FILES_OF_LIBRARIES])
def test_an_error_in_a_run_file_has_its_line_and_key(case: str, tmp_path: Path) -> None:
    text, line, keys = (FILES | FILES_OF_LIBRARIES)[case]
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    error = error_of(path)
    assert error.keys == keys
    assert str(error).startswith(f"{path}: " if line is None else f"{path}:{line}: ")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_error_in_an_override_starts_with_the_override(override: str) -> None:
    error = error_of("quickstart", override)
    assert error.keys == OVERRIDES[override]
    assert re.match(rf"'?{re.escape(override)}\b", str(error))


@pytest.fixture
def only_built_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if no plugin were installed: some messages list what is."""
    monkeypatch.setattr("sedd.plugins.registry.installed_entry_points", list)
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.usefixtures("only_built_in")
def test_the_messages_are_those_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only place where their wording is asserted: read the difference, then record the new text."""
    monkeypatch.chdir(tmp_path)
    messages = []
    for case, (text, _, _) in FILES.items():
        Path("run.yaml").write_text(text, encoding="utf-8")
        messages.append(f"# {case}\n{error_of('run.yaml')}\n")
    for override in ("optim.lr", "optim.learning_rate=1", "device=cuba", "seed.x=1"):
        messages.append(f"# the override {override}\n{error_of('quickstart', override)}\n")
    recorded = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")
    assert "\n".join(messages) == recorded


def test_every_problem_has_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optim:\n  lr: fast\n  warmpu: 1\ngraph:\n  type: cube\n", encoding="utf-8")
    error = error_of(path)
    lines = [int(line.split(": ")[0].rpartition(":")[2]) for line in str(error).splitlines()]
    assert dict(zip(error.keys, lines, strict=True)) == {"optim.lr": 2, "optim.warmpu": 3, "graph.type": 5}


@pytest.mark.parametrize(("source", "meant"), [("rum.yaml", "run.yaml"), ("uniref50_stabel", "uniref50_stable")])
def test_a_source_that_does_not_exist_is_named_with_the_one_that_was_probably_meant(
    source: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("seed: 1", encoding="utf-8")
    message = str(error_of(source))
    assert message.startswith(f"{source}: ")
    assert f"{meant!r}?" in message


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("# Stra\xdfe\nseed: 1\n".encode("latin-1"))
    message = str(error_of(path))
    assert message.startswith(f"{path}: ")
    assert "0xdf" in message


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert str(error_of(tmp_path)).startswith(f"{tmp_path}: ")


def test_an_override_that_is_no_string_is_refused() -> None:
    assert str(error_of("quickstart", {"optim.lr": 1})).startswith("{'optim.lr': 1}")


@pytest.mark.parametrize(
    "sections",
    [{"noise": Linear()}, {"curriculum": Csv()}, {"device": Linear()}, {"trackers": [Linear()]}, {"optim": Linear()}],
    ids=lambda sections: next(iter(sections)),
)
def test_a_part_in_the_wrong_section_is_refused(sections: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**sections)
    (key,) = caught.value.keys
    assert key.partition(".")[0] == next(iter(sections))


@pytest.mark.parametrize(("ours", "theirs"), [(ours, word) for ours, words in SYNONYMS.items() for word in words])
def test_the_names_of_other_libraries_lead_to_the_keys_of_sedd(ours: str, theirs: str) -> None:
    section = ours.partition(".")[0] if "." in ours else "training"
    with pytest.raises(ConfigError, match=rf"{ours!r}\?"):
        Config(**{section: {theirs: 1}})


def test_the_table_of_synonyms_leads_to_keys_that_exist() -> None:
    for ours in SYNONYMS:
        section, _, key = ours.partition(".")
        installed = registry().of(section).values()
        models = installed or [Config.model_fields[section].annotation]
        assert not key or any(key in getattr(model, "model_fields", {}) for model in models), ours


def test_an_error_keeps_its_keys_when_it_is_pickled() -> None:
    error = error_of("quickstart", "optim.lr=0")
    again = pickle.loads(pickle.dumps(error))  # our own bytes
    assert (str(again), again.keys) == (str(error), ("optim.lr",))
