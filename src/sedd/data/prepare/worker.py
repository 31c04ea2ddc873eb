"""The program of a worker process of `sedd.data.prepare.parallel`: a function, applied to items until the input ends.

Standard input and output carry pickles, written by the parent alone: first the function, then items; for each item the
result comes back, or what the function raised. The input ends with the parent, however that ends, and the worker too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from typing import BinaryIO

Reply = tuple[bool, object]
"""Whether the function returned, and what it returned or raised."""


def main() -> None:
    """Serve the parent until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent handles it
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the replies
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(sys.stdin.buffer, replies)
    os._exit(0)  # without a last flush of the replies into a pipe that may be closed


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until they end.

    Raises:
        EOFError, BrokenPipeError: when the parent is gone.
    """
    function = pickle.load(requests)  # noqa: S301  # from the parent process
    while True:
        item = pickle.load(requests)  # noqa: S301
        reply: Reply
        try:
            reply = True, function(item)
        except Exception as error:  # whatever it is, the parent raises it
            reply = False, error
        pickle.dump(reply, replies, pickle.HIGHEST_PROTOCOL)
        replies.flush()
