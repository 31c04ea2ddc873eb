"""What a file holds never reaches a terminal as a command, rich as markup, or a spreadsheet as a formula."""

from __future__ import annotations

import csv
import io
import os
import pickle
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table

import sedd
from sedd.cli.console import table
from sedd.config.sections import Training
from sedd.data.prepare.source_records import SourceRecord
from sedd.evaluation.likelihood import SequenceBound
from sedd.evaluation.sequence_table import sequence_table
from sedd.plain_text import SafeConsole, printable, spreadsheet_cell
from sedd.sampling.writing import write_samples
from sedd.training.progress import Display
from tests.processes import environment, sedd_command

HOSTILE = "\x1b[2Jx\x1b]0;title\x07\x9b31m\r\u202e\udcff"
UNSAFE = set("\x1b\x07\x9b\r\u202e\udcff")


def console(**options: object) -> tuple[SafeConsole, io.StringIO]:
    file = io.StringIO()
    return SafeConsole(file=file, width=400, force_terminal=True, color_system=None, **options), file


@given(st.text())
def test_what_is_printable_has_no_control_characters_and_clean_text_is_left_alone(text):
    shown = printable(text)
    assert all(character in "\n\t" or ord(character) >= 32 for character in shown)
    assert printable(shown) == shown
    shown.encode()
    assert printable("Ünïcode 蛋白质\t1\n2") == "Ünïcode 蛋白质\t1\n2"


def test_a_console_shows_control_characters_wherever_they_are(tmp_path):
    safe, file = console()
    safe.print(HOSTILE, markup=False)
    safe.print(f"[bold]{HOSTILE}[/bold]")
    inner = Table("name", title=HOSTILE)
    inner.add_row(HOSTILE)
    safe.print(inner)
    made = table(HOSTILE, HOSTILE)
    made.add_row(HOSTILE)
    safe.print(made)
    safe.log(HOSTILE)
    assert not UNSAFE & set(file.getvalue())
    assert file.getvalue().count("\\x1b[2J") >= 6


def test_a_live_display_keeps_its_own_control_characters():
    safe, file = console()
    with Progress(TextColumn("{task.fields[what]}"), console=safe) as bar:
        bar.add_task("", what=HOSTILE)
    assert "\x1b[?25l" in file.getvalue()  # rich hides the cursor
    assert "\x1b[2J" not in file.getvalue()


def test_brackets_in_what_training_says_are_no_markup():
    safe, file = console()
    Display(Training(n_iters=1), console=safe).say("runs/[red]mine[/red]/[/]")
    assert file.getvalue() == "runs/[red]mine[/red]/[/]\n"


@pytest.mark.parametrize("cls", [sedd.DataError, sedd.ConfigError, sedd.SamplingError, sedd.CheckpointError])
def test_errors_and_warnings_show_control_characters(cls):
    error = cls(HOSTILE)
    assert not UNSAFE & set(str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert not UNSAFE & set(str(sedd.SeddWarning(HOSTILE)))
    assert not UNSAFE & set(str(sedd.DataError("x", file=Path(HOSTILE), record=HOSTILE)))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("  =1", "'  =1"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-2.5e-3", "-2.5e-3"),
        ("+7", "+7"),
        ("sp|P12345|=x", "sp|P12345|=x"),
        ("", ""),
    ],
)
def test_a_cell_is_no_formula(text, cell):
    assert spreadsheet_cell(text) == cell


def test_ids_in_a_csv_of_bounds_are_no_formulas(tmp_path):
    bound = SequenceBound(0, 5, 2.0, 0.1)
    with sequence_table(
        tmp_path / "bounds.csv", iter([SourceRecord("=HYPERLINK(1)", 1), SourceRecord("=1+1", 0, "dropped")])
    ) as write:
        write([bound])
    with (tmp_path / "bounds.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["id", "'=HYPERLINK(1)", "'=1+1"]


def test_a_header_of_a_sample_is_one_line_without_control_characters(tmp_path):
    write_samples(tmp_path / "s.fasta", ["ACD"], sedd.data.PROTEIN, run=f"a\nb{HOSTILE}")
    text = (tmp_path / "s.fasta").read_text()
    assert text.count("\n") == 2
    assert not UNSAFE & set(text)


@pytest.mark.skipif(os.name == "nt", reason="file names have no control characters")
def test_the_command_line_shows_control_characters_and_brackets(tmp_path):
    name = "[red]x[bold] \x1b[2J.fasta"
    (tmp_path / name).write_text(f">{HOSTILE.encode('utf-8', 'replace').decode()}\nAC1\n")
    command = sedd_command("data", "prepare", str(tmp_path / name), str(tmp_path / "out"))
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 2
    assert "[red]x[bold] \\x1b[2J.fasta" in done.stderr
    assert not {"\x1b", "\x07"} & set(done.stderr + done.stdout)
