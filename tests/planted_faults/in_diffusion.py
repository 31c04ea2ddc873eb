"""Faults in the mathematics of the diffusion: forward processes, scores, loss, loss profile, packing."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

ABSORB, UNIFORM, BASE = "diffusion/graphs/absorb.py", "diffusion/graphs/uniform.py", "diffusion/graphs/base.py"
LOSS, NOISING, PROFILE = "diffusion/loss.py", "diffusion/noising.py", "diffusion/loss_profile.py"
SAMPLER = ("diffusion/test_graphs.py", "sampling/test_sampler.py")
BOUND = ("test_bounds.py", "evaluation/test_bound.py")

FAULTS = (
    Fault("mask and token swapped", ABSORB, "column(sigma, x0)), self.mask, x0)", "column(sigma, x0)), x0, self.mask)"),
    Fault("sign of log odds", ABSORB, "return log_p - log_expm1(sigma)", "return log_p + log_expm1(sigma)"),
    Fault(
        "log n forgotten",
        ABSORB,
        "log_expm1(sigma)[:, None, None] + math.log(self.n) if",
        "log_expm1(sigma)[:, None, None] if",
    ),
    Fault("target inverted", ABSORB, "torch.exp(-log_odds[..., 0])", "torch.exp(log_odds[..., 0])"),
    Fault(
        "own symbol among the others",
        ABSORB,
        "torch.exp(relative).sum(-1) - torch.exp(right[..., 0])",
        "torch.exp(relative).sum(-1)",
    ),
    Fault("all residues counted as changed", ABSORB, "return changed * torch.exp(", "return residues * torch.exp("),
    Fault("never all masked", ABSORB, "1 + torch.floor(q * lengths)", "1 + torch.floor(q * (lengths - 1))", BOUND),
    Fault("pads drawn for masks", ABSORB, "uniforms[..., 0].masked_fill(~mask, 2.0)", "uniforms[..., 0]", BOUND),
    Fault(
        "mean over residues, not masks",
        ABSORB,
        "* masked).sum(1).cpu().double() / counts",
        "* masked).sum(1).cpu().double() / lengths",
        BOUND,
    ),
    Fault("at least is more than", ABSORB, "(k < counts[:, None])", "(k <= counts[:, None])", BOUND),
    Fault(
        "share of masks left without its factor",
        ABSORB,
        "torch.exp(-sigma_s) * torch.expm1(sigma_s - sigma_t)",
        "torch.expm1(sigma_s - sigma_t)",
        SAMPLER,
    ),
    Fault(
        "start at the larger mask rate",
        ABSORB,
        "torch.minimum(largest, share)",
        "torch.maximum(largest, share)",
        ("sampling/test_infill.py", "sampling/test_sampler.py"),
    ),
    Fault(
        "rate of leaving MASK forgotten",
        ABSORB,
        "torch.log(p) + torch.logsumexp(log_score, -1, keepdim=True)",
        "torch.log(p)",
        SAMPLER,
    ),
    Fault(
        "log n forgotten in uniform",
        UNIFORM,
        "F.softplus(log_p + math.log(self.n) - log_odds)",
        "F.softplus(log_p - log_odds)",
    ),
    Fault("sign of the log ratio at x0", UNIFORM, "-log_rho[..., None].expand(", "log_rho[..., None].expand("),
    Fault(
        "rate matrix not divided by n",
        UNIFORM,
        ".scatter(-1, x_t[..., None], 0.0).sum(-1) / self.n",
        ".scatter(-1, x_t[..., None], 0.0).sum(-1)",
    ),
    Fault(
        "others of the prior not summed", UNIFORM, "others = moved * (self.n - 1) / self.n", "others = moved / self.n"
    ),
    Fault("wrong power of the density", UNIFORM, "sigma ** (2 / 3)", "sigma ** (1 / 3)", BOUND),
    Fault("pads in the bound", UNIFORM, "x_t, x0).masked_fill(~mask, 0.0)", "x_t, x0)", BOUND),
    Fault(
        "sign of the likelihood",
        UNIFORM,
        "* one_hot(x_t, self.n) - torch.expm1(-step)",
        "* one_hot(x_t, self.n) + torch.expm1(-step)",
        SAMPLER,
    ),
    Fault(
        "noise undone twice", UNIFORM, "(torch.exp(step) * marginal - ", "(torch.exp(2 * step) * marginal - ", SAMPLER
    ),
    Fault(
        "jumps not divided by n",
        UNIFORM,
        "dsigma[:, None, None] / self.n * (1.0 - current)",
        "dsigma[:, None, None] * (1.0 - current)",
        SAMPLER,
    ),
    Fault("sign inside log1p", BASE, "torch.log1p(-torch.exp(-sigma))", "torch.log1p(torch.exp(-sigma))"),
    Fault("divergence without its 1", BASE, "torch.expm1(log_ratio) - log_ratio", "torch.exp(log_ratio) - log_ratio"),
    Fault("loss without its weight", LOSS, "x_t, x0)[:, 0] * weight", "x_t, x0)[:, 0]"),
    Fault("pads contribute", LOSS, "(graph.contributes(x_t) & batch.mask)", "graph.contributes(x_t)"),
    Fault("pads count as changed", LOSS, "((x_t != batch.tokens) & batch.mask).sum(1)", "(x_t != batch.tokens).sum(1)"),
    Fault("a forgotten detach", LOSS, "per_sequence.detach(), drawn", "per_sequence, drawn"),
    Fault(
        "scale without its derivative",
        NOISING,
        "difficulty * checked_sigma(noise, u), difficulty * checked_rate(noise, u)",
        "difficulty * checked_sigma(noise, u), checked_rate(noise, u)",
    ),
    Fault(
        "truncate without the chain rule",
        NOISING,
        "difficulty * checked_rate(noise, difficulty * u)",
        "checked_rate(noise, difficulty * u)",
    ),
    Fault("bias without the chain rule", NOISING, "checked_rate(noise, t) * power * u", "checked_rate(noise, t) * u"),
    Fault(
        "strata forgotten",
        NOISING,
        "(random.permutation(len(samples)) + random.random(len(samples)))",
        "random.random(len(samples)) * len(samples)",
    ),
    Fault(
        "noise keyed by the row", NOISING, 'generator(seed, "corrupt", int(sample))', 'generator(seed, "corrupt", row)'
    ),
    Fault(
        "dropout keyed by the run",
        NOISING,
        'generator(seed, "dropout", int(sample))',
        'generator(seed, "dropout")',
        ("model/test_dropout.py", "diffusion/test_noising.py", "training/test_loading.py"),
    ),
    Fault(
        "contributing positions last",
        "diffusion/positions.py",
        "torch.argsort(~contributes, stable=True)",
        "torch.argsort(contributes, stable=True)",
    ),
    Fault(
        "packed with the pads",
        "diffusion/packing.py",
        "= tensor[rows.mask]",
        "= tensor.flatten()[: rows.residues]",
        ("training/test_packed.py",),
    ),
    Fault("edges belong to the bin below", PROFILE, 'side="right"', 'side="left"'),
    Fault(
        "decay and share swapped",
        PROFILE,
        "self.scaled(1.0 - 1.0 / horizon) + other",
        "self.scaled(1.0 / horizon) + other",
    ),
    Fault("horizon longer at first", PROFILE, "min(HORIZON, max(1.0, step / 4))", "max(HORIZON, max(1.0, step / 4))"),
    Fault(
        "overlap not cut at 0",
        PROFILE,
        "np.clip(np.minimum(EDGES[1:], high) - np.maximum(EDGES[:-1], low), 0.0, None)",
        "np.abs(np.minimum(EDGES[1:], high) - np.maximum(EDGES[:-1], low))",
    ),
    Fault(
        "output of the score head normalised",
        "diffusion/parametrization.py",
        'if self.head == "score":',
        'if self.head == "scores":',
        ("diffusion/test_parametrization.py", "diffusion/test_loss.py"),
    ),
)

ROOM = Room(
    "diffusion",
    (
        "diffusion/test_graphs.py", "diffusion/test_loss.py", "diffusion/test_noising.py",
        "diffusion/test_loss_profile.py", "diffusion/test_parametrization.py",
    ),
    FAULTS,
)  # fmt: skip
