"""Quality as a human-readable table, at most 100 columns wide."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from sedd.evaluation.quality.quality import Quality, Row

COLOURS = {"beats": "green", "loses": "red", "cannot tell": "yellow"}
LEGEND = (
    "± is half of a 95 % interval. Divergences and the length distance are distances from the reference; for all other "
    "metrics, nearer to natural sequences is better. `-`: shuffling does not change this metric "
    "measurably. Against held-out sequences, `cannot tell` is the best to expect."
)


def quality_table(quality: Quality) -> Table:
    """One line per metric."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", overflow="fold")
    for name, count in (("samples", quality.samples), ("held-out", quality.held_out), ("shuffled", quality.held_out)):
        table.add_column(f"{name}\n({count:,})", justify="right", no_wrap=True)
    for name in ("vs shuffled", "vs held-out"):
        table.add_column(name, overflow="fold")
    for row in quality.rows:
        shuffled = _answer(row.against_shuffled) if row.differ else "-"
        table.add_row(escape(title_of(row)), *values_of(row), shuffled, _answer(row.against_held_out))
    return table


def title_of(row: Row) -> str:
    """The metric and the unit that `values_of` puts it in."""
    return f"{row.title}, {'nats/1000' if row.unit == 'nats' else '%'}"


def values_of(row: Row) -> list[str]:
    """Samples, held-out and shuffled, each with its interval."""
    pairs = [(row.samples, row.samples_half), (row.held_out, row.held_out_half), (row.shuffled, row.shuffled_half)]
    if row.unit == "nats":
        places = 1 if max(value for value, _ in pairs) >= 0.1 else 2
        return [f"{1000 * value:.{places}f} ±{1000 * half:.{places}f}" for value, half in pairs]
    return [f"{100 * value:.2f} ±{100 * half:.2f}" for value, half in pairs]


def _answer(answer: str) -> str:
    return f"[{COLOURS[answer]}]{answer}[/]"
