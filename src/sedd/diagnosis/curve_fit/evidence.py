"""Marginal likelihoods of many linear models at once: unit + learning + a disturbance, by Laplace's approximation.

With x = log(loss / uniform predictor) at the blocks, the model is

    x = log u + learning + disturbance + slow misfit + scatter

`slow misfit` is a Gaussian process with a standard deviation of `MISFIT` and the memory of an eighth of the curve: real
curves are not exactly of any form. It is whitened away, together with the scatter, before the models are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.series import WEIGHT, Series
from sedd.diagnosis.curve_fit.settings import Setting
from sedd.diagnosis.curve_fit.shapes import STRETCHES, Disturbances, Learning
from sedd.diagnosis.curve_fit.units import EXACT, Unit

Array = NDArray[np.float64]

MISFIT = 0.006
"""Standard deviation of the slow misfit, as a share of the loss."""
MEMORY = 8.0
"""Length of the curve over the memory of the misfit."""
OCCAM = 12.0
"""What priors and volumes usually take from the log evidence."""
LEAST_CHANGE = 0.04
"""Smallest disturbance that counts, in the logarithm of the loss."""
LEAST_STRETCH = 0.06
"""Smallest change of a stretch that comes back at once, likewise."""
LEAST_FALL = 0.16
"""Smallest sudden fall that is not taken for learning, likewise."""
EARLY = 0.12
"""Share of the run in which a fall is learning."""
MOST_CHANGE = 6.0
"""Largest one."""
BEYOND = 4.0
"""Largest learning beyond what any known model reaches, in the logarithm of the loss."""
SLACK = 0.05
"""Learning beyond the best known model that its uncertainty explains."""
NOTHING = 0.5
"""Learning below this share of that of the unigram model counts as none."""
MOST_WORSE = 0.2
"""Log of what a new network loses beyond the uniform predictor, at most: that of logits which scatter by 0.6."""
STATES = ("none", "usual", "beyond")
"""How much was learnt: not even token frequencies, what known models can, more than that."""


@dataclass(frozen=True, eq=False)
class Whitened:
    """Inner products of all curves and targets, in units of the scatter."""

    gram: Array
    """(curves, curves): one, learning, disturbances."""
    cross: Array
    """(curves, settings)."""
    squares: Array
    """(settings,)."""
    learning: Learning
    disturbances: Disturbances
    blocks: int
    freedom: float
    """Degrees of freedom of the scatter, which is itself estimated."""
    volume: float
    """Log of the determinant of the scatter."""

    def density(self, misfit: Array) -> Array:
        """Log density of targets with a sum of squares `misfit`, up to a constant: Student's t, the scatter integrated
        out."""
        spread = np.log1p(np.maximum(misfit, 0.0) / self.freedom)
        return np.asarray(-0.5 * (self.freedom + self.blocks) * spread - self.volume)

    def misfit_per_block(self, evidence: float) -> float:
        """About the sum of squares per block of a model with that evidence; 1 for a good fit."""
        logs = -2.0 * (evidence + self.volume + OCCAM) / (self.freedom + self.blocks)
        return self.freedom * math.expm1(max(min(logs, 50.0), 0.0)) / self.blocks

    def among(self, settings: list[int]) -> Whitened:
        """The same for some of the settings."""
        return replace(self, cross=self.cross[:, settings], squares=self.squares[settings])


def whiten(series: Series, settings: list[Setting], learning: Learning, disturbances: Disturbances) -> Whitened:
    """The inner products for a series, with log(loss / uniform predictor) under each setting as targets."""
    targets = series.mean - np.array([setting.log_loss(series.at) for setting in settings])
    return whiten_targets(series, targets, learning, disturbances)


def whiten_targets(
    series: Series, targets: Array, learning: Learning, disturbances: Disturbances, further: Array | float = 0.0
) -> Whitened:
    """The inner products for targets, (targets, blocks); `further`, (blocks, blocks), is added to the covariance."""
    blocks = len(series.at)
    ranks = np.arange(blocks)
    slow = MISFIT**2 * np.exp(-np.abs(ranks[:, None] - ranks) / max(blocks / MEMORY, 1.0))
    lower = np.linalg.cholesky(np.diag(series.variance) + slow + further)
    columns = np.concatenate([np.ones((1, blocks)), -learning.columns, disturbances.columns])
    both = np.linalg.solve(lower, np.concatenate([columns, targets]).T)
    x, z = both[:, : len(columns)], both[:, len(columns) :]
    freedom = WEIGHT + len(series.logs) / 2.0
    volume = float(np.log(np.diag(lower)).sum()) - 0.5 * float(np.log(series.variance).sum())
    return Whitened(x.T @ x, x.T @ z, (z * z).sum(0), learning, disturbances, blocks, freedom, volume)


@dataclass(frozen=True, eq=False)
class Cells:
    """Log marginal likelihoods of one unit."""

    calm: Array
    """(states, settings): without a disturbance."""
    disturbed: Array
    """(states, disturbances, settings): with a disturbance that raises the loss."""
    fallen: Array
    """(disturbances, settings): with one that lowers it at once."""


def cells(white: Whitened, unit: Unit, floor: float, frequencies: float) -> Cells:
    """Marginal likelihoods of every setting and disturbance in one unit.

    Args:
        floor: most learning of the best known model, as a log of the loss.
        frequencies: learning of the unigram model, likewise.
    """
    learning, count, settings = white.learning, len(white.disturbances.since), len(white.squares)
    first, sets = 1 + len(learning.columns), len(learning.sets)
    calm, calm_state = np.full((sets, 1, settings), -np.inf), np.zeros((sets, 1, settings), np.int8)
    logs, state = np.full((sets, count, settings), -np.inf), np.zeros((sets, count, settings), np.int8)
    down = np.full((sets, count, settings), -np.inf)
    # Early falls are learning.
    since = white.disturbances.since
    late = since > since.min() + EARLY * np.ptp(since) if count else np.zeros(0, bool)
    stretch = white.disturbances.among(STRETCHES)
    least = np.where(stretch, LEAST_STRETCH, LEAST_CHANGE)[:, None]
    falls = (white.disturbances.among(("level", "slowing")) & late)[:, None]
    harm = slice(first, None)
    for number, (chosen, log_prior) in enumerate(zip(learning.sets, learning.log_prior, strict=True)):
        base = [0, *(1 + i for i in chosen)]
        ends, model = learning.end[list(chosen)], Base.of(white, unit, base)
        own_evidence = white.density(model.misfit) + model.volume
        logs_, states = _weighed(own_evidence, model.found[None], ends, log_prior, unit, floor, frequencies)
        calm[number], calm_state[number] = logs_, states
        if not count:
            continue
        # One more column, by elimination of the others.
        others = white.gram[np.ix_(base, range(first, first + count))]
        solved = model.inverse @ others
        own = np.maximum(np.diagonal(white.gram)[harm] - (others * solved).sum(0), 1e-9)[:, None]
        left = white.cross[harm] - solved.T @ model.cross
        change = left / own
        evidence = white.density(model.misfit - left * change) + model.volume - 0.5 * np.log(own / (2 * math.pi))
        found = model.found[None] - solved.T[:, :, None] * change[:, None, :]
        evidence, state[number] = _weighed(evidence, found, ends, log_prior, unit, floor, frequencies)
        evidence -= np.log(np.maximum(np.abs(change), LEAST_CHANGE)) + math.log(math.log(MOST_CHANGE / LEAST_CHANGE))
        logs[number] = np.where((change > least) & (change < MOST_CHANGE), evidence, -np.inf)
        down[number] = np.where(falls & (change < -LEAST_FALL), evidence, -np.inf)
    return Cells(
        calm=_by_state(calm, calm_state)[:, 0],
        disturbed=_by_state(logs, state),
        fallen=np.logaddexp.reduce(down, axis=0),
    )


@dataclass(frozen=True, eq=False)
class Base:
    """A model of unit and learning, solved for all settings."""

    inverse: Array
    """(columns, columns)."""
    cross: Array
    """(columns, settings)."""
    found: Array
    """(columns, settings): coefficients."""
    misfit: Array
    """(settings,): sum of squares that is left."""
    volume: float
    """Log of the volume that the coefficients may have."""

    @classmethod
    def of(cls, white: Whitened, unit: Unit, base: list[int]) -> Base:
        precision, size = unit.spread**-2, len(base)
        gram = white.gram[np.ix_(base, base)].copy()
        gram[0, 0] += precision
        gram[np.arange(size), np.arange(size)] *= 1.0 + 1e-9
        gram[np.arange(size), np.arange(size)] += 1e-9
        cross = white.cross[base].copy()
        cross[0] += precision * unit.log_factor
        inverse: Array = np.linalg.inv(gram).astype(np.float64)
        found = inverse @ cross
        misfit = white.squares + precision * unit.log_factor**2 - (cross * found).sum(0)
        volume = float(np.linalg.slogdet(gram)[1])
        constant = 0.5 * (size - 1) * math.log(2 * math.pi) - math.log(unit.spread)
        return cls(inverse, cross, found, misfit, constant - 0.5 * volume)


def _weighed(
    evidence: Array, found: Array, ends: Array, log_prior: float, unit: Unit, floor: float, frequencies: float
) -> tuple[Array, NDArray[np.int8]]:
    """Evidence with the priors of the amounts, -inf where they are impossible; and the state, by what was learnt."""
    amounts = found[:, 1:]
    total = np.einsum("dks,k->ds", amounts, ends)
    logs = evidence + log_prior + _amplitude_prior(amounts, total, floor)
    logs = np.where((amounts < 0).any(1) | impossible(unit, found[:, 0]), -np.inf, logs)
    state = (total >= NOTHING * frequencies).astype(np.int8) + (total > floor + SLACK)
    return logs, state


def _by_state(logs: Array, state: NDArray[np.int8]) -> Array:
    """(states, ...): log of the sum over sets of learning, for each state."""
    top = logs.max(0)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(logs - top)
    with np.errstate(divide="ignore"):
        return np.array([np.log((weights * (state == i)).sum(0)) + top for i in range(len(STATES))])


def impossible(unit: Unit, log_factor: Array) -> NDArray[np.bool_]:
    """Whether a unit cannot have such a factor."""
    if unit.is_residue:  # a new network is not better than the uniform predictor, nor much worse
        return np.asarray((log_factor < -3 * EXACT) | (log_factor > MOST_WORSE))
    match unit.name:
        case "positions":
            return np.asarray((log_factor > -0.02) | (log_factor < math.log(0.15)))
        case "sequence":
            return np.asarray((log_factor < math.log(15.0)) | (log_factor > math.log(8000.0)))
        case "bits of sequences":
            return np.asarray((log_factor < math.log(20.0)) | (log_factor > math.log(12000.0)))
    return np.zeros(log_factor.shape, bool)


def _amplitude_prior(amounts: Array, total: Array, floor: float) -> Array:
    """Log density of the amounts that were learnt: even up to the floor, and beyond it up to `BEYOND`."""
    if not amounts.shape[1]:
        return np.zeros(total.shape)
    density = np.where(total <= floor + SLACK, -math.log(floor), -math.log(BEYOND))
    return np.asarray(amounts.shape[1] * density)
