"""Tables with every separator, with and without names, as other programs export them."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sedd
from sedd.diagnosis.logs import read_log
from sedd.diagnosis.logs.table import read_table
from tests.diagnosis.logs import PLAIN, is_plain, read, written

SAME = {
    "commas": PLAIN,
    "tabs": PLAIN.replace(",", "\t"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "spaces": PLAIN.replace(",", "   "),
    "spaces and decimal commas": PLAIN.replace(",", " ").replace(".", ","),
    "spaces and decimal commas without names": "0 2,9\n500 2,8\n1000 2,7\n",
    "bars": PLAIN.replace(",", " | "),
    "Markdown": "| step | loss |\n|------|-----:|\n| 0 | 2.9 |\n| 500 | 2.8 |\n| 1000 | 2.7 |\n",
    "quotes and decimal commas": 'step,loss\n0,"2,9"\n500,"2,8"\n1000,"2,7"\n',
    "single quotes": "'step','loss'\n'0','2.9'\n'500','2.8'\n'1000','2.7'\n",
    "no names": "0,2.9\n500,2.8\n1000,2.7\n",
    "spaces after commas": PLAIN.replace(",", ", "),
    "capitals": PLAIN.upper(),
    "a byte order mark and CRLF": "\ufeff" + PLAIN.replace("\n", "\r\n"),
    "CR alone": PLAIN.replace("\n", "\r"),
    "UTF-16, as a redirection of PowerShell": PLAIN.encode("utf-16"),
    "Latin-1": "# für\n".encode("latin-1") + PLAIN.encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "comments and empty lines": f"# run 1\n\n% x\n{PLAIN}\n# end\n",
    "names in a comment, as numpy": "# step loss\n0 2.9\n500 2.8\n1000 2.7\n",
    "Excel's line of the separator": "sep=;\nstep;loss\n0;2,9\n500;2,8\n1000;2,7\n",
    "other text before": f"Started run\nDevice: cuda\n{PLAIN}",
    "other text behind": f"{PLAIN}Traceback (most recent call last):\nKilled\n",
    "steps as floats": "step,loss\n0.0,2.9\n5e2,2.8\n1000.0,2.7\n",
    "more columns in another order": "loss,comment,step\n2.9,one two,0\n2.8,,500\n2.7,x,1000\n",
    "an index of pandas": ",step,loss\n0,0,2.9\n1,500,2.8\n2,1000,2.7\n",
    "a series of pandas": ",0\n0,2.9\n500,2.8\n1000,2.7\n",
    "an index read again": "Unnamed: 0,loss\n0,2.9\n500,2.8\n1000,2.7\n",
    "a data frame as text": "   step  loss\n0     0   2.9\n1   500   2.8\n2  1000   2.7\n",
    "write.table of R": '"step" "loss"\n"1" 0 2.9\n"2" 500 2.8\n"3" 1000 2.7\n',
    "an empty last column": "step,loss,\n0,2.9,\n500,2.8,\n1000,2.7,\n",
    "empty cells": "step,loss\n0,2.9\n100,\n200,NA\n300,null\n400,-\n500,2.8\n600,None\n1000,2.7\n",
    "names repeated in the middle": PLAIN + "step,loss\n1000,2.7\n",
    "a torn last line": PLAIN + "15",
    "NUL bytes at the end": PLAIN.encode() + b"\0" * 100,
    "a quote that does not end": 'step,loss\n0,"2.9\n500,2.8\n1000,2.7\n',
    "Weights & Biases": '"Step","run-1 - train/loss","run-1 - train/loss__MIN","run-1 - train/loss__MAX"\n'
    '"0","2.9","2.9","2.9"\n"500","2.8","2.8","2.8"\n"1000","2.7","2.7","2.7"\n',
    "a run with separators in its name": '"Step","lr=1e-4, loss=2; a|b - loss"\n"0","2.9"\n"500","2.8"\n"1000","2.7"\n',
    "TensorBoard": "Wall time,Step,Value\n17.0,0,2.9\n18.0,500,2.8\n19.0,1000,2.7\n",
    "MLflow": "key,value,step\nloss,2.9,0\nval_loss,3,0\nloss,2.8,500\nlr,1,500\nloss,2.7,1000\n",
    "our own CSV tracker": "step,name,value\n0,loss,2.9\n0,lr,1e-4\n500,loss,2.8\n1000,loss,2.7\n",
    "a column of the data": "step,split,loss\n0,train,2.9\n0,val,3\n500,train,2.8\n1000,train,2.7\n",
}


@pytest.mark.parametrize("form", SAME)
def test_a_table_may_be_written_with(form, tmp_path):
    assert is_plain(read(tmp_path, SAME[form]))


def test_a_plain_table_needs_no_note(tmp_path):
    assert read(tmp_path, PLAIN).notes == ()


NANS = ["nan", "NaN", "-nan", "NAN", "nan(0x1)", "1.#QNAN", "-1.#IND"]
INFINITIES = ["inf", "-inf", "Infinity", "+INF", "-Infinity", "1.#INF", "1e999"]


@pytest.mark.parametrize("spelling", NANS + INFINITIES)
def test_a_loss_that_is_not_finite_is_kept(spelling, tmp_path):
    losses = read(tmp_path, f"step,loss\n0,2.9\n10,{spelling}\n20,2.8\n").losses
    assert len(losses) == 3
    assert math.isnan(losses[1]) == (spelling in NANS)
    assert not math.isfinite(losses[1])


def test_lightning_writes_training_and_validation_into_rows_of_their_own(tmp_path):
    text = (
        "epoch,step,train_loss,val_loss,lr-AdamW\n0,0,2.9,,\n0,0,,,1e-4\n0,499,,2.95,\n0,500,2.8,,\n"
        "1,999,,2.85,\n1,1000,2.7,,\n1,1000,,,2e-4\n"
    )
    curve = read(tmp_path, text, "metrics.csv")
    assert is_plain(curve)
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([499, 999], [2.95, 2.85])
    assert curve.lr is not None
    np.testing.assert_array_equal(curve.lr, [1e-4, np.nan, 2e-4])
    assert curve.epochs is not None
    assert curve.epochs.tolist() == [0, 0, 1]
    assert curve.grad_norm is None


ERRORS = {
    "step,loss\n0,2.9\n5,high\n": 3,
    "step,loss\n0,2.9\nx,1\n": 3,
    "0,2.9\n-1,2.8\n": 2,
    "0,2.9\n1.5,2.8\n": 2,
    "0,2.9\ninf,2.8\n": 2,
    "step,loss\n0,2.9\n1_000,2.8\n": 3,
    "step;loss\n0;2.9\n1,000;2.8\n": 3,  # thousands?
    "step;loss\n0;3,081.64\n": 2,
    "step,loss\n0,2,9\n500,2,8\n": 2,  # decimal commas without quotes
    "0,2,9\n500,2,8\n": 1,
    "0,0,2.9\n0,500,2.8\n": 1,  # epoch, step, loss
    "step;loss\n0;2,9\n500;2,8\n1.000;2,7\n": 4,
    "step,loss\n0,2.9\n500,-2.8\n": 3,
    "step,loss\n0,2.9\n500,0\n900,0\n": 3,
    "step,recon_loss,aux_loss\n0,2.9,1\n": 1,
    "epoch,loss\n1,2.9\n2,2.8\n": 1,
    "loss,lr\n2.9,1\n2.8,1\n": 1,
    "step,ppl\n0,20\n1,19\n": 1,
    "time,value,more\n0,1,2\n": 1,
    "foo,bar\n0,2.9\n500,2.8\n": None,
    "loss\n2.9\n": None,
    "2.9\n2.8\n": None,
    "step,loss\n": None,
    "\n# nothing\n": None,
    "": None,
}
"""Contents of a file, and the line that the error names."""


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_in_a_table_names_its_line(text, tmp_path):
    with pytest.raises(sedd.DataError) as caught:
        read(tmp_path, text)
    assert (caught.value.file, caught.value.line) == (tmp_path / "log.csv", ERRORS[text])


@pytest.mark.parametrize("content", [bytes(range(256)), b"\x89PNG\r\n\x1a\n\0", b"PK\x03\x04xxxx", b"\xff\xfe\x00"])
def test_a_file_that_is_not_text_is_an_error(content, tmp_path):
    with pytest.raises(sedd.DataError):
        read(tmp_path, content)


def test_a_file_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(sedd.DataError):
        read_log(tmp_path / "nowhere.csv")


def test_a_sentence_is_no_line_of_names(tmp_path):
    lines = [(1, "Training started. loss: score_entropy"), (2, "step: 50, training_loss: 5.32e+03")]
    assert read_table(tmp_path / "log", lines) is None


names = st.sampled_from(["step", "global_step", "Iteration"])
losses = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(
    losses=losses,
    gap=st.integers(1, 10_000),
    step=names,
    separator=st.sampled_from([",", ";", "\t", " "]),
    comma=st.booleans(),
    order=st.permutations(["step", "train_loss", "lr", "val_loss"]),
    header=st.booleans(),
)
def test_a_written_table_reads_back(losses, gap, step, separator, comma, order, header, tmp_path_factory):
    order = order if header else ["step", "train_loss", *(name for name in order if name not in ("step", "train_loss"))]
    columns = {
        "step": [str(gap * row) for row in range(len(losses))],
        "train_loss": [repr(loss) for loss in losses],
        "lr": [repr(loss / 3) for loss in losses],
        "val_loss": [repr(loss / 2) for loss in losses],
    }
    quote = '"' if comma and separator == "," else ""

    def cell(text: str) -> str:
        return f"{quote}{text.replace('.', ',') if comma else text}{quote}"

    lines = [separator.join(name if name != "step" else step for name in order)] if header else []
    lines += [separator.join(cell(columns[name][row]) for name in order) for row in range(len(losses))]
    curve = read_log(written(tmp_path_factory.mktemp("log"), "\n".join(lines) + "\n"))
    assert curve.steps.tolist() == [gap * row for row in range(len(losses))]
    assert curve.losses.tolist() == losses
    if header:
        assert curve.held_out.tolist() == [loss / 2 for loss in losses]
        assert curve.lr is not None
        assert curve.lr.tolist() == [loss / 3 for loss in losses]
