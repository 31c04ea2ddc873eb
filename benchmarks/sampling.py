"""What samplers cost and how far from the truth what they draw is; and what float32 Gumbel noise gets wrong.

    python benchmarks/sampling.py [--graph absorb|uniform] [--toy] [SEQUENCES [TIMED]]
    python benchmarks/sampling.py --noise

The first draws sequences of 256 residues from the built-in source with every predictor, and prints:

* evaluations of the network per sequence, for a time-free head with `absorb`; what is best for `uniform` depends on the
  noise, so there the network sees it;
* CPU seconds per 100 sequences with the network of the preset `quickstart` (1 million parameters, untrained: when
  residues change depends little on what it has learnt), measured on TIMED sequences, 8 by default; left out for 0;
* the Kullback-Leibler divergence of the letter pairs of SEQUENCES sequences, 200 by default, from those of the source,
  10^-3 nats per pair, with the bias of a finite sample taken off, and its standard error; and what the sequences cost
  under the source beyond its entropy, 10^-3 nats per residue. The model is the source itself, whose conditional
  distributions are known (for `uniform`, those of a hidden Markov chain: a noisy residue is the residue or,
  with the probability of the noise, any symbol), so all of it is the sampler's error.

The second prints how much too often or too rarely a masked residue becomes each letter where a symbol is drawn as the
maximum of log-weights plus Gumbel noise from float32 uniforms, exactly, by summing over all 2^24 of them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

import sedd
from sedd.config.sections import Sampling
from sedd.data.synthetic import FREQUENCIES, Chain
from sedd.diffusion.graphs import Graph, make_graph
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.plugins.backends import Cpu
from sedd.sampling.categorical import categorical
from sedd.sampling.sample_batch import Sample
from sedd.sampling.sampler import Sampler
from sedd.sampling.templates import BlankTemplates

LENGTH, TOY_LENGTH = 256, 16
Choices = tuple[tuple[str, dict[str, object], bool], ...]
"""Name of a row, its options, and whether known scores are used again."""
ABSORB: Choices = (
    ("euler, 1024 steps", {"predictor": "euler", "steps": 1024}, True),
    ("euler, 256 steps", {"predictor": "euler", "steps": 256}, True),
    ("analytic, 256 steps", {"predictor": "analytic", "steps": 256}, True),
    ("ancestral, 1024 steps", {"predictor": "ancestral", "steps": 1024}, True),
    ("ancestral, 256 steps", {"predictor": "ancestral", "steps": 256}, True),
    ("ancestral, 64 steps", {"predictor": "ancestral", "steps": 64}, True),
    ("first_hitting", {"predictor": "first_hitting"}, True),
    ("first_hitting, 2 tokens per step", {"predictor": "first_hitting", "tokens_per_step": 2}, True),
    ("first_hitting, 4 tokens per step", {"predictor": "first_hitting", "tokens_per_step": 4}, True),
    ("first_hitting, 16 tokens per step", {"predictor": "first_hitting", "tokens_per_step": 16}, True),
    ("euler, 1024 steps, no reuse of scores", {"predictor": "euler", "steps": 1024}, False),
)
UNIFORM: Choices = tuple(
    (f"{predictor}, {steps} steps", {"predictor": predictor, "steps": steps}, True)
    for predictor in ("euler", "ancestral")
    for steps in (1024, 256, 64, 16)
)


class Source:
    """The perfect network for a chain: p(symbol | the other residues), by messages from both sides."""

    def __init__(self, chain: Chain, graph: Graph) -> None:
        self.graph = graph
        self.first = torch.from_numpy(chain.frequencies)
        self.transition = torch.from_numpy(chain.transition)

    def __call__(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, 20) log p(x0 | the other residues)."""
        evidence = self.likelihood(tokens, sigma)
        left, right = torch.empty_like(evidence), torch.empty_like(evidence)
        left[:, 0], right[:, -1] = self.first, 1.0
        for i in range(1, tokens.shape[1]):
            message = (left[:, i - 1] * evidence[:, i - 1]) @ self.transition
            left[:, i] = message / message.sum(-1, keepdim=True)
            message = (right[:, -i] * evidence[:, -i]) @ self.transition.T
            right[:, -i - 1] = message / message.sum(-1, keepdim=True)
        return torch.log(left * right).float()

    def likelihood(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """(B, L, 20): p(x_t | x0) of each symbol x0, up to a factor."""
        indicators = torch.nn.functional.one_hot(tokens, 21)[..., :20].double()
        if self.graph.has_mask:
            return indicators + self.graph.contributes(tokens).double()[..., None]
        kept = torch.exp(-sigma.double())[:, None, None]
        return kept * indicators + (1.0 - kept) / 20


def untrained(config: sedd.Config, graph: Graph) -> Network:
    """The network of `quickstart`, as it is before training."""
    return Process.of(config, graph.n).network(config.model).eval()


def table(kind: str, sequences: int, timed: int, *, toy: bool = False) -> None:
    """Draw with every predictor, print a line for each; a toy is short, and leaves out what takes many steps."""
    length = TOY_LENGTH if toy else LENGTH
    graph, time_free = make_graph(kind, 20), kind == "absorb"
    config = sedd.load_config(
        "quickstart",
        f"graph.type={kind}",
        f"model.time_conditioning={str(not time_free).lower()}",
        f"model.length={length}",
    )
    chain = Chain(config.data.synthetic.order)
    entropy = (chain.letter_entropy + (length - 1) * chain.rate) / length
    source, network = Source(chain, graph), untrained(config, graph)
    print("| predictor | evaluations | CPU seconds per 100 | pair divergence, 10^-3 nats | excess, 10^-3 nats |")
    print("|---|---|---|---|---|", flush=True)
    choices = [
        choice for choice in (ABSORB if time_free else UNIFORM) if not toy or choice[1].get("steps", 0) in (0, 64)
    ]
    cpu = Cpu(precision="float32")
    for name, options, reuse_scores in choices:
        chosen = Sampling.model_validate({"batch_size": 10_000, **options})
        sampler = Sampler(
            Process.of(config, graph.n), cpu, cpu.device(), chosen, config.model.length, reuse_scores=reuse_scores
        )
        began = time.process_time()
        nfe = [sample.nfe for sample in drawn(sampler, network, timed, length)]
        cells = [f"{100 / timed * (time.process_time() - began):.0f}" if timed else "-"]
        if reuse_scores:  # without, the sequences are equal
            samples = drawn(sampler, source, sequences, length)
            nfe += [sample.nfe for sample in samples]
            cells += errors(np.stack([sample.tokens for sample in samples]), chain, entropy)
        else:
            cells += ["the same", "the same"]
        print("| " + " | ".join([name, f"{np.mean(nfe) if nfe else chosen.steps:.0f}", *cells]) + " |", flush=True)


def drawn(sampler: Sampler, network: Network, count: int, length: int) -> list[Sample]:
    """`count` sequences from nothing."""
    return list(sampler(network, BlankTemplates(np.full(count, length), sampler.process.graph.n), seed=1))


def errors(tokens: np.ndarray, chain: Chain, entropy: float) -> list[str]:
    """How far sequences (N, L) are from the chain, in two ways; ± is half of a 95 % interval."""
    kl, error = pair_divergence(tokens, chain.joint)
    excess = [-chain.log_probs(row).mean() - entropy for row in tokens]
    spread = np.std(excess) / np.sqrt(len(tokens))
    return [f"{1e3 * kl:.2f} ± {1.96e3 * error:.2f}", f"{1e3 * np.mean(excess):+.1f} ± {1.96e3 * spread:.1f}"]


def pair_divergence(tokens: np.ndarray, joint: np.ndarray) -> tuple[float, float]:
    """KL of the pairs of neighbours from `joint`, nats, minus its expectation under `joint`; and its standard error."""
    n = len(joint)
    counts = np.bincount((tokens[:, :-1] * n + tokens[:, 1:]).ravel(), minlength=n * n).astype(float)
    share, expected = counts / counts.sum(), joint.ravel()
    occurs = share > 0
    kl = float((share[occurs] * np.log(share[occurs] / expected[occurs])).sum())
    freedom = n * n - 1
    return kl - freedom / (2 * counts.sum()), float(np.sqrt(2 * freedom) / (2 * counts.sum()))


def noise() -> None:
    """How much too often a letter beats staying masked, with Gumbel noise from float32 uniforms."""
    u = np.arange(2**24, dtype=np.float32) * np.float32(2.0**-24)
    with np.errstate(divide="ignore"):
        g = -np.log(-np.log(u)).astype(np.float64)
    print(f"largest Gumbel number: {g[-1]:.2f}")
    print(
        "| steps | " + " | ".join(f"{letter} ({p:g} %)" for letter, p in (("L", 9.65), ("A", 8.25), ("W", 1.1))) + " |"
    )
    print("|---|---|---|---|")
    for exponent in (7, 10, 14, 17, 20, 23):
        cells = []
        for letter in "LAW":
            share = FREQUENCIES[letter] / sum(FREQUENCIES.values())
            weight = share * 2.0**-exponent / (1.0 - 2.0**-exponent)
            below = np.ceil(2.0**24 * np.exp(-np.exp(-(g + np.log(weight))))) / 2**24  # chance that staying has less
            cells.append(f"{below.mean() / (weight / (1.0 + weight)) - 1.0:+.2%}")
        print(f"| {2**exponent:,} | " + " | ".join(cells) + " |")
    logs = torch.log_softmax(torch.randn(64, 256, 20), -1)
    numbers = torch.rand(64, 256, dtype=torch.float64)
    began = time.perf_counter()
    for _ in range(20):
        categorical(logs, numbers)
    print(f"by inversion in float64: {50 * (time.perf_counter() - began):.1f} ms for 64 sequences of 256 residues")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--noise", action="store_true")
    arguments.add_argument("--toy", action="store_true")
    arguments.add_argument("--graph", choices=["absorb", "uniform"], default="absorb")
    arguments.add_argument("sequences", nargs="?", type=int, default=200)
    arguments.add_argument("timed", nargs="?", type=int, default=8)
    options = arguments.parse_args()
    if options.noise:
        noise()
    else:
        table(options.graph, options.sequences, options.timed, toy=options.toy)
