"""Faults in noise schedules, curricula, the learning rate and the average's decay."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

NOISES, CURRICULA, RAMP = "plugins/noises.py", "plugins/curricula.py", "plugins/contracts.py"
SCHEDULE, AVERAGING = "diffusion/schedule.py", "config/averaging.py"
CURRICULUM_TESTS = ("plugins/test_curricula.py", "plugins/test_checked.py", "testing/test_checks.py")
LR_TESTS = ("training/test_optimizer.py", "training/test_trainer.py", "diagnosis/test_forecast.py")
EMA_TESTS = ("training/test_optimizer.py", "training/test_trainer.py", "diagnosis/test_foresight.py")

FAULTS = (
    Fault(
        "rate against time",
        NOISES,
        "(math.exp(-self.sigma_max) + (high - low) * (1.0 - t))",
        "(math.exp(-self.sigma_max) + (high - low) * t)",
    ),
    Fault(
        "upper half from the wrong end",
        NOISES,
        "climb * math.exp(self.sigma_max) * (1.0 - t)",
        "climb * math.exp(self.sigma_max) * t",
    ),
    Fault(
        "lower half without sigma_min",
        NOISES,
        "-torch.log1p(-(low + climb * t).clamp(max=0.75))",
        "-torch.log1p(-(climb * t).clamp(max=0.75))",
    ),
    Fault(
        "rate without logarithms",
        NOISES,
        "(math.log(self.sigma_max) - math.log(self.sigma_min))",
        "(self.sigma_max - self.sigma_min)",
    ),
    Fault("half angle forgotten", NOISES, "torch.sin(0.5 * math.pi * t) ** 2", "torch.sin(math.pi * t) ** 2"),
    Fault("derivative without a half", NOISES, "* 0.5 * math.pi * torch.sin(", "* math.pi * torch.sin("),
    Fault(
        "rate is not constant",
        NOISES,
        "return torch.full_like(t, self.sigma_max - self.sigma_min)",
        "return (self.sigma_max - self.sigma_min) * t",
    ),
    Fault(
        "one step too long a ramp",
        RAMP,
        "if step >= self.preschool_time:",
        "if step > self.preschool_time:",
        CURRICULUM_TESTS,
    ),
    Fault(
        "ramp beyond 1",
        RAMP,
        "self.min_difficulty + (1.0 - self.min_difficulty) * height",
        "self.min_difficulty + height",
        CURRICULUM_TESTS,
    ),
    Fault(
        "sign of the exponent",
        CURRICULA,
        "math.expm1(-self.rate * progress)",
        "math.expm1(self.rate * progress)",
        CURRICULUM_TESTS,
    ),
    Fault(
        "cosine upside down",
        CURRICULA,
        "0.5 - 0.5 * math.cos(math.pi * progress)",
        "0.5 + 0.5 * math.cos(math.pi * progress)",
        CURRICULUM_TESTS,
    ),
    Fault(
        "knots one step early",
        CURRICULA,
        "for stage in self.stages], step)",
        "for stage in self.stages], step + 1)",
        CURRICULUM_TESTS,
    ),
    Fault(
        "progress from the wrong knot",
        CURRICULA,
        "(step - before.step) / (after.step - before.step)",
        "(step - before.step) / after.step",
        CURRICULUM_TESTS,
    ),
    Fault(
        "warm-up begins at 0",
        SCHEDULE,
        "optim.lr * (step + 1) / optim.warmup",
        "optim.lr * step / optim.warmup",
        LR_TESTS,
    ),
    Fault(
        "floor of the schedule not scaled",
        SCHEDULE,
        "(schedule.min_ratio + (1.0 - schedule.min_ratio) * falling)",
        "(schedule.min_ratio + falling)",
        LR_TESTS,
    ),
    Fault(
        "decay counted from the start",
        SCHEDULE,
        "max(step - first, 0.0) / max(1.0, total - first)",
        "max(step - first, 0.0) / max(1.0, total)",
        LR_TESTS,
    ),
    Fault(
        "end step ignored",
        SCHEDULE,
        "schedule.end_step or self.config.training.n_iters",
        "self.config.training.n_iters",
        LR_TESTS,
    ),
    Fault(
        "decay from update 1",
        AVERAGING,
        "min(ema.decay, (1 + update) / (10 + update))",
        "min(ema.decay, update / (10 + update))",
        EMA_TESTS,
    ),
    Fault("factorial off by one", AVERAGING, "math.lgamma(warm + 10)", "math.lgamma(warm + 9)", EMA_TESTS),
)

ROOM = Room("schedules", ("plugins/test_noises.py",), FAULTS)
