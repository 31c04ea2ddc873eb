"""Find the installed plugins, and refuse broken ones and conflicts.

`discover` collects all plugins and all problems, for `sedd plugins`. `registry` has all plugins for the rest of the
library, and warns of problems: a broken plugin takes away its own parts and nothing else.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Literal, get_args, get_origin

import pluggy
from pydantic.errors import PydanticUndefinedAnnotation

from sedd.errors import PluginError, SeddWarning
from sedd.plugins import backends, curricula, hookspecs, metrics, networks, noises, trackers, vocabularies
from sedd.plugins.contracts import Backend, Curriculum, Metric, Network, Noise, Part, Tracker, Vocabulary
from sedd.processes import installed_path

GROUP = "sedd"
BUILT_IN = "sedd (built in)"
"""The source of parts that no plugin can take the name of."""


@dataclass(frozen=True)
class Kind:
    """One kind of part: its section (or key) in the run file, its hook, its base class, and the name of the default
    part."""

    section: str
    hook: str
    base: type[Part]
    default: str | None

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to the section."""
        return tuple(self.section.split("."))

    @property
    def many(self) -> bool:
        """Whether the section is a list of parts."""
        return self.default is None


KINDS = (
    Kind("curriculum", "sedd_curricula", Curriculum, "linear"),
    Kind("noise", "sedd_noises", Noise, "loglinear"),
    Kind("model", "sedd_networks", Network, "transformer"),
    Kind("device", "sedd_backends", Backend, "auto"),
    Kind("trackers", "sedd_trackers", Tracker, None),
    Kind("data.alphabet", "sedd_alphabets", Vocabulary, "protein"),
    Kind("evaluation.metrics", "sedd_metrics", Metric, None),
)


@dataclass(frozen=True)
class Plugin:
    """One installed part and the distribution it comes from."""

    kind: Kind
    cls: type[Part]
    source: str

    @property
    def name(self) -> str:
        return self.cls.part_name()


@dataclass(frozen=True)
class Registry:
    """The installed parts, and the problems of installed plugins."""

    plugins: tuple[Plugin, ...]
    problems: tuple[PluginError, ...] = ()
    contested: frozenset[tuple[str, str]] = frozenset()
    """Section and name of parts that two plugins claim: neither is used."""

    def of(self, section: str) -> dict[str, type[Part]]:
        """The classes by name of one section, such as `curriculum` or `evaluation.metrics`."""
        mine = [plugin for plugin in self.plugins if plugin.kind.section == section]
        return {plugin.name: plugin.cls for plugin in mine if (section, plugin.name) not in self.contested}


@cache
def registry() -> Registry:
    """The installed parts; found once per process. Warns of each plugin that is broken, and of names that two claim."""
    installed = discover()
    for problem in installed.problems:
        warnings.warn(f"plugin {problem}. Everything else works", SeddWarning, stacklevel=2)
    return installed


def source_of(cls: type[Part]) -> str | None:
    """The distribution that a part comes from; None if it is not installed as a plugin."""
    return next((plugin.source for plugin in registry().plugins if plugin.cls is cls), None)


def discover(installed: Iterable[EntryPoint] | None = None) -> Registry:
    """Load the built-in parts and every entry point of group ``sedd``; broken plugins are listed as problems."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    by_name: dict[tuple[str, str], Plugin] = {}
    problems: list[PluginError] = []
    contested: set[tuple[str, str]] = set()
    for load, source in _sources(installed_entry_points() if installed is None else installed):
        try:
            plugins = _parts_of(manager, load, source)
        except PluginError as problem:
            problems.append(problem)
            continue
        for plugin in plugins:
            if (clash := _add(plugin, by_name)) is not None:
                problems.append(clash)
                key = plugin.kind.section, plugin.name
                contested |= {key} if by_name[key].source != BUILT_IN else set()
    return Registry(tuple(by_name.values()), tuple(problems), frozenset(contested))


def installed_entry_points() -> list[EntryPoint]:
    """The entry points of group ``sedd`` of installed distributions. A ``*.dist-info`` that merely lies in the current
    directory is not installed, although `importlib.metadata.entry_points` would find it there."""
    first: dict[str, Distribution] = {}  # on the path, the first distribution of a name hides later ones
    for distribution in distributions(path=installed_path()):
        first.setdefault(distribution.name, distribution)
    return [entry for found in first.values() for entry in found.entry_points if entry.group == GROUP]


def _sources(installed: Iterable[EntryPoint]) -> Iterable[tuple[Callable[[], Any], str]]:
    for module in (curricula, noises, networks, backends, trackers, vocabularies, metrics):
        yield partial(import_module, module.__name__), BUILT_IN
    # In order of name, so that which plugin gets a contested name does not depend on the file system.
    for entry in sorted(installed, key=lambda entry: (entry.dist.name if entry.dist else "", entry.name)):
        owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        yield entry.load, owner


def _parts_of(manager: pluggy.PluginManager, load: Callable[[], Any], source: str) -> list[Plugin]:
    """Load one plugin and call its hooks; one that fails is unregistered, so that it cannot affect the others."""
    try:
        module = load()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way while it is imported
        raise PluginError(
            f"{source}: cannot be imported ({type(error).__name__}: {error}); repair it or pip uninstall it"
        ) from error
    if module is None:
        raise PluginError(f'{source}: its entry point is None; let it name a module, such as my-plugin = "my_package"')
    if manager.is_registered(module):
        return []
    try:
        manager.register(module)
        manager.check_pending()
        plugins = [Plugin(kind, cls, source) for kind in KINDS for cls in _call(manager, module, kind, source)]
        if not plugins:
            name = getattr(module, "__name__", repr(module))
            advice = "decorate its hooks with @sedd.hookimpl and return a list of classes"
            raise PluginError(f"{source}: {name} registers nothing; {advice}")
        return plugins
    except PluginError:
        manager.unregister(module)
        raise
    except pluggy.PluginValidationError as error:
        if manager.is_registered(module):  # pluggy itself takes some of them out, depending on its version
            manager.unregister(module)
        raise PluginError(f"{source}: {_hook_problem(error, module)}") from error


def _hook_problem(error: pluggy.PluginValidationError, module: Any) -> str:
    hooks = [kind.hook for kind in KINDS]
    unknown = [name for name in dir(module) if name.startswith("sedd_") and name not in hooks]
    for name in unknown:
        if close := difflib.get_close_matches(name, hooks, n=1):
            return f"{name!r} is not a hook of sedd; did you mean {close[0]!r}? The hooks are {', '.join(hooks)}"
    return f"{' '.join(str(error).split())}. The hooks are {', '.join(hooks)}, and they take no arguments"


def _call(manager: pluggy.PluginManager, module: Any, kind: Kind, source: str) -> list[type[Part]]:
    accepted: list[type[Part]] = []
    for implementation in getattr(manager.hook, kind.hook).get_hookimpls():
        if implementation.plugin is not module:
            continue
        try:
            classes = implementation.function()
        except Exception as error:  # a hook may fail in any way
            raise PluginError(f"{source}: {kind.hook}() failed ({type(error).__name__}: {error})") from error
        if not isinstance(classes, list | tuple):
            raise PluginError(f"{source}: {kind.hook}() must return a list of classes, it returned {classes!r}")
        accepted += [check_class(cls, kind, source) for cls in classes]
    return accepted


def check_class(cls: Any, kind: Kind, source: str) -> type[Part]:
    """`cls`, if it fulfils the contract of its kind. Raises PluginError if `cls` is not a class of this kind, lacks a
    method, or has no name; says what is missing."""
    if not inspect.isclass(cls) or not issubclass(cls, kind.base):
        base = kind.base.__name__
        raise PluginError(f"{source}: {kind.hook}() returned {cls!r}, which is not a subclass of sedd.{base}")
    label = f"{source}: {cls.__module__}.{cls.__qualname__}"
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise PluginError(f"{label} does not implement {', '.join(missing)}")
    try:
        cls.model_rebuild()  # so that an unknown type is an error of the plugin, not of a run file
    except PydanticUndefinedAnnotation as error:
        missing_type = f"{label} has an option of unknown type ({error.name})"
        raise PluginError(f"{missing_type}; import that type at the top of its module") from error
    key = cls.discriminator
    field = cls.model_fields.get(key)
    literal = field.annotation if field else None
    if (
        field is None
        or get_origin(literal) is not Literal
        or get_args(literal) != (field.default,)
        or not isinstance(field.default, str)
    ):
        raise PluginError(
            f'{label} has no name; give it a field such as {key}: Literal["my-name"] = "my-name" '
            "(one literal, and the same default)"
        )
    return cls


def _add(plugin: Plugin, by_name: dict[tuple[str, str], Plugin]) -> PluginError | None:
    """Add a part, unless an earlier one has its name; returns the problem in that case."""
    other = by_name.setdefault((plugin.kind.section, plugin.name), plugin)
    if other.cls is plugin.cls:
        return None
    return PluginError(
        f"{plugin.source}: {plugin.cls.__qualname__} and {other.cls.__qualname__} of {other.source} both claim "
        f"{plugin.kind.section} {plugin.name!r}; rename one, or pip uninstall one of the two"
    )


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return str(getattr(annotation, "__name__", annotation))


def describe(cls: type[Part]) -> Mapping[str, str]:
    """The options of a part by name, each as `type = default`."""
    return {
        name: _type_name(field.annotation) + ("" if field.is_required() else f" = {field.default}")
        for name, field in cls.model_fields.items()
        if name != cls.discriminator
    }
