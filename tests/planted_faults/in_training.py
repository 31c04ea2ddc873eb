"""Faults in the optimizer step, parameter groups, the average of the weights, and recovery from a divergence."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

STEP, OPTIMIZER, EMA, MUON = "training/step.py", "training/optimizer.py", "training/ema.py", "training/muon.py"
EVALUATING, STATE = "training/evaluating.py", "runs/state.py"
GROUPS = ("training/test_optimizer.py", "tuning/test_fine_tuning.py", "training/test_muon.py")
RECORDS = ("runs/test_metrics.py",)
MUON_TESTS = ("training/test_muon.py",)

FAULTS = (
    Fault(
        "mean over the micro-batch",
        STEP,
        "keys, scale, inputs.residues)",
        "keys, scale, micro_batch.batch.residues)",
    ),
    Fault(
        "gradient never zeroed",
        STEP,
        "self.ema.update(self.network, skip=skip)\n        self.optimizer.zero_grad(set_to_none=True)",
        "self.ema.update(self.network, skip=skip)",
    ),
    Fault("trained without dropout", STEP, "self.network.train()", "self.network.eval()"),
    Fault(
        "factor of the group ignored",
        STEP,
        "/ peak) * group.get(LR_FACTOR, 1.0)",
        "/ peak)",
        ("tuning/test_fine_tuning.py",),
    ),
    Fault(
        "gradient not clipped",
        STEP,
        "self.parallel.clip_grad_norm_(self.config.optim.grad_clip)",
        "self.parallel.clip_grad_norm_(0.0)",
        ("training/test_optimizer.py",),
    ),
    Fault(
        "norm not looked at",
        STEP,
        "torch.isfinite(parts[0].sum() + norm)",
        "torch.isfinite(parts[0].sum())",
        ("training/test_in_flight.py",),
    ),
    Fault("embeddings decayed", OPTIMIZER, "isinstance(module, nn.Embedding) or getattr", "getattr", GROUPS),
    Fault(
        "decay for vectors, not for matrices",
        OPTIMIZER,
        "((decayed, config.optim.weight_decay), (others, 0.0))",
        "((decayed, 0.0), (others, config.optim.weight_decay))",
        GROUPS,
    ),
    Fault("betas swapped", OPTIMIZER, "(optim.beta1, optim.beta2)", "(optim.beta2, optim.beta1)", GROUPS),
    Fault(
        "last group wins",
        OPTIMIZER,
        "found = dict.fromkeys(matching, group) | found",
        "found = found | dict.fromkeys(matching, group)",
        GROUPS,
    ),
    Fault("frozen parameters trained", OPTIMIZER, "requires_grad_(False)", "requires_grad_(True)", GROUPS),
    Fault(
        "matrices for both optimizers",
        OPTIMIZER,
        "_restricted(groups, trained - matrices)",
        "_restricted(groups, trained)",
        MUON_TESTS,
    ),
    Fault(
        "conditioning for Muon",
        MUON,
        "if id(parameter) not in tables | conditioning",
        "if id(parameter) not in tables",
        MUON_TESTS,
    ),
    Fault(
        "a skipped step of Muon is done",
        MUON,
        "torch.where(found_inf > 0.0, before, tensor)",
        "torch.where(found_inf > 0.0, tensor, before)",
        ("training/test_in_flight.py", "training/test_muon.py"),
    ),
    Fault("decay and share of the average swapped", EMA, "share = 1.0 - self.decay()", "share = self.decay()"),
    Fault("averaged although skipped", EMA, "share * (skip == 0.0)", "share", ("training/test_in_flight.py",)),
    Fault(
        "probe of the averaged weights twice",
        EVALUATING,
        "with self.parallel.full_trained() as network:",
        "with self.parallel.full_ema() as network:",
        ("training/test_evaluating.py",),
    ),
    Fault(
        "window never ends",
        STATE,
        "window=Window() if ends_window else self.window",
        "window=self.window",
        RECORDS,
    ),
    Fault("highest bound is the best", STATE, "nats >= self.best_bound", "nats <= self.best_bound", RECORDS),
)

ROOM = Room("training", ("training/test_optimizer.py", "training/test_trainer.py"), FAULTS)
