"""Embeddings in a file: `.npz` of NumPy, or `.parquet`. Written sequence by sequence, complete or not at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.errors import ConfigError, install_extra
from sedd.evaluation.embedding import Vectors
from sedd.files import naming, temporary_of

ROW_GROUP = 4_096
"""Rows of a Parquet file that are written at once."""

Names = Callable[[], Iterable[str]]
"""Gives the name of each sequence, in their order; called more than once."""


def check_format(path: Path) -> None:
    """Raise ConfigError if embeddings cannot be written to a file of this name, or the package for it is missing."""
    if path.suffix == ".parquet":
        _pyarrow()
    elif path.suffix != ".npz":
        raise ConfigError(f"{path}: the name of the file says its format; expected one that ends in .npz or .parquet")


def write_embeddings(path: Path, embeddings: Iterable[Vectors], lengths: NDArray[np.int64], names: Names) -> None:
    """Write the embeddings of some sequences; an older file is replaced once the new one is complete.

    Args:
        path: ends in `.npz` or `.parquet`; its directory is made.
        embeddings: of each sequence, all (size,) or all (length, size).
        lengths: (sequences,) residues of each.
        names: of the sequences.

    Raises:
        ConfigError: as `check_format`.
    """
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        (_write_parquet if path.suffix == ".parquet" else _write_npz)(temporary, embeddings, lengths, names)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` at the end; nothing is left of it after an error."""
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)  # of a process that was killed, or a link that someone put there
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


# NumPy ---------------------------------------------------------------------------------------------------------------


def _write_npz(path: Path, embeddings: Iterable[Vectors], lengths: NDArray[np.int64], names: Names) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        by_residue = _write_vectors(archive, embeddings, lengths)
        _write_array(archive, "lengths", lengths)
        if by_residue:
            _write_array(archive, "offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        _write_names(archive, names, len(lengths))


def _write_vectors(archive: zipfile.ZipFile, embeddings: Iterable[Vectors], lengths: NDArray[np.int64]) -> bool:
    """Write (sequences, size), or (residues, size) where there is a vector for each residue; returns whether."""
    rest = iter(embeddings)
    first = next(rest)
    by_residue = first.ndim == 2
    rows = int(lengths.sum()) if by_residue else len(lengths)
    with archive.open("embeddings.npy", "w", force_zip64=True) as file:
        file.write(_header((rows, first.shape[-1]), np.dtype(np.float32)))
        for vectors in chain([first], rest):
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
    return by_residue


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        file.write(_header(array.shape, array.dtype) + array.tobytes())


def _write_names(archive: zipfile.ZipFile, names: Names, count: int) -> None:
    """As an array of text, compressed: every item takes as much room as the longest."""
    text = np.dtype(f"<U{max(map(len, names()), default=1) or 1}")
    info = zipfile.ZipInfo("names.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        file.write(_header((count,), text))
        for name in names():
            file.write(np.array([name], text).tobytes())


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of a `.npy` file."""
    stream = io.BytesIO()
    fields = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    np.lib.format.write_array_header_2_0(stream, fields)
    return stream.getvalue()


# Parquet -------------------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, embeddings: Iterable[Vectors], lengths: NDArray[np.int64], names: Names) -> None:
    """Rows of `sequence`, `name`, `residue` where there is a vector for each residue, and `embedding`."""
    arrow, parquet = _pyarrow()
    writer: Any = None
    try:
        for table in _tables(arrow, embeddings, names):
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _tables(arrow: Any, embeddings: Iterable[Vectors], names: Names) -> Iterator[Any]:
    rows: list[tuple[int, str, Vectors]] = []
    for index, (name, vectors) in enumerate(zip(names(), embeddings, strict=True)):
        rows.append((index + 1, name, vectors))
        if sum(vectors.size // vectors.shape[-1] for *_, vectors in rows) >= ROW_GROUP:
            yield _table(arrow, rows)
            rows = []
    if rows:
        yield _table(arrow, rows)


def _table(arrow: Any, rows: list[tuple[int, str, Vectors]]) -> Any:
    by_residue = rows[0][2].ndim == 2
    flat = np.concatenate([vectors.reshape(-1, vectors.shape[-1]) for *_, vectors in rows])
    counts = [len(vectors) if by_residue else 1 for *_, vectors in rows]
    made = {
        "sequence": arrow.array(np.repeat([number for number, *_ in rows], counts), arrow.int64()),
        "name": arrow.array([name for (_, name, _), count in zip(rows, counts, strict=True) for _ in range(count)]),
    }
    if by_residue:
        made["residue"] = arrow.array(np.concatenate([np.arange(1, count + 1) for count in counts]), arrow.int32())
    values = arrow.array(flat.ravel(), arrow.float32())
    return arrow.table(made | {"embedding": arrow.FixedSizeListArray.from_arrays(values, flat.shape[1])})


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"a Parquet file needs the package pyarrow ({install_extra('parquet')}); or name a file that ends in .npz"
        ) from error
