"""What samplers cost and how far from the truth what they draw is; and what float32 Gumbel noise gets wrong.

    python benchmarks/sampling.py [SEQUENCES [TIMED]]
    python benchmarks/sampling.py --noise

The first draws sequences of 256 residues from the built-in source with every predictor (`absorb`), and prints:

* evaluations of the network per sequence, for a time-free head;
* CPU seconds per 100 sequences with the network of the preset `quickstart` (1 million parameters, time-free, untrained:
  when residues are unmasked does not depend on what it has learnt), measured on TIMED sequences, 8 by default;
* the Kullback-Leibler divergence of the letter pairs of SEQUENCES sequences, 200 by default, from those of the source,
  10^-3 nats per pair, with the bias of a finite sample taken off, and its standard error; and what the sequences cost
  under the source beyond its entropy, 10^-3 nats per residue. The model is the source itself, whose conditional
  distributions are known, so all of it is the sampler's error.

The second prints how much too often or too rarely a masked residue becomes each letter where a symbol is drawn as the
maximum of log-weights plus Gumbel noise from float32 uniforms, exactly, by summing over all 2^24 of them.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from torch import Tensor

import sedd
from sedd.backends import Cpu
from sedd.data.synthetic import FREQUENCIES, Chain
from sedd.graphs import make_graph
from sedd.heads import Network, outputs
from sedd.model import Transformer
from sedd.sampling.categorical import categorical
from sedd.sampling.rows import Sample
from sedd.sampling.sampler import Sampler
from sedd.sampling.templates import Blanks
from sedd.sections import Sampling

LENGTH = 256
GRAPH = make_graph("absorb", 20)
ROWS: tuple[tuple[str, dict[str, object], bool], ...] = (
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
    ("euler, 1024 steps, nothing saved", {"predictor": "euler", "steps": 1024}, False),
)


class Source:
    """The perfect network for a chain: p(letter | the visible residues), by messages from both sides."""

    def __init__(self, chain: Chain) -> None:
        self.first = torch.from_numpy(chain.frequencies)
        self.transition = torch.from_numpy(chain.transition)

    def __call__(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L) tokens to (B, L, 20) log-probabilities at masked residues."""
        seen = torch.nn.functional.one_hot(tokens, 21)[..., :20].double() + (tokens == 20).double()[..., None]
        left, right = torch.empty_like(seen), torch.empty_like(seen)
        left[:, 0], right[:, -1] = self.first, 1.0
        for i in range(1, tokens.shape[1]):
            message = (left[:, i - 1] * seen[:, i - 1]) @ self.transition
            left[:, i] = message / message.sum(-1, keepdim=True)
            message = (right[:, -i] * seen[:, -i]) @ self.transition.T
            right[:, -i - 1] = message / message.sum(-1, keepdim=True)
        return torch.log(left * right).float()


def untrained(config: sedd.Config) -> Network:
    """The network of `quickstart`, as it is before training."""
    return Transformer(config.model, states=GRAPH.states, outputs=outputs(GRAPH, config.model)).eval()


def table(sequences: int, timed: int) -> None:
    """Draw with every predictor, print a line for each."""
    config = sedd.load_config("quickstart", "model.time_conditioning=false", f"model.length={LENGTH}")
    chain = Chain(config.data.synthetic.order)
    entropy = (chain.letter_entropy + (LENGTH - 1) * chain.rate) / LENGTH
    source, network = Source(chain), untrained(config)
    print("| predictor | evaluations | CPU seconds per 100 | pair divergence, 10^-3 nats | excess, 10^-3 nats |")
    print("|---|---|---|---|---|", flush=True)
    for name, options, economical in ROWS:
        chosen = Sampling.model_validate({"batch_size": 10_000, **options})
        sampler = Sampler(GRAPH, config.model, config.noise, Cpu(precision="float32"), chosen, economical=economical)
        began = time.process_time()
        nfe = np.mean([sample.nfe for sample in drawn(sampler, network, timed)])
        seconds = 100 / timed * (time.process_time() - began)
        cells = [name, f"{nfe:.0f}", f"{seconds:.0f}"]
        if economical:  # if not, the sequences are the same
            tokens = np.stack([sample.tokens for sample in drawn(sampler, source, sequences)])
            kl, error = pair_divergence(tokens, chain.joint)
            excess = [-chain.log_probs(row).mean() - entropy for row in tokens]
            spread = np.std(excess) / np.sqrt(sequences)
            cells += [f"{1e3 * kl:.2f} ± {1e3 * error:.2f}", f"{1e3 * np.mean(excess):+.1f} ± {1e3 * spread:.1f}"]
        else:
            cells += ["the same", "the same"]
        print("| " + " | ".join(cells) + " |", flush=True)


def drawn(sampler: Sampler, network: Network, count: int) -> list[Sample]:
    """`count` sequences from nothing."""
    return list(sampler(network, Blanks(np.full(count, LENGTH), GRAPH.n), seed=1))


def pair_divergence(tokens: np.ndarray, joint: np.ndarray) -> tuple[float, float]:
    """KL of the pairs of neighbours from `joint`, nats, minus its expectation under `joint`; and its standard error."""
    n = len(joint)
    counts = np.bincount((tokens[:, :-1] * n + tokens[:, 1:]).ravel(), minlength=n * n).astype(float)
    share, expected = counts / counts.sum(), joint.ravel()
    there = share > 0
    kl = float((share[there] * np.log(share[there] / expected[there])).sum())
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
    if sys.argv[1:] == ["--noise"]:
        noise()
    else:
        numbers = [int(argument) for argument in sys.argv[1:]]
        table(*(numbers + [200, 8][len(numbers) :]))
