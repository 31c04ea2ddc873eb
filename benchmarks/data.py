"""How fast data are prepared, opened and drawn, and what memory that takes.

    python benchmarks/data.py [--megabytes 2000] [--sequences 60000000] [--toy]

Everything is written to a temporary directory, which needs about four times as much space as the largest file, and
is removed at the end. Three tables:

* preparation of a FASTA file like UniRef50's (mean length 300, headers of 100 bytes, 1 % of the sequences with an X) of
  a tenth of so many megabytes and of so many, plain and gzip, in one process and with one worker per core: MB of FASTA
  and sequences per second, the start of the workers included, the time that 60 million such sequences would take, and
  the highest resident memory of the process that reads and writes, and of a worker (importing sedd takes most of it).
  CPU seconds are those of all processes together: they tell more than seconds where the machine has other work, too;
* opening a store of so many sequences, and what a training run asks of it before its first batch: seconds, and how
  much memory that adds to the process: its own, and pages of the files, which all processes share;
* drawing batches from 1 to 100 million residues of data: CPU microseconds per 1,000
  residues, the median of nine windows.

`--toy` takes sizes that need seconds, to see that it runs; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sedd.data import Batches, Dataset, TokenStore, load
from sedd.data.alphabet import PROTEIN
from sedd.data.prepare.parallel import cores
from sedd.data.prepare.writer import StoreWriter
from sedd.data.statistics import DataStatistics
from sedd.data.store import MANIFEST, OFFSETS, TOKENS, npy_header
from sedd.files import write_json
from sedd.sampling.lengths import LengthDistribution

UNIREF50 = 60_000_000
LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
REST: dict[str, object] = {"options": {}, "source": {}, "tally": {}}
PREPARE = """
import json, resource, sys, time
from pathlib import Path
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare
def used():
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
def cpu():
    return sum(each.ru_utime + each.ru_stime for each in used())
began, before = time.perf_counter(), cpu()
tally = prepare(Path(sys.argv[1]), Path(sys.argv[2]), options=PrepareOptions(), workers=int(sys.argv[3])).tally
took = time.perf_counter() - began, cpu() - before
print(json.dumps([*took, tally.read, *(each.ru_maxrss / 1024 for each in used())]))
"""


def lengths(count: int, seed: int) -> np.ndarray:
    """Lengths like those of UniRef50: log-normal with mean 300, (count,)."""
    return np.clip(np.random.default_rng(seed).lognormal(5.45, 0.7, count), 20, 5000).astype(np.int64)


def block(records: int) -> bytes:
    """FASTA of so many made-up records."""
    rng = np.random.default_rng(0)
    written = []
    for number, length in enumerate(lengths(records, 0)):
        sequence = LETTERS[rng.integers(20, size=length)].tobytes()
        if number % 100 == 99:
            sequence = sequence[:9] + b"X" + sequence[10:]
        header = (
            f">UniRef50_A0A{number:07d} Uncharacterized protein n={number % 7} Tax=Bacteroides fragilis "
            f"TaxID={number} RepID=A0A{number:07d}_BACFR\n"
        )
        written.append(header.encode() + b"\n".join(sequence[at : at + 60] for at in range(0, int(length), 60)) + b"\n")
    return b"".join(written)


def preparation(folder: Path, sizes: list[float]) -> None:
    """The first table, for files of so many MB."""
    some = block(min(20_000, max(100, int(sizes[-1] * 100))))
    print("| FASTA | workers | seconds | CPU seconds | MB/s | sequences/s | 60 M sequences | peak RSS, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for suffix, content in (("", some), (".gz", gzip.compress(some, 6, mtime=0))):
        for size in sizes:
            source = folder / f"in.fasta{suffix}"
            copies = max(1, round(size * 1e6 / len(some)))
            with source.open("wb") as file:
                for _ in range(copies):
                    file.write(content)
            for workers in (1, max(2, cores())):
                seconds, cpu, read, own, child = prepared(source, folder / "out", workers)
                rss = f"{own:,.0f}" if workers == 1 else f"{own:,.0f} and {child:,.0f} each"
                minutes = UNIREF50 * seconds / read / 60
                print(
                    f"| {size:,.0f} MB{suffix and ', gzip'} | {workers if workers > 1 else 'none'} | {seconds:.1f} | "
                    f"{cpu:.1f} | {copies * len(some) / 1e6 / seconds:,.0f} | {read / seconds:,.0f} | "
                    f"{minutes:.1f} min | {rss} |",
                    flush=True,
                )
            source.unlink()


def prepared(source: Path, out: Path, workers: int) -> list[float]:
    """What `PREPARE` measures, in a process of its own; the store is removed again."""
    command = [sys.executable, "-c", PREPARE, str(source), str(out), str(workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own program
    shutil.rmtree(out)
    return [float(number) for number in json.loads(done.stdout)]


def large_store(path: Path, sequences: int) -> None:
    """A store of so many sequences whose tokens take no space on the disk."""
    path.mkdir()
    total = 0
    counts = np.zeros(5001, np.int64)
    with (path / OFFSETS).open("wb") as file:
        file.write(npy_header(sequences + 1) + bytes(8))
        for begin in range(0, sequences, 1_000_000):
            some = lengths(min(1_000_000, sequences - begin), begin + 1)
            file.write((total + np.cumsum(some)).astype("<i8").tobytes())
            total += int(some.sum())
            counts += np.bincount(some, minlength=len(counts))
    with (path / TOKENS).open("wb") as file:
        file.truncate(total)
    sizes = {name: {"size": (path / name).stat().st_size, "sha256": ""} for name in (TOKENS, OFFSETS)}
    about = {
        "format": 1,
        "alphabet": PROTEIN.to_dict(),
        "sequences": sequences,
        "residues": total,
        "letter_counts": [total // 20] * 20,
        "length_counts": {str(length): int(counts[length]) for length in np.flatnonzero(counts)},
        "files": sizes,
    }
    write_json(path / MANIFEST, about | REST)


def resident() -> np.ndarray:
    """Resident memory of this process in MB, its own and that of files, which is shared; nan where Linux is not."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    except OSError:
        return np.full(2, np.nan)
    return np.array([int(rows[name].split()[0]) for name in ("RssAnon", "RssFile")]) / 1e3


def opening(folder: Path, sequences: int) -> None:
    """The second table."""
    large_store(folder / "large", sequences)
    batches: list[Batches] = []
    opened: list[TokenStore] = []
    steps: dict[str, Callable[[], object]] = {
        "open": lambda: opened.append(TokenStore.open(folder / "large")),
        "identity": lambda: opened[0].identity,
        "letters and mean length (`DataStatistics.of`)": lambda: DataStatistics.of(
            Dataset(opened[0], opened[0], PROTEIN, opened[0].token_counts, None, ""), longest=512
        ),
        "lengths to sample (`LengthDistribution.of`)": lambda: LengthDistribution.of(opened[0], longest=512),
        "`Batches`": lambda: batches.append(Batches(opened[0], seed=0, batch_size=32, max_length=512)),
        "plan a window of 64 batches of 32": lambda: batches[0].window(0),
        "load one batch": lambda: load(opened[0], batches[0].window(0)[0], seed=0, max_length=512),
    }
    print(f"\n| a store of {sequences:,} sequences | milliseconds | own MB | shared MB |\n|---|---|---|---|")
    for name, step in steps.items():
        before, began = resident(), time.perf_counter()
        step()
        took, (own, shared) = time.perf_counter() - began, resident() - before
        print(f"| {name} | {took * 1e3:.1f} | {own:.1f} | {shared:.1f} |", flush=True)


def drawing(folder: Path, residues: list[int], windows: int) -> None:
    """The third table."""
    print("\n| residues of data | CPU µs per 1,000 residues drawn | against the smallest |\n|---|---|---|")
    stores, taken = {}, {}
    for size in residues:
        some = lengths(max(2, size // 300), 1)
        writer = StoreWriter(folder / f"store-{size}", PROTEIN)
        for part in np.array_split(some, max(1, len(some) // 100_000)):
            ids = np.random.default_rng(0).integers(20, size=int(part.sum()), dtype=np.uint8)
            writer.extend(ids.tobytes(), part)
        writer.finish(dict(REST))
        stores[size] = TokenStore.open(folder / f"store-{size}")
        taken[size] = list[float]()
    for number in range(windows + 1):  # in turns, so that what else the machine does falls on all; the first warms up
        for size, store in stores.items():
            plan = Batches(store, seed=number, batch_size=32, max_length=512)
            began = time.process_time()  # other work of the machine must not count
            batches = plan.window(0)
            drawn = sum(load(store, batch, seed=0, max_length=512).residues for batch in batches)
            taken[size].append((time.process_time() - began) / drawn * 1e9)
    smallest = float(np.median(taken[residues[0]][1:]))
    for size in residues:
        median = float(np.median(taken[size][1:]))
        print(f"| {size:,} | {median:.2f} | {median / smallest - 1:+.1%} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--sequences", type=int, default=UNIREF50)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    sizes, sequences, residues = [options.megabytes / 10, options.megabytes], options.sequences, [10**6, 10**7, 10**8]
    if options.toy:
        sizes, sequences, residues = [1.0], 1000, [10_000, 20_000]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        preparation(folder, sizes)
        opening(folder, sequences)
        drawing(folder, residues, windows=2 if options.toy else 9)


if __name__ == "__main__":
    main()
