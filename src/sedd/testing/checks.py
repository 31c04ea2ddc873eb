"""Collect the checks of a class, and run them."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, Unsatisfiable

from sedd.plugins.contracts import Backend, Curriculum, Network, Noise, Part, Ramp, Tracker, Vocabulary
from sedd.testing import backends, curricula, every_part, networks, noises, trackers, vocabularies
from sedd.testing.instances import parts
from sedd.testing.reports import Draw, label

P = TypeVar("P", bound=Part)
Body = Callable[[Any, Draw], None]
_ON_PARTS: tuple[tuple[type[Part], tuple[Body, ...]], ...] = (
    (Part, every_part.CHECKS),
    (Curriculum, curricula.CHECKS),
    (Ramp, curricula.RAMP_CHECKS),
    (Noise, noises.CHECKS),
    (Network, networks.CHECKS),
    (Backend, backends.CHECKS),
    (Tracker, trackers.CHECKS),
    (Vocabulary, vocabularies.CHECKS),
)


@dataclass(frozen=True)
class Check:
    """The check of one requirement for one class: call it to run it; `str` of it is its name."""

    name: str
    cls: type[Part]
    promise: str
    """The requirement, in a sentence."""
    run: Callable[[], None]

    def __call__(self) -> None:
        """Run the check.

        Raises:
            AssertionError: if the class violates the requirement; has the options, the place and what was expected.
            unittest.SkipTest: if this machine cannot run the check; has the reason.
        """
        self.run()

    def __str__(self) -> str:
        return self.name


def checks_for(
    cls: type[P], *, instances: st.SearchStrategy[P] | None = None, exempt: Mapping[str, str] | None = None
) -> list[Check]:
    """The checks of a curriculum, noise schedule, network, backend, tracker or vocabulary.

    Args:
        cls: the class of the plugin, registered or not.
        instances: a strategy for instances; by default `parts(cls)`, and for a network small ones.
        exempt: names of checks that do not apply to this class, each with the reason for skipping it.

    Raises:
        ValueError: if `exempt` names a check that the class does not have.

    Examples:
        >>> from sedd.plugins.curricula import Linear
        >>> [str(check) for check in checks_for(Linear)][:2]
        ['name_can_be_chosen_in_a_run_file', 'class_says_what_it_is']
    """
    exempt = exempt or {}
    on_parts = [body for base, bodies in _ON_PARTS if issubclass(cls, base) for body in bodies]
    bodies: list[Callable[..., None]] = [*every_part.ON_CLASS, *on_parts]
    if unknown := set(exempt) - {body.__name__ for body in bodies}:
        raise ValueError(f"exempt names no check of {cls.__name__}: {', '.join(sorted(unknown))}")
    made = []
    for body in bodies:
        run = partial(_run, body, cls, instances, exempt.get(body.__name__))
        made.append(Check(body.__name__, cls, (body.__doc__ or "").strip(), run))
    return made


def _run(
    body: Callable[..., None], cls: type[Part], instances: st.SearchStrategy[Any] | None, exempt: str | None
) -> None:
    if exempt is not None:
        raise unittest.SkipTest(exempt)
    if body in every_part.ON_CLASS:
        body(cls)
    else:
        _search(body, cls, _instances(body, cls) if instances is None else instances)


def _instances(body: Body, cls: type[Part]) -> st.SearchStrategy[Any]:
    """Any instances; where networks are built, small ones."""
    builds = issubclass(cls, Network) and body in networks.CHECKS
    return networks.small_networks(cls) if builds and issubclass(cls, Network) else parts(cls)


def _search(body: Body, cls: type[Part], instances: st.SearchStrategy[Any]) -> None:
    """Search for an instance that violates the requirement, and raise the error of the simplest one."""
    violations: list[AssertionError] = []

    @settings(
        # Equal examples in every run, so that a check does not fail now and then. Devices, files and networks are slow.
        max_examples=8 if issubclass(cls, Backend | Network | Tracker) else 50,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),  # our messages explain; Hypothesis would trace every line for it
        suppress_health_check=list(HealthCheck),
    )
    @given(instances, st.data())
    def run(part: Part, data: Any) -> None:
        try:
            body(part, data.draw)
        except AssertionError as broken:
            violations.append(broken)
            raise

    try:
        run()
    except FlakyFailure:
        # A plugin with hidden state behaves differently when Hypothesis repeats an example; its first error is right.
        raise (violations or [AssertionError(f"{label(cls)}: returns another value when called again")])[0] from None
    except Unsatisfiable:
        raise AssertionError(
            f"{label(cls)}: no valid instance was found within the bounds of its options; narrow the bounds, or pass "
            "checks_for(cls, instances=<a Hypothesis strategy>)"
        ) from None
    except (AssertionError, unittest.SkipTest):
        raise
    except Exception as error:  # for example a class with an abstract method left, or a validator that crashes
        raise AssertionError(
            f"{label(cls)}: {type(error).__name__} while its instances were built or compared: {error}"
        ) from error
