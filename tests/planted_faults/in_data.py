"""Faults in the order of the data, its batches, and what is split over processes."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

ORDER, PERMUTATION, BATCH, MICRO = "data/order.py", "data/permutation.py", "data/batch.py", "data/micro_batches.py"

FAULTS = (
    Fault(
        "every epoch in the same order",
        ORDER,
        "self.seed, int(epoch))(positions[chosen])",
        "self.seed, 0)(positions[chosen])",
    ),
    Fault(
        "windows overlap",
        ORDER,
        "np.arange(number * self.window_samples,",
        "np.arange(number * self.window_samples - number,",
    ),
    Fault(
        "one batch too many in a window",
        ORDER,
        "last = cursor.batch + 1 == len(plan)",
        "last = cursor.batch == len(plan)",
    ),
    Fault("a stale window", ORDER, "if self._planned[0] != number:", "if self._planned[0] < 0:"),
    Fault("a sample used twice after a change", ORDER, "max(used, 1 + max(int(", "max(used, max(int("),
    Fault(
        "chunks not sorted by length",
        ORDER,
        'np.split(np.argsort(lengths, kind="stable"), self._strata)',
        "np.split(np.arange(len(lengths)), self._strata)",
    ),
    Fault(
        "accumulation ignored",
        ORDER,
        "size = batch_size * accum if batch_residues is None",
        "size = batch_size if batch_residues is None",
    ),
    Fault(
        "epoch and position swapped",
        ORDER,
        "epochs, positions = np.divmod(samples, self.n)",
        "positions, epochs = np.divmod(samples, self.n)",
    ),
    Fault("n itself is an item", PERMUTATION, "(outside := items >= self.n)", "(outside := items > self.n)"),
    Fault(
        "wrong modulus of a half",
        PERMUTATION,
        "left = (left + _hash(right, key, self._a)) % self._a",
        "left = (left + _hash(right, key, self._a)) % self._b",
    ),
    Fault(
        "last residue never cropped to",
        BATCH,
        "integers(len(sequence) - max_length + 1)",
        "integers(len(sequence) - max_length)",
    ),
    Fault("the same crop in each epoch", BATCH, 'generator(seed, "crop", sample)', 'generator(seed, "crop", 0)'),
    Fault(
        "width of the widest possible batch",
        BATCH,
        "width = min(max_length, -(-longest // pad_to) * pad_to)",
        "width = max_length",
    ),
    Fault(
        "noise of the part before",
        MICRO,
        "end = len(part) if is_padding else ends[number]",
        "end = len(part) if is_padding else ends[number - 1]",
        ("training/test_loading.py", "training/test_trainer.py"),
    ),
    Fault(
        "padding counts",
        MICRO,
        "is_padding = number >= len(parts)",
        "is_padding = number > len(parts)",
        ("training/test_loading.py", "distributed/test_parallel.py"),
    ),
    Fault(
        "gradients reduced never",
        MICRO,
        "last=turn + 1 == rounds",
        "last=turn == rounds",
        ("training/test_loading.py", "distributed/test_parallel.py"),
    ),
    Fault(
        "parts in the order of the rank",
        "training/collectives.py",
        "first = columns.stop",
        "first = columns.start",
        ("distributed/test_parallel.py",),
    ),
)

ROOM = Room("data", ("data/test_order.py", "data/test_batch.py", "data/test_dataset.py"), FAULTS)
