"""The command line: thin words over the library. Expected errors are one message and exit code 2."""

from __future__ import annotations

import sys
import time
import warnings
from importlib import import_module
from typing import NoReturn

import torch
from rich.markup import escape

from sedd.cli.app import app, err, out
from sedd.distributed.group import RankInfo, rank_lost_error
from sedd.errors import LOST, SeddError

__all__ = ["app", "main"]

# Importing a module registers its commands, in the order of `sedd --help`.
for _module in (
    "train",
    "sample",
    "evaluate",
    "variants",
    "quality",
    "forecast",
    "diagnose",
    "compare",
    "report",
    "data",
    "plugins",
):
    import_module(f"sedd.cli.{_module}")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    err.print(f"[yellow]warning:[/yellow] {escape(str(message))}")


def main() -> None:
    """Entry point of the command `sedd`."""
    warnings.showwarning = _show_warning
    info = RankInfo.from_environment()
    if info is not None and info.rank:
        out.quiet = err.quiet = True  # the first process of a group speaks for all
    try:
        app()
    except SeddError as error:
        _fail(str(error))
    except OSError as error:  # the disk is full, a file is in the way or not ours: nothing a traceback would explain
        _fail(": ".join(filter(None, (error.filename and str(error.filename), error.strerror or str(error)))))
    except torch.OutOfMemoryError as error:
        _fail(
            f"out of memory ({error}). Divide training.batch_size by 4 and multiply training.accum by 4: the run stays "
            "the same"
        )
    except RuntimeError as error:
        lost = rank_lost_error(error)
        if lost is None:
            raise
        _fail(str(lost), LOST)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str, code: int = 2) -> NoReturn:
    if err.quiet:
        time.sleep(5.0)  # what the first process has to say too, it says alone: this one is ended meanwhile
        err.quiet = False
    err.print(f"[red]error:[/red] {escape(message)}")
    sys.exit(code)
