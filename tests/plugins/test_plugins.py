"""Discovery: what is installed is found, what is broken is named, and one broken plugin does not hide another."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

import sedd
from sedd.errors import ConfigError, SeddWarning
from sedd.plugins import hookspecs
from sedd.plugins.registry import KINDS, describe, discover, registry

Install = Callable[..., None]

GOOD = """
import sedd
from typing import Literal

class {cls}(sedd.Ramp):
    '''A straight line.'''
    difficulty_ramp: Literal["{name}"] = "{name}"
    def shape(self, progress: float) -> float:
        return progress

@sedd.hookimpl
def sedd_curricula():
    return [{cls}]
"""


def good(name: str) -> str:
    return GOOD.format(name=name, cls=name.title().replace("-", ""))


HOOK = "import sedd\n@sedd.hookimpl\ndef "
"""The beginning of a plugin with one hook."""
BROKEN = {
    "it cannot be imported": ("import no_such_module", "ModuleNotFoundError"),
    "it exits while it is imported": ("raise SystemExit(3)", "SystemExit: 3"),
    "it has a syntax error": ("def (", "SyntaxError"),
    "its hook is misspelt": (HOOK + "sedd_curriculum():\n    return []", "'sedd_curricula'?"),
    "its hook takes an argument": (HOOK + "sedd_curricula(config):\n    return []", "config"),
    "its hook raises": (HOOK + "sedd_noises():\n    raise KeyError('oops')", "sedd_noises() failed (KeyError: 'oops')"),
    "its hook returns a class, not a list": (
        good("single") + "\n@sedd.hookimpl\ndef sedd_noises():\n    return Single",
        "<class 'broken.Single'>",
    ),
    "its hook returns nothing": (HOOK + "sedd_backends():\n    pass", "None"),
    "its class is of another kind": (
        good("stranger") + "\n@sedd.hookimpl\ndef sedd_noises():\n    return [Stranger]",
        "sedd.Noise",
    ),
    "its hook returns an instance": (good("instance").replace("[Instance]", "[Instance()]"), "Instance("),
    "its class lacks a method": (
        good("missing").replace("def shape", "def shap"),
        "broken.Missing",
    ),
    "its class has no literal": (good("nameless").replace('Literal["nameless"]', "str"), "broken.Nameless"),
    "its literal is no string": (good("number").replace('"number"', "7"), "broken.Number"),
    "its literal has several values": (
        good("several").replace('Literal["several"]', 'Literal["several", "more"]'),
        "broken.Several",
    ),
    "an option has an unknown type": (
        "from __future__ import annotations\n"
        + good("vague").replace("    def shape", "    rate: Flot = 1\n    def shape"),
        "(Flot)",
    ),
    "its name belongs to another plugin": (good("linear"), "curriculum 'linear'"),
    "it registers nothing": (good("bare").replace("@sedd.hookimpl", ""), "@sedd.hookimpl"),
}
"""The source of a plugin, and the value or name that the error has to contain."""


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_are_still_listed(why: str, install: Install) -> None:
    source, fact = BROKEN[why]
    install("a-first", good("first"))
    install("broken", source)
    install("z-last", good("last"))
    installed = discover()
    assert {"linear", "first", "last"} <= set(installed.of("curriculum"))
    (problem,) = installed.problems
    assert str(problem).startswith("broken 1.2: ")
    assert fact in str(problem)
    with pytest.warns(SeddWarning) as caught:
        assert {"linear", "first", "last"} <= set(registry().of("curriculum"))
    assert [str(problem) in str(warning.message) for warning in caught] == [True]


def test_a_run_that_needs_no_broken_plugin_is_trained_and_one_that_does_is_told_why(install: Install, tiny) -> None:
    install("broken", "1 / 0")
    with pytest.warns(SeddWarning):
        sedd.Trainer(tiny())
    with pytest.raises(ConfigError) as caught:
        tiny("curriculum.difficulty_ramp=mine")
    assert "broken 1.2" in str(caught.value)


def test_a_name_that_two_plugins_claim_is_not_chosen_in_silence(install: Install) -> None:
    install("ours", good("twice"))
    install("theirs", good("twice").replace("Twice", "Again"))
    with pytest.warns(SeddWarning):
        assert "twice" not in registry().of("curriculum")
    with pytest.raises(ConfigError) as caught:
        sedd.load_config("quickstart", "curriculum.difficulty_ramp=twice")
    assert all(name in str(caught.value) for name in ("ours 1.2", "theirs 1.2"))


def test_every_broken_plugin_is_warned_of(install: Install) -> None:
    install("broken-one", "import no_such_module")
    install("broken-two", "1 / 0")
    problems = [str(problem) for problem in discover().problems]
    assert [problem.partition(": ")[0] for problem in problems] == ["broken-one 1.2", "broken-two 1.2"]
    with pytest.warns(SeddWarning) as caught:
        registry()
    assert [any(problem in str(warning.message) for warning in caught) for problem in problems] == [True, True]


def test_two_plugins_with_one_name_are_both_named(install: Install) -> None:
    install("ours", good("twice"))
    install("theirs", good("twice").replace("Twice", "Again"))
    (problem,) = discover().problems
    assert all(fact in str(problem) for fact in ("ours 1.2", "theirs 1.2", "curriculum 'twice'"))


def test_a_name_clash_leaves_the_other_parts_of_the_plugin(install: Install) -> None:
    install("half", good("linear") + good("other").replace("return [Other]", "return [Linear, Other]"))
    installed = discover()
    assert "other" in installed.of("curriculum")
    assert len(installed.problems) == 1


def test_a_module_listed_twice_is_loaded_once(install: Install) -> None:
    install("twofold", good("twofold"), entries=("one = twofold", "two = twofold"))
    installed = discover()
    assert installed.problems == ()
    assert [plugin.name for plugin in installed.plugins].count("twofold") == 1


def test_an_entry_point_that_is_none_is_a_problem(install: Install) -> None:
    install("hollow", "plugin = None", entries=("hollow = hollow:plugin",))
    (problem,) = discover().problems
    assert str(problem).startswith("hollow 1.2: ")


def test_an_entry_point_without_a_distribution_is_named_by_its_value() -> None:
    installed = discover([EntryPoint(name="x", value="no_such_module", group="sedd")])
    assert str(installed.problems[0]).startswith("no_such_module: ")


def test_an_installed_plugin_is_chosen_in_a_run_file(install: Install) -> None:
    install("a-first", good("first"))
    assert registry().of("curriculum")["first"].__module__ == "a_first"
    config = sedd.load_config("quickstart", "curriculum.difficulty_ramp=first")
    assert config.curriculum.part_name() == "first"
    (plugin,) = [plugin for plugin in registry().plugins if plugin.name == "first"]
    assert plugin.source == "a-first 1.2"


def test_a_name_that_is_not_installed_is_refused_with_those_that_are(install: Install) -> None:
    with pytest.raises(ConfigError) as caught:
        sedd.Config(curriculum={"difficulty_ramp": "first"})
    assert caught.value.keys == ("curriculum.difficulty_ramp",)
    assert "exponential" in str(caught.value)


def test_the_built_in_parts_use_the_hooks_of_plugins() -> None:
    installed = discover([])
    assert installed.problems == ()
    assert set(installed.of("curriculum")) == {"linear", "exponential", "cosine", "constant", "stages"}
    assert set(installed.of("noise")) == {"loglinear", "geometric", "cosine", "linear"}
    assert set(installed.of("model")) == {"transformer"}
    assert set(installed.of("device")) == {"auto", "cpu", "cuda", "mps", "xpu"}
    assert set(installed.of("data.alphabet")) == {"protein", "esm", "dna", "rna", "text", "ids"}
    assert set(installed.of("trackers")) == {"csv", "tensorboard", "wandb", "mlflow", "trackio"}
    assert set(installed.of("evaluation.metrics")) == {"masked_accuracy"}


def test_every_hook_has_a_kind_and_a_docstring() -> None:
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("sedd_")}
    assert set(hooks) == {kind.hook for kind in KINDS}
    assert all(hook.__doc__ for hook in hooks.values())


def test_the_options_of_a_part_are_described_for_listings() -> None:
    options = describe(registry().of("curriculum")["exponential"])
    assert options["rate"] == "float = 3.0"
    assert options["mode"] == "scale | truncate | bias = scale"
    assert "difficulty_ramp" not in options
