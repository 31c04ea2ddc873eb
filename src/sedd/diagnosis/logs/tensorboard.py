"""Event files of TensorBoard, read by its own package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sedd.diagnosis.logs.log import Log, Row
from sedd.errors import ConfigError, DataError, install_extra

STEP, WALL_TIME = "step", "wall time"


def is_event_file(file: Path) -> bool:
    """Whether a file has the name that TensorBoard gives to event files."""
    return "tfevents" in file.name


def read_events(files: Sequence[Path]) -> Log:
    """The scalars of event files, which are of one run, by the time at which they were logged.

    Raises:
        ConfigError: if the package `tensorboard` is not installed.
        DataError: if there are no scalars.
    """
    scalars = sorted((scalar for file in files for scalar in _scalars(file)), key=lambda scalar: scalar[0])
    if not scalars:
        raise DataError("no scalars in this event file; it may be empty, damaged, or of another run", file=files[0])
    names = (STEP, *dict.fromkeys(tag for _, _, tag, _ in scalars if tag != STEP))
    # A tag may be called `step`, as the step of the event is.
    rows = [Row(None, {STEP: float(step)} if tag == STEP else {STEP: float(step), tag: value})
            for _, step, tag, value in scalars]  # fmt: skip
    return Log(files[0], "event files of TensorBoard", names, rows)


def _scalars(file: Path) -> Iterator[tuple[float, int, str, float]]:
    """Time, step, tag and value of each scalar."""
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorboard.backend.event_processing import event_file_loader  # type: ignore[import-untyped]
        from tensorboard.util import tensor_util  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(
            f"{file}: event files need the tensorboard package; {install_extra('tensorboard')}, or export the "
            "curve from TensorBoard as CSV"
        ) from None
    loader = event_file_loader.EventFileLoader(str(file))
    try:
        for event in loader.Load():
            for value in event.summary.value:
                if not value.HasField("tensor"):
                    continue
                array = tensor_util.make_ndarray(value.tensor)
                if array.size == 1 and array.dtype.kind in "fiu":
                    yield float(event.wall_time), int(event.step), str(value.tag), float(array.reshape(()))
    except (DecodeError, ValueError, TypeError, OSError) as error:
        raise DataError(f"a damaged event file ({error})", file=file) from None
