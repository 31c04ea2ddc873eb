"""Logs in which a column names the metric of a row (MLflow, the `csv` tracker of sedd), its data, or its run."""

from __future__ import annotations

from dataclasses import replace

from sedd.diagnosis.logs.log import Log, Row, number
from sedd.diagnosis.logs.names import is_data, is_epoch, loss_rank, step_rank, words

_KEYS = {"name", "key", "tag", "metric", "variable", "series"}
_VALUES = {"value", "values"}
_DATA = {"split", "phase", "stage", "mode", "set", "subset", "partition"}
"""Names of a column that says which data the loss of a row is of."""
_RUNS = {"run", "run_id", "run_name", "run_uuid", "experiment", "trial", "seed"}
"""Names of a column that says which run a row is of."""


def widened(log: Log) -> Log:
    """The log with one name per metric, if it is in long form; else the log itself."""
    key = next((name for name in log.names if len(words(name)) == 1 and set(words(name)) <= _KEYS), None)
    value = next((name for name in log.names if len(words(name)) == 1 and set(words(name)) <= _VALUES), None)
    if key is None or value is None or not any(_is_name(row, key) for row in log.rows):
        return log
    kept = [name for name in log.names if step_rank(name) is not None or is_epoch(name) or _is_run(name)]
    rows, metrics = [], dict.fromkeys(kept)
    for row in log.rows:
        if not _is_name(row, key) or value not in row.values:
            continue
        metric = str(row.values[key])
        metrics.setdefault(metric)
        rows.append(Row(row.line, {name: row.values[name] for name in kept if name in row.values}
                        | {metric: row.values[value]}))  # fmt: skip
    return replace(log, names=tuple(metrics), rows=rows, form=f"{log.form} with one value per row")


def _is_run(name: str) -> bool:
    return "_".join(words(name)) in _RUNS


def _is_name(row: Row, key: str) -> bool:
    return key in row.values and number(row.values[key]) is None


def by_data(log: Log) -> Log:
    """The log with `train/loss` and `val/loss` for `loss`, if a column such as `split` says which one a row has."""
    key = next((name for name in log.names if len(words(name)) == 1 and set(words(name)) <= _DATA), None)
    if key is None or not any(is_data(str(row.values[key])) for row in log.rows if key in row.values):
        return log
    rows, names = [], dict.fromkeys(name for name in log.names if loss_rank(name) is None)
    for row in log.rows:
        data = str(row.values.get(key, ""))
        renamed = {f"{data}/{name}" if data and loss_rank(name) is not None else name: value
                   for name, value in row.values.items()}  # fmt: skip
        names.update(dict.fromkeys(renamed))
        rows.append(Row(row.line, renamed))
    return replace(log, names=tuple(names), rows=rows)


def by_run(log: Log) -> Log:
    """The log with `a - loss` and `b - loss` for `loss`, as in exports of Weights & Biases, if a column says that
    it has more than one run."""
    key = next((name for name in log.names if _is_run(name)), None)
    if key is None or len({str(row.values.get(key)) for row in log.rows if key in row.values}) < 2:
        return log
    rows, names = [], dict.fromkeys(name for name in log.names if step_rank(name) is not None)
    for row in log.rows:
        run = str(row.values.get(key, ""))
        renamed = {name if step_rank(name) is not None else f"{run} - {name}": value
                   for name, value in row.values.items() if name != key}  # fmt: skip
        names.update(dict.fromkeys(renamed))
        rows.append(Row(row.line, renamed))
    return replace(log, names=tuple(names), rows=rows)
