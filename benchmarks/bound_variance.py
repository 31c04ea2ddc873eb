"""Variance of the stratified bound relative to the mean of the training loss over random times.

    python benchmarks/bound_variance.py [--repeats 50] [--masks 8] [OVERRIDES...]

Trains a small model of the quickstart's source for each graph, then estimates its bound on the same sequences again and
again with other seeds, in three ways that evaluate the network equally often: at stratified noise levels, as
`sedd evaluate` does; at levels drawn independently, but otherwise the same; and as the training loss at times drawn
evenly in [0, 1], through the noise schedule (naive). Prints variances over seeds, each as a multiple of the first with
a 95 % interval. The training loss ends at sigma_max; what it leaves out is 0.1 % of the mask rates.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

import sedd
from sedd.diffusion.loss import diffusion_loss
from sedd.diffusion.noising import noise_state
from sedd.diffusion.parametrization import Network
from sedd.evaluation.estimator import Estimator
from sedd.randomness import generator

SMALL = (
    "data.synthetic.sequences=4000", "data.synthetic.order=3", "model.hidden_size=64", "model.n_blocks=2",
    "model.n_heads=2", "training.n_iters=300", "training.eval_every=300", "training.batch_size=32", "optim.warmup=40",
    "curriculum.preschool_time=50",
)  # fmt: skip
SEQUENCES = 24
Estimate = Callable[[int], float]


class Independent(Estimator):
    """Independent noise levels instead of stratified ones."""

    def _levels(self, ranks: np.ndarray, level: int) -> np.ndarray:
        drawn: np.ndarray = generator(self.seed, "independent", level).random(min(self.count, len(self.data)))[ranks]
        return drawn


def trained(graph: str, overrides: list[str]) -> sedd.Trainer:
    """A small model after a short training, and its data."""
    trainer = sedd.Trainer(sedd.load_config("quickstart", *SMALL, *overrides, f"graph.type={graph}"))
    for _ in trainer.steps():
        pass
    return trainer


def naive(estimator: Estimator, network: Network) -> Estimate:
    """The mean training loss at times drawn evenly, nats per residue."""

    @torch.no_grad()
    def estimate(seed: int) -> float:
        total, residues = 0.0, 0
        for batch, ranks in estimator._batches():
            for level in range(estimator.masks):
                random = generator(seed, "naive", level, int(ranks[0]))
                times = torch.from_numpy(random.random(len(ranks), np.float32))
                uniforms = torch.from_numpy(random.random((*batch.tokens.shape, 2), np.float32))
                state = noise_state(estimator.process.noise, times)
                loss = diffusion_loss(network, batch, state, uniforms, process=estimator.process)
                total += float(loss.total) / estimator.masks
            residues += batch.residues
        return total / residues

    return estimate


def variances(trainer: sedd.Trainer, masks: int, repeats: int) -> dict[str, np.ndarray]:
    """Estimates by each of the three estimators, (repeats,)."""
    network = trainer.ema.network.eval()
    shared = (trainer.data.valid, trainer.process, trainer.backend, trainer.device, trainer.config.model.length)
    stratified = Estimator(*shared, count=SEQUENCES, masks=masks, batch_size=SEQUENCES)
    chosen = [trainer.data.valid[int(item)] for item in stratified.chosen()]  # a seed then changes the noise alone
    stratified = replace(stratified, data=chosen, batch_size=SEQUENCES)
    independent = Independent(**vars(stratified))
    estimators: dict[str, Estimate] = {
        "stratified": lambda seed: replace(stratified, seed=seed)(network).nats,
        "independent levels": lambda seed: replace(independent, seed=seed)(network).nats,
        "naive times": naive(stratified, network),
    }
    return {name: np.array([estimate(seed) for seed in range(repeats)]) for name, estimate in estimators.items()}


def ratio(estimates: np.ndarray, reference: np.ndarray) -> str:
    """Ratio of two variances and a 95 % interval: the logarithm of each has a variance of about 2 / (repeats - 1)."""
    value = estimates.var(ddof=1) / reference.var(ddof=1)
    spread = math.exp(1.96 * math.sqrt(2.0 / (len(estimates) - 1) + 2.0 / (len(reference) - 1)))
    return f"{value:6.1f}  ({value / spread:.1f} to {value * spread:.1f})"


def main() -> None:
    """Train, repeat, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--masks", type=int, default=8)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    print(f"{SEQUENCES} sequences, {options.masks} evaluations of each, {options.repeats} seeds; nats per residue\n")
    print(f"{'graph':9}{'estimator':20}{'mean':>9}{'sd':>9}{'seconds':>9}   variance, stratified = 1")
    for graph in ("absorb", "uniform"):
        trainer = trained(graph, options.overrides)
        began = time.perf_counter()
        estimates = variances(trainer, options.masks, options.repeats)
        seconds = (time.perf_counter() - began) / (3 * options.repeats)
        for name, values in estimates.items():
            compared = ratio(values, estimates["stratified"]) if name != "stratified" else f"{1:6.1f}"
            print(f"{graph:9}{name:20}{values.mean():9.4f}{values.std(ddof=1):9.4f}{seconds:9.2f}   {compared}")


if __name__ == "__main__":
    main()
