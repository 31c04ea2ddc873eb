"""Which names of a log are its step, training loss, held-out loss, learning rate, norm of the gradient and epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sedd.diagnosis.logs.log import Log, Row, listed
from sedd.diagnosis.logs.names import held_out_rank, is_epoch, is_grad_norm, is_lr, loss_rank, run_of, step_rank, words
from sedd.errors import ConfigError

MIN_SHARE = 0.1
"""Share of the values of the fullest candidate below which a candidate is a summary, not the training loss: the
`train_loss` that Hugging Face writes once at the end."""


@dataclass(frozen=True)
class Columns:
    """The names that make the curve."""

    steps: tuple[str, ...]
    """Steps; more than one where lines of different kinds use different names. No row has two of them."""
    loss: str
    held_out: str | None = None
    lr: str | None = None
    grad_norm: str | None = None
    epoch: str | None = None
    notes: tuple[str, ...] = ()

    def step_of(self, row: Row) -> str | None:
        """The name of the step that a row has."""
        return next((name for name in self.steps if name in row.values), None)


def choose(log: Log, loss: str | None = None) -> Columns:
    """The columns of a log; the training loss is the one that the user has named, or the one that is clearly meant.

    Raises:
        ConfigError: if there is no column of the name `loss`; lists the columns.
        DataError: if there is no training loss, no step, or several losses between which only the user can choose.
    """
    counts = Counter(name for row in log.rows for name in row.values)
    if not log.named:
        return _by_place(log, loss)
    chosen, notes = _loss(log, counts, loss)
    own = [name for name in log.names if name != chosen and run_of(name) in ("", run_of(chosen))]
    steps, more = _steps(log, own, chosen)
    held_out, further = _held_out(own, counts)
    names = [f"steps from {listed(steps)}", f"training losses from {chosen!r}"]
    names += [] if held_out is None else [f"held-out losses from {held_out!r}"]
    usual = log.tabular and steps == ("step",) and chosen == "loss" and held_out is None
    read = () if usual else (f"Log: {log.form}, with {', '.join(names)}.",)
    return Columns(
        steps,
        chosen,
        held_out,
        lr=_first(own, is_lr),
        grad_norm=_first(own, is_grad_norm),
        epoch=_first(own, is_epoch),
        notes=(*read, *notes, *more, *further),
    )


def _by_place(log: Log, loss: str | None) -> Columns:
    if len(log.names) < 2:
        raise log.error("one column of numbers; expected a step and a loss")
    if loss is not None and loss not in log.names[1:]:
        raise _no_such(log, loss)
    chosen = loss or log.names[1]
    if loss is None and len(log.names) > 2 and all(_is_integer(row, chosen) for row in log.rows):
        raise log.error(
            "the second column has only integers: a step, or decimal commas without quotes? Add a "
            "first line with the names of the columns, such as epoch,step,loss",
            log.rows[0],
        )
    more = f"; the columns {listed(log.names[2:])} were not used" if loss is None and len(log.names) > 2 else ""
    note = f"Log: {log.form}; the first column was taken as the step and column {chosen} as the loss{more}."
    return Columns((log.names[0],), chosen, notes=(note,) if len(log.names) > 2 else ())


def _is_integer(row: Row, name: str) -> bool:
    return str(row.values.get(name, "0")).strip().isdecimal()


def _no_such(log: Log, loss: str) -> ConfigError:
    return ConfigError(f"{log.file}: no column {loss!r} (loss, --loss); it has {listed(log.names)}")


def _loss(log: Log, counts: Counter[str], named: str | None) -> tuple[str, tuple[str, ...]]:
    """The training loss, and a note on what else it could have been."""
    if named is not None:
        matches = [name for name in log.names if name == named]
        matches = matches or [name for name in log.names if name.lower() == named.strip().lower()]
        matches = matches or [name for name in log.names if words(name) == words(named) and words(named)]
        if len(matches) != 1:
            raise _no_such(log, named)
        return matches[0], ()
    ranks = {name: rank for name in log.names if counts[name] and (rank := loss_rank(name)) is not None}
    if not ranks:
        hint = f"; name it with --loss COLUMN (loss=), one of {listed(log.names)}" if log.names else ""
        raise log.error(f"no column of training losses{hint}")
    frequent = {name: rank for name, rank in ranks.items() if not _is_summary(name, ranks, counts)}
    best = min(frequent.values())
    first = [name for name, rank in frequent.items() if rank == best]
    if len(first) > 1:
        raise log.error(f"more than one training loss: {listed(first)}; choose one with --loss COLUMN (loss=)")
    others = [name for name in ranks if name != first[0] and ranks[name] < 8]
    note = f"The training loss is {first[0]!r}; {listed(others)} could be chosen with --loss COLUMN (loss=)."
    return first[0], (note,) if others else ()


def _is_summary(name: str, ranks: Mapping[str, int], counts: Counter[str]) -> bool:
    """Whether a loss has so few values that it sums up another one of the same run."""
    # Only a name that says `loss` counts as the other one, as long as there is one.
    others = [other for other in ranks if run_of(other) == run_of(name) and (ranks[other] < 8 or ranks[name] >= 8)]
    fullest = max((counts[other] for other in others), default=counts[name])
    return counts[name] < MIN_SHARE * fullest or (counts[name] == 1 and fullest > 2)


def _steps(log: Log, names: Sequence[str], loss: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of steps, the best one first, and a note where there is more than one clock."""
    rows = [row for row in log.rows if loss in row.values]
    present = Counter(name for row in rows for name in row.values)
    ranked = sorted((rank, name) for name in names if (rank := step_rank(name)) is not None)
    full = [name for _, name in ranked if present[name] >= len(rows) / 2] or [name for _, name in ranked]
    if not full:
        return _unnamed_step(log, names, loss)
    best = full[0]
    # Lines of different kinds may name the step differently: `iter 100: loss`, `step 250: train loss`.
    apart = [
        name for _, name in ranked if name != best and not any({best, name} <= row.values.keys() for row in log.rows)
    ]
    others = [name for name in full if name not in (best, *apart)]
    note = f"Steps are those of {best!r}, not of {listed(others)}."
    return (best, *apart), (note,) if others else ()


def _unnamed_step(log: Log, names: Sequence[str], loss: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first of two columns, or an index without a name, as the step."""
    epochs = [name for name in names if is_epoch(name)]
    first = log.names[0]
    plausible = first in names and first not in epochs and not {"time", "date"} & set(words(first))
    if log.tabular and plausible and (len(log.names) == 2 or not words(first)):
        return (first,), (f"No column is named as a step; the first one, {first!r}, was taken as the step.",)
    if epochs:
        raise log.error(
            f"no optimizer steps, only epochs ({listed(epochs)}); a schedule needs steps. Add a column step: the epoch "
            "times the optimizer steps of an epoch"
        )
    raise log.error(f"no column of optimizer steps, such as step; it has {listed(log.names)}")


def _held_out(names: Sequence[str], counts: Counter[str]) -> tuple[str | None, tuple[str, ...]]:
    ranks = {name: rank for name in names if counts[name] and (rank := held_out_rank(name)) is not None}
    if not ranks:
        return None, ()
    best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
    if len(best) > 1:
        return None, (f"Held-out losses were not used, because there is more than one: {listed(best)}.",)
    others = [name for name in ranks if name != best[0]]
    return best[0], (f"The held-out loss is {best[0]!r}; {listed(others)} was not used.",) if others else ()


def _first(names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    """The shortest of the names that fit, which is the most general one."""
    return min((name for name in names if fits(name)), key=len, default=None)
