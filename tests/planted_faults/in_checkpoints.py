"""Faults in checkpoints, resuming, and the records of a run."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

LOADING, FILES, MANIFEST = "training/checkpointing.py", "runs/checkpoint.py", "runs/manifest.py"
INPUTS, METRICS = "training/loading.py", "runs/metrics.py"
RESUME = ("training/test_trainer.py", "training/test_interruptions.py")

FAULTS = (
    Fault("average resumed from the weights", LOADING, 'saved.tensors["ema"])', 'saved.tensors["model"])', RESUME),
    Fault(
        "updates of the average forgotten",
        LOADING,
        '    trainer.ema.updates = int(saved.state["ema_updates"])\n',
        "",
        RESUME,
    ),
    Fault(
        "moments forgotten",
        LOADING,
        '    trainer.parallel.load_optimizer_state(trainer.optimizer, saved.tensors["optimizer"])\n',
        "",
        RESUME,
    ),
    Fault(
        "plain state of the user's optimizer forgotten",
        LOADING,
        '        restore_plain_state(trainer.optimizer, trainer.network, saved.state["optimizer"])\n',
        "        pass\n",
        ("training/test_own_parts.py",),
    ),
    Fault(
        "position after a change of the batch size",
        LOADING,
        "cursor=trainer.batches.after(state.cursor, plan)",
        "cursor=state.cursor",
        ("tuning/test_allowing.py",),
    ),
    Fault("one checkpoint too many kept", FILES, "listing(folder)[:-keep]", "listing(folder)[: -keep - 1]"),
    Fault("the best checkpoint pruned", FILES, "if path.name != best:", "if path.name == best:"),
    Fault("oldest checkpoint first", FILES, "first_intact(reversed(paths)", "first_intact(paths"),
    Fault(
        "checkpoints sorted by name", FILES, "CHECKPOINT.fullmatch(name)), key=step_of)", "CHECKPOINT.fullmatch(name)))"
    ),
    Fault("its own checkpoint forgotten", FILES, "if step_of(path) > step:", "if step_of(path) >= step:"),
    Fault("tied tensors stored once", FILES, "plain.clone() if plain.data_ptr() in addresses else plain", "plain"),
    Fault(
        "old checkpoint removed before the new one",
        FILES,
        "        final.rename(old)  # if",
        "        _remove(final)  # if",
    ),
    Fault(
        "content not compared with its hash",
        MANIFEST,
        "if hashlib.sha256(data).hexdigest() != self.sha256:",
        "if len(data) != self.size:",
    ),
    Fault(
        "size not compared",
        MANIFEST,
        "if size is not None and status.st_size != size:",
        "if size is not None and status.st_size < size:",
    ),
    Fault(
        "stale prefetched inputs",
        INPUTS,
        "self._prefetched[:2] != (step, cursor)",
        "self._prefetched is None",
        ("training/test_loading.py",),
    ),
    Fault(
        "residues since the beginning",
        METRICS,
        "(previous.residues if previous else 0)",
        "0",
        ("runs/test_metrics.py", "runs/test_directory.py"),
    ),
)

ROOM = Room("checkpoints", ("runs/test_checkpoint.py",), FAULTS)
