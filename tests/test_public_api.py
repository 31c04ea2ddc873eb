"""The public surface: exactly these names, each with words of its own."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest
from pydantic import BaseModel

import sedd
import sedd.results

PUBLIC = [
    "Alarm",
    "Alphabet",
    "Attribution",
    "Backend",
    "Bound",
    "CheckpointError",
    "Comparison",
    "Config",
    "ConfigError",
    "Curriculum",
    "DataError",
    "Dataset",
    "DeviceError",
    "Diagnosis",
    "DistributedError",
    "Forecast",
    "Metric",
    "Network",
    "Noise",
    "Part",
    "PluginError",
    "Pretrained",
    "PublishedWeights",
    "Ramp",
    "RankLostError",
    "SamplingError",
    "SeddError",
    "SeddWarning",
    "StepReport",
    "Sweep",
    "Tracker",
    "Trainer",
    "TrainingError",
    "Verdict",
    "Vocabulary",
    "compare",
    "diagnose",
    "forecast",
    "hookimpl",
    "load",
    "load_config",
    "sweep",
]


def test_the_public_names_are_these() -> None:
    assert sedd.__all__ == PUBLIC  # to add one is to promise it: document it in docs/reference/api/


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_object_has_a_docstring(name: str) -> None:
    thing = getattr(sedd, name)
    if name == "hookimpl":  # pluggy's, which documents it
        assert callable(thing)
        return
    assert vars(thing).get("__doc__") if inspect.isclass(thing) else inspect.getdoc(thing)


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(sedd, name))])
def test_a_public_method_has_a_docstring(name: str) -> None:
    cls = getattr(sedd, name)
    silent = [
        method
        for method, function in vars(cls).items()
        if not method.startswith("_")
        and (inspect.isfunction(function) or isinstance(function, property))
        and not inspect.getdoc(getattr(cls, method))
    ]
    assert silent == []


def test_every_error_is_a_sedd_error() -> None:
    errors = [getattr(sedd, name) for name in PUBLIC if name.endswith("Error")]
    assert all(issubclass(error, sedd.SeddError) for error in errors)
    assert not issubclass(sedd.SeddWarning, sedd.SeddError)


def test_errors_about_a_value_are_value_errors() -> None:
    errors = {name for name in PUBLIC if name.endswith("Error") and issubclass(getattr(sedd, name), ValueError)}
    assert errors == {"ConfigError", "DataError", "SamplingError"}
    with pytest.raises(ValueError, match=r"which='newest'"):
        sedd.load("runs/mine", which="newest")  # type: ignore[arg-type]  # wrong on purpose


def test_the_library_logs_through_one_silent_logger() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("sedd").handlers)


def test_importing_sedd_does_not_import_what_only_some_need() -> None:
    heavy = ["torch.distributed.run", "tensorboard", "hypothesis", "matplotlib"]
    code = f"import sys, sedd; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_spin_shortly_unless_somebody_has_chosen(given: dict[str, str], found: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = """
import os, sys

class Watch:  # libgomp reads it when torch is imported, and never again
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            sys.exit()

sys.meta_path.insert(0, Watch())
import sedd
"""
    run = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == found


def _named(annotation: object) -> Iterator[type]:
    """The classes of sedd in a type annotation."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("sedd."):
        yield annotation
    for argument in get_args(annotation):
        yield from _named(argument)


def _promised(cls: type) -> Iterator[tuple[str, type]]:
    """The classes of sedd that public methods of `cls` return and its public fields hold."""
    hints = get_type_hints(cls) if not issubclass(cls, BaseModel) else {}
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, staticmethod | classmethod):
            function = function.__func__
        if inspect.isfunction(function):
            hints[name] = get_type_hints(function, localns=vars(sedd)).get("return")
    for name, hint in hints.items():
        if not name.startswith("_"):
            yield from ((f"{cls.__qualname__}.{name}", found) for found in _named(hint))


def test_every_type_that_a_public_method_returns_or_a_public_field_holds_is_importable() -> None:
    importable = {id(getattr(module, name)) for module in (sedd, sedd.results) for name in module.__all__}
    classes = [getattr(sedd, name) for name in sedd.__all__ if inspect.isclass(getattr(sedd, name))]
    classes += [getattr(sedd.results, name) for name in sedd.results.__all__]
    missing = {
        f"{where}: {found.__module__}.{found.__qualname__}"
        for cls in classes
        for where, found in _promised(cls)
        if id(found) not in importable
    }
    assert sorted(missing) == []
