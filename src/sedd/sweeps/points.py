"""Which settings are tried: a deterministic function of the seed of the sweep, the number of a trial, and the trials of
earlier generations. So neither the number of processes nor an interruption changes what is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Literal

from sedd.config.config import Config
from sedd.errors import SeddError, install_extra
from sedd.randomness import generator, seed_for
from sedd.sweeps.space import Changes, Space, ValueAxis, value_of

Sampler = Literal["tpe", "quasi-random"]
Tried = Sequence[tuple[Changes, float]]
"""Finished trials in the order of their numbers: what was changed, and the bound, nats per residue."""
FIRST = 10
"""Trials of the first generation, which fill the space evenly."""
NEXT = 5
"""Trials of each later generation; they know the trials of the generations before, and not each other."""
ATTEMPTS = 64
"""Further draws for a setting that was tried before."""


def generations(trials: int) -> Iterator[range]:
    """The numbers of the trials of each generation; number 0 is the run file itself, and not among them."""
    first = 1
    while first <= trials:
        last = min(first + (FIRST if first == 1 else NEXT), trials + 1)
        yield range(first, last)
        first = last


def single_changes(base: Config, space: Space) -> list[Changes]:
    """Every change of one key: all choices, both ends and the middle of ranges; without the value of the run file."""
    return [{axis.key: value} for axis in space for value in axis.single if value != value_of(base, axis.key)]


def propose(space: Space, *, seed: int, numbers: range, before: Tried, sampler: Sampler) -> dict[int, Changes]:
    """The settings of a generation by trial number.

    Args:
        space: what is varied.
        seed: of the sweep.
        numbers: of the trials of this generation.
        before: the finished trials of earlier generations.
        sampler: `quasi-random`: evenly spread; `tpe`: evenly spread in the first generation, then where the
            tree-structured Parzen estimator of optuna (Bergstra et al. 2011) expects an improvement.

    A space of choices alone may hold fewer settings than trials: then fewer are returned.
    """
    spread = sampler == "quasi-random" or numbers.start == 1
    seen, found = [changes for changes, _ in before], {}
    for number in numbers:
        draw = _spread_out(space, seed, number) if spread else _tpe(space, seed, number, before)
        fresh = next((changes for changes in _draws(draw) if changes not in seen), None)
        if fresh is None:  # a last resort that meets every setting of a finite space
            fresh = next((changes for changes in _grid(space) if changes not in seen), None)
        if fresh is not None:
            found[number] = fresh
            seen.append(fresh)
            # Until it is measured it counts as bad, so that the rest of the generation looks elsewhere (constant liar).
            before = [*before, (fresh, math.inf)]
    return found


def _draws(draw: Callable[[int], Changes]) -> Iterator[Changes]:
    return (draw(attempt) for attempt in range(ATTEMPTS))


def _grid(space: Space) -> Iterator[Changes]:
    """All settings of a space of choices; nothing where there is a range."""
    if not all(isinstance(axis, ValueAxis) for axis in space):
        return
    sizes = [len(axis.values) for axis in space if isinstance(axis, ValueAxis)]
    for index in range(math.prod(sizes)):
        changes = {}
        for axis, size in zip(space, sizes, strict=True):
            index, place = divmod(index, size)
            changes[axis.key] = axis.at((place + 0.5) / size)
        yield changes


def _spread_out(space: Space, seed: int, number: int) -> Callable[[int], Changes]:
    """The additive recurrence u = shift + n / phi^k mod 1 with phi^(d + 1) = phi + 1 (Roberts 2018): each prefix of it
    fills the cube evenly, and the n-th point depends on n alone."""
    phi = 2.0
    for _ in range(40):
        phi = (1.0 + phi) ** (1.0 / (len(space) + 1))
    shift = generator(seed, "sweep-shift").random(len(space))

    def draw(attempt: int) -> Changes:
        if attempt:
            u = generator(seed, "sweep-again", number, attempt).random(len(space))
        else:
            u = (shift + number / phi ** (1.0 + generator(seed, "sweep-axes").permutation(len(space)))) % 1.0
        return {axis.key: axis.at(float(place)) for axis, place in zip(space, u, strict=True)}

    return draw


def require_optuna() -> Any:
    """The module optuna.

    Raises:
        SeddError: if it is missing; names what to install, and what works without it.
    """
    try:
        return import_module("optuna")
    except ModuleNotFoundError as missing:
        raise SeddError(
            f"--sampler tpe needs optuna ({missing}): {install_extra('tune')}; or use --sampler quasi-random, "
            "which needs nothing"
        ) from None


def _tpe(space: Space, seed: int, number: int, before: Tried) -> Callable[[int], Changes]:
    optuna = require_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    float_, integer, choice = (
        getattr(optuna.distributions, f"{name}Distribution") for name in ("Float", "Int", "Categorical")
    )
    # Values of a list by their index: optuna takes only values that can be hashed.
    distributions = {
        axis.key: choice(tuple(range(len(axis.values))))
        if isinstance(axis, ValueAxis)
        else (
            integer(int(axis.low), int(axis.high), log=axis.log)
            if axis.integer
            else float_(axis.low, axis.high, log=axis.log)
        )
        for axis in space
    }
    finite = [value for _, value in before if math.isfinite(value)]
    worst = max(finite, default=0.0)  # of a trial that failed or is not measured yet

    def plain(changes: Changes) -> dict[str, Any]:
        return {
            axis.key: axis.values.index(changes[axis.key]) if isinstance(axis, ValueAxis) else changes[axis.key]
            for axis in space
        }

    def draw(attempt: int) -> Changes:
        sampler = optuna.samplers.TPESampler(
            seed=seed_for(seed, "sweep-tpe", number, attempt) % 2**32, n_startup_trials=1
        )
        study = optuna.create_study(sampler=sampler)
        for changes, value in before:
            if changes:  # the run file itself need not lie in the space
                study.add_trial(
                    optuna.trial.create_trial(
                        params=plain(changes), distributions=distributions,
                        value=value if math.isfinite(value) else worst,
                    )
                )  # fmt: skip
        chosen = study.ask(distributions).params
        return {
            axis.key: axis.values[chosen[axis.key]] if isinstance(axis, ValueAxis) else axis.rounded(chosen[axis.key])
            for axis in space
        }

    return draw
