"""A simulated objective with the errors of real bounds: sequences of different difficulty, which settings share; an
effect of each setting on each sequence that averages out over all sequences; and noise from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sedd
from sedd.randomness import generator
from sedd.sweeps.points import Sampler
from sedd.sweeps.search import Plan
from sedd.sweeps.space import Changes, space_of
from sedd.sweeps.tasks import Measurement, Task

SEQUENCES = 60
LENGTHS = generator(0, "simulated-lengths").integers(50, 200, SEQUENCES).astype(float)
Truth = Callable[[Changes], float]


def no_effect(changes: Changes) -> float:
    """All settings are equal."""
    return 0.0


class Simulated:
    """Measures tasks without training; counts them."""

    def __init__(
        self,
        truth: Truth = no_effect,
        *,
        world: int = 0,
        seed_noise: float = 0.02,
        bias: float = 0.02,
        masks: float = 0.05,
    ) -> None:
        self.truth, self.world, self.seed_noise, self.bias, self.masks = truth, world, seed_noise, bias, masks
        self.tasks: list[Task] = []

    def __call__(self, tasks: Sequence[Task]) -> list[Measurement]:
        self.tasks += tasks
        return [self.one(task) for task in tasks]

    def one(self, task: Task) -> Measurement:
        setting = sorted(task.changes.items())
        words = repr(setting)
        level = 2.5 + self.truth(task.changes) + 0.2 / 2**task.rung
        by_sequence = (
            level
            + 0.4 * generator(self.world, "difficulty").standard_normal(SEQUENCES)
            + self.bias * 8 * generator(self.world, f"setting {words}").standard_normal(SEQUENCES)
            + self.seed_noise * generator(self.world, f"seed {words}", task.seed).standard_normal()
            + self.masks * generator(self.world, f"masks {words}", task.seed, task.rung).standard_normal(SEQUENCES)
        )
        nats = float(by_sequence @ LENGTHS / LENGTHS.sum())
        return Measurement(nats, 0.05, 100, 1000, True, by_sequence=by_sequence, lengths=LENGTHS)


def plan(*vary: str, trials: int = 12, sampler: Sampler = "quasi-random", seed: int = 0, **more: Any) -> Plan:
    """A plan around the preset `quickstart`."""
    base = sedd.load_config("quickstart", f"seed={seed}")
    space = space_of(vary or ("optim.lr=1e-4..1e-2:log", "curriculum.mode=truncate,bias"))
    return Plan(base, space, trials, (200, 400, 800), 1e6, (0.0, 1.0), sampler=sampler, **more)
