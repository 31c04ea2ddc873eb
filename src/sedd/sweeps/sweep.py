"""`sedd.sweep`: find the settings with the lowest held-out bound at equal residues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import open_data
from sedd.data.prepare.preparing import Progress
from sedd.devices import choose
from sedd.errors import ConfigError
from sedd.sweeps.bench import Bench
from sedd.sweeps.directory import MEASUREMENTS, RUNS, claimed, write_result
from sedd.sweeps.points import Sampler, require_optuna, single_changes
from sedd.sweeps.running import Setup, is_full, mask_range, residues_per_step, rung_steps, sequence_length
from sedd.sweeps.search import Plan, Say, search
from sedd.sweeps.space import Space, changed, check, space_of
from sedd.sweeps.tasks import Measurement, Task
from sedd.sweeps.trials import Sweep
from sedd.sweeps.workload import Workload

_WHY_SEEDS = ", since the difference between settings is judged by the difference between seeds"


def sweep(
    config: Config | str | Path,
    vary: Sequence[str] | Mapping[str, Any],
    *,
    trials: int = 30,
    seeds: int = 3,
    finalists: int = 3,
    budget_residues: float | None = None,
    one_at_a_time: bool = False,
    sampler: Sampler = "tpe",
    jobs: int = 1,
    run: str | Path | None = None,
    say: Say = lambda _: None,
    done: Callable[[Task, Measurement], object] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Try settings, and compare the best of them with the run file over several seeds.

    The objective is the held-out bound, which does not depend on the curriculum, over the mask rates that all trials
    are trained on, after the same number of training residues. A sweep that was interrupted goes on when it is called
    again with the same arguments and directory, and has the same result.

    Args:
        config: the run file that is to be improved: a `Config`, a preset, or the path of a run file.
        vary: texts such as ``"optim.lr=1e-4..1e-2:log"`` and ``"curriculum.mode=truncate,bias"``; or a mapping of
            keys to a list of values, to a range ``(low, high)``, or to ``(low, high, "log")``.
        trials: settings to try, besides the run file itself.
        seeds: seeds of each finalist and of the run file, which the search before has not used; at least 2.
        finalists: the best settings that are run with these seeds.
        budget_residues: training residues of each trial; by default those of the run file.
        one_at_a_time: change one key of the run file at a time, each setting with all seeds, and no search: every value
            of a list, both ends and the middle of a range. `trials` and `finalists` are ignored.
        sampler: `tpe` (optuna), or `quasi-random`, which fills the space evenly.
        jobs: processes that train at once.
        run: directory of the sweep; by default one named after the time, in `sweeps/`.
        say: called with a line of text before each part of the work.
        done: called with each task and its measurement.
        progress: called while data are prepared.

    Raises:
        ConfigError: if a key or a value cannot be varied, the trials share no mask rates, or a number is too small.
        CheckpointError: if the directory holds another sweep or other files, or another process works in it.
        SeddError: if optuna is missing and `sampler` is `tpe`.
        DataError: if the data cannot be used.
    """
    for name, number, least in (
        ("trials", trials, 1),
        ("seeds", seeds, 2),
        ("finalists", finalists, 1),
        ("jobs", jobs, 1),
    ):
        if number < least:
            raise ConfigError(f"{name}={number}: at least {least}" + (_WHY_SEEDS if name == "seeds" else ""))
    base = config if isinstance(config, Config) else load_config(config)
    space = space_of(vary)
    check(base, space)
    if sampler == "tpe" and not one_at_a_time:
        require_optuna()
    choose(base.device)
    directory = new_directory() if run is None else Path(run)
    length = sequence_length(base, open_data(base.data, seed=base.seed, progress=progress))
    residues = budget_residues or base.training.n_iters * residues_per_step(base, length)
    setup = Setup(base, residues, _shared_mask_rates(base, space), directory / RUNS, length)
    plan = Plan(
        base, space, trials, rung_steps(setup.steps(base)), residues, setup.mask_rates, seeds, finalists,
        single_changes=one_at_a_time, sampler=sampler, shared_held_out=base.data.train != "synthetic",
    )  # fmt: skip
    if one_at_a_time and not single_changes(base, space):
        raise ConfigError("every value to try is that of the run file; nothing would be changed")
    with claimed(directory, plan):
        workload = Workload(plan)
        say(workload.announcement)

        def measured(task: Task, one: Measurement) -> None:
            if done is not None:
                done(task, one)
            if (ahead := workload.finished(task)) is not None:
                say(ahead)

        bench = Bench(setup, directory / MEASUREMENTS, jobs, measured, workload.begin)
        found = replace(search(plan, bench, say=say), directory=directory)
        write_result(directory, setup, found)
    return found


def new_directory() -> Path:
    """The directory of a sweep without a name: one named after the time, in `sweeps/`."""
    return Path("sweeps", datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S"))


def _shared_mask_rates(base: Config, space: Space) -> tuple[float, float]:
    """The mask rates that all trials are trained on; all of them where the graph is varied.

    Raises:
        ConfigError: if there are none.
    """
    settings = [base, *(changed(base, {axis.key: value}) for axis in space for value in axis.single)]
    ranges = [mask_range(config) for config in settings]
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    if len({config.graph.type for config in settings}) > 1:
        return 0.0, 1.0
    if high <= low:
        raise ConfigError("no mask rate is trained in all settings; vary noise.sigma_min and noise.sigma_max less")
    return (0.0, 1.0) if is_full((low, high)) else (low, high)
