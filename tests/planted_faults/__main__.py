"""Plants faults and shows which test catches each: `python -m tests.planted_faults [--only ROOM] [--write]`.

Exits with 1 if one is not caught.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.planted_faults import page
from tests.planted_faults.fault import PlantingError, Room
from tests.planted_faults.planting import Tree, answers
from tests.planted_faults.rooms import ROOMS


def main(arguments: Sequence[str] | None = None, rooms: Sequence[Room] = ROOMS) -> int:
    """Plant the faults of rooms, print a table, and return the exit code."""
    names = [room.name for room in rooms]
    parser = argparse.ArgumentParser(prog="python -m tests.planted_faults", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, help="a room; may be given several times")
    parser.add_argument("--answers", type=Path, help="file of answers: what is in it is not done again")
    parser.add_argument("--everything", action="store_true", help="all tests, where those of the room notice nothing")
    parser.add_argument("--write", action="store_true", help=f"write {page.PAGE.name}, for all rooms")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("--write needs all rooms")
    chosen = [room for room in rooms if not options.only or room.name in options.only]
    with tempfile.TemporaryDirectory(prefix="sedd-faults-") as folder:
        known = options.answers or Path(folder, "answers.jsonl")
        try:
            found = {
                answer.name: answer
                for answer in answers(chosen, Tree(Path(folder, "tree")), known, everything=options.everything)
            }
        except PlantingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if options.write:
        page.write(chosen, found)
    missed = [answer.name for answer in found.values() if answer.caught_by is None]
    print(f"{len(found)} faults, {len(found) - len(missed)} caught; not caught: {', '.join(missed) or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
