"""Discovery: what is installed is found, what is broken is named, and one broken plugin does not hide another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import sedd
from sedd.errors import ConfigError, PluginError
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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution on the path, just as pip would: a module, and metadata with its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(distribution: str, source: str, *, entries: tuple[str, ...] = (), module: str = "") -> None:
        module = module or distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = entries or (f"{distribution} = {module}",)
        (info / "entry_points.txt").write_text("[sedd]\n" + "\n".join(lines) + "\n")
        registry.cache_clear()

    yield put
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    registry.cache_clear()


def good(name: str) -> str:
    return GOOD.format(name=name, cls=name.title().replace("-", ""))


BROKEN = {
    "it cannot be imported": (
        "import no_such_module_anywhere",
        r"broken 1\.2: cannot be imported \(ModuleNotFoundError: .*no_such_module_anywhere.*\); repair it or pip unin",
    ),
    "it exits while it is imported": ("raise SystemExit(3)", r"broken 1\.2: cannot be imported \(SystemExit: 3\)"),
    "it has a syntax error": ("def (", r"broken 1\.2: cannot be imported \(SyntaxError"),
    "its hook is misspelt": (
        "import sedd\n@sedd.hookimpl\ndef sedd_curriculum():\n    return []",
        r"broken 1\.2: 'sedd_curriculum' is not a hook of sedd; did you mean 'sedd_curricula'\? The hooks are",
    ),
    "its hook takes an argument": (
        "import sedd\n@sedd.hookimpl\ndef sedd_curricula(config):\n    return []",
        r"broken 1\.2: .*The hooks are sedd_curricula, .*, and they take no arguments",
    ),
    "its hook raises": (
        "import sedd\n@sedd.hookimpl\ndef sedd_noises():\n    raise KeyError('oops')",
        r"broken 1\.2: sedd_noises\(\) failed \(KeyError: 'oops'\)",
    ),
    "its hook returns a class, not a list": (
        good("single") + "\n@sedd.hookimpl\ndef sedd_noises():\n    return Single",
        r"broken 1\.2: sedd_noises\(\) must return a list of classes, it returned <class 'broken.Single'>",
    ),
    "its hook returns nothing": (
        "import sedd\n@sedd.hookimpl\ndef sedd_backends():\n    pass",
        r"broken 1\.2: sedd_backends\(\) must return a list of classes, it returned None",
    ),
    "its class is of another kind": (
        good("stranger") + "\n@sedd.hookimpl\ndef sedd_noises():\n    return [Stranger]",
        r"broken 1\.2: sedd_noises\(\) returned <class 'broken.Stranger'>, which is not a subclass of sedd.Noise",
    ),
    "its hook returns an instance": (
        good("instance").replace("return [Instance]", "return [Instance()]"),
        r"broken 1\.2: sedd_curricula\(\) returned Instance\(.*\), which is not a subclass of sedd.Curriculum",
    ),
    "its class misses a method": (
        good("missing").replace("def shape", "def shap"),
        r"broken 1\.2: broken.Missing does not implement shape",
    ),
    "its class has no literal": (
        good("nameless").replace('Literal["nameless"]', "str"),
        r'broken 1\.2: broken.Nameless has no name; give it a field such as difficulty_ramp: Literal\["my-name"\]',
    ),
    "its literal is no word": (
        good("number").replace('"number"', "7"),
        r"broken 1\.2: broken.Number has no name",
    ),
    "its literal has several values": (
        good("several").replace('Literal["several"]', 'Literal["several", "more"]'),
        r"broken 1\.2: broken.Several has no name; .*one literal, and the same default",
    ),
    "an option has a type that nobody knows": (
        "from __future__ import annotations\n"
        + good("vague").replace("    def shape", "    rate: Flot = 1\n    def shape"),
        r"broken 1\.2: broken.Vague has an option of unknown type \(Flot\); import that type",
    ),
    "it takes a name that is taken": (
        good("linear"),
        r"broken 1\.2: Linear and Linear of sedd \(built in\) both claim curriculum 'linear'; rename one, or pip unins",
    ),
    "it registers nothing": (
        good("bare").replace("@sedd.hookimpl", ""),
        r"broken 1\.2: broken registers nothing; decorate its hooks with @sedd.hookimpl and return a list of classes",
    ),
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_are_still_listed(why: str, install: Install) -> None:
    source, message = BROKEN[why]
    install("a-first", good("first"))
    install("broken", source)
    install("z-last", good("last"))
    found = discover()
    assert {"linear", "first", "last"} <= set(found.of("curriculum"))
    assert len(found.problems) == 1
    with pytest.raises(PluginError, match=message):
        raise found.problems[0]
    with pytest.raises(PluginError, match=message):
        registry()


def test_every_broken_plugin_is_in_the_message(install: Install) -> None:
    install("broken-one", "import no_such_module_anywhere")
    install("broken-two", "1 / 0")
    with pytest.raises(PluginError, match=r"(?s)broken-one 1\.2: .*ModuleNotFound.*broken-two 1\.2: .*ZeroDivision"):
        registry()


def test_two_plugins_with_one_name_are_both_named(install: Install) -> None:
    install("ours", good("twice"))
    install("theirs", good("twice").replace("Twice", "Again"))
    (problem,) = discover().problems
    assert {"ours 1.2", "theirs 1.2"} <= {word for word in ("ours 1.2", "theirs 1.2") if word in str(problem)}
    assert "both claim curriculum 'twice'" in str(problem)


def test_a_clash_does_not_take_the_other_parts_of_the_plugin_with_it(install: Install) -> None:
    install("half", good("linear") + good("other").replace("return [Other]", "return [Linear, Other]"))
    found = discover()
    assert "other" in found.of("curriculum")
    assert len(found.problems) == 1


def test_a_module_listed_twice_is_loaded_once(install: Install) -> None:
    install("twofold", good("twofold"), entries=("one = twofold", "two = twofold"))
    found = discover()
    assert found.problems == ()
    assert [plugin.name for plugin in found.plugins].count("twofold") == 1


def test_an_entry_point_that_is_nothing_is_a_problem(install: Install) -> None:
    install("hollow", "plugin = None", entries=("hollow = hollow:plugin",))
    (problem,) = discover().problems
    assert "hollow 1.2: its entry point is None" in str(problem)


def test_an_entry_point_without_a_distribution_is_named_by_its_value() -> None:
    found = discover([EntryPoint(name="x", value="no_such_module_anywhere", group="sedd")])
    assert str(found.problems[0]).startswith("no_such_module_anywhere: cannot be imported")


def test_an_installed_plugin_is_chosen_in_a_run_file(install: Install) -> None:
    install("a-first", good("first"))
    assert registry().of("curriculum")["first"].__module__ == "a_first"
    config = sedd.load_config("quickstart", "curriculum.difficulty_ramp=first")
    assert config.curriculum.part_name() == "first"
    (plugin,) = [plugin for plugin in registry().plugins if plugin.name == "first"]
    assert plugin.source == "a-first 1.2"


def test_a_name_that_is_not_installed_is_refused_with_those_that_are(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"curriculum.difficulty_ramp='first' is not installed; .* choose one of"):
        sedd.Config(curriculum={"difficulty_ramp": "first"})


def test_the_built_in_parts_come_through_the_same_door() -> None:
    found = discover([])
    assert found.problems == ()
    assert set(found.of("curriculum")) == {"linear", "exponential", "cosine", "constant", "stages"}
    assert set(found.of("noise")) == {"loglinear", "geometric", "cosine", "linear"}
    assert set(found.of("device")) == {"auto", "cpu", "cuda", "mps", "xpu"}
    assert set(found.of("trackers")) == {"csv", "tensorboard"}


def test_every_hook_has_a_kind_and_a_docstring() -> None:
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("sedd_")}
    assert set(hooks) == {kind.hook for kind in KINDS}
    assert all(hook.__doc__ for hook in hooks.values())


def test_the_options_of_a_part_are_described_for_listings() -> None:
    options = describe(registry().of("curriculum")["exponential"])
    assert options["rate"] == "float = 3.0"
    assert options["mode"] == "scale | truncate | bias = scale"
    assert "difficulty_ramp" not in options
