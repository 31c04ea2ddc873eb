"""The command line: one file per command. An expected error is one message on standard error and exit code 2."""

from __future__ import annotations

import sys
import time
import warnings
from importlib import import_module
from typing import NoReturn

from rich.markup import escape

from sedd.cli.app import app
from sedd.cli.console import ExitCode, attach_logging, err, out, problems, show_warning
from sedd.cli.unrelated_package import warn_of_unrelated_package
from sedd.devices import is_out_of_memory
from sedd.distributed.group import RankInfo, rank_lost_error
from sedd.distributed.signals import end_on_signals
from sedd.distributed.supervise import watch_supervisor
from sedd.errors import SeddError
from sedd.processes import safe_children
from sedd.terminal.streams import replace_what_cannot_be_encoded

__all__ = ["app", "main"]

# Importing a module registers its commands, in the order of `sedd --help`.
_COMMANDS = (
    "train", "sample", "evaluate", "variants", "embed", "quality", "forecast", "diagnose", "compare", "sweep", "report",
    "data", "import_config", "import_weights", "export", "plugins",
    "env",
)  # fmt: skip
for _module in _COMMANDS:
    import_module(f"sedd.cli.{_module}")


def main() -> None:
    """Entry point of the command `sedd`."""
    with end_on_signals(), safe_children():
        watch_supervisor()
        _run()


def _run() -> None:
    replace_what_cannot_be_encoded()
    warnings.showwarning = show_warning
    attach_logging()
    info = RankInfo.from_environment()
    if info is not None and info.rank:
        out.quiet = err.quiet = problems.quiet = True  # only the first process of a group prints
    warn_of_unrelated_package()
    try:
        app()
    except SeddError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, missing permissions: a traceback would explain nothing
        _fail(": ".join(filter(None, (error.filename and str(error.filename), error.strerror or str(error)))))
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            _fail(f"out of memory ({reason}). Use smaller batches, or another device")
        if not isinstance(error, RuntimeError):
            raise
        lost_rank = rank_lost_error(error)
        if lost_rank is None:
            raise
        _fail(str(lost_rank), ExitCode.LOST_RANK)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _fail(message: str, code: ExitCode = ExitCode.ERROR) -> NoReturn:
    if problems.quiet:
        time.sleep(5.0)  # the first process prints an error of all processes; this one is ended meanwhile
        problems.quiet = False
    problems.print(f"[red]error:[/red] {escape(message)}")
    sys.exit(code)
