"""The sections of a run file, one frozen model each: names, types, bounds, defaults and meanings.

Section and key names are those of the SEDD code base and of the run files its users already have. The sections of
plugins (noise, curriculum, device, trackers) are the parts themselves; see `sedd.plugins.contracts`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from sedd.plugins.contracts import Fraction, Steps, reject_bools

Count = Annotated[int, Interval(ge=1, le=10**9)]
Rate = Annotated[FiniteFloat, Interval(gt=0.0, le=10.0)]
Beta = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]
Decay = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    _no_bools = model_validator(mode="before")(reject_bools)


class Residues(Section):
    """What to do with letters outside the alphabet. Every repair is counted and reported; nothing is lost silently."""

    lowercase: Literal["upper", "drop", "error"] = "upper"
    """Soft-masked letters: read them as upper case, drop the sequence, or stop."""
    stop: Literal["strip", "drop", "error"] = "strip"
    """`*`: strip it from the end of a sequence (inside a sequence it makes the sequence be dropped), drop the
    sequence wherever it stands, or stop."""
    substitute: dict[str, str] = Field(default_factory=lambda: {"U": "C", "O": "K"})
    """Rare amino acids read as their nearest standard one: selenocysteine as C and pyrrolysine as K."""
    ambiguous: Literal["drop", "split", "error"] = "drop"
    """X, B, Z, J and any other letter: drop the sequence, split it there and keep the pieces, or stop. Digits and
    punctuation are no letters: `split` drops a sequence that has them."""
    gaps: Literal["remove", "drop", "error"] = "remove"
    """`-` and `.` of alignments: remove them, drop the sequence, or stop."""


class Synthetic(Section):
    """The built-in protein-like source with a known exact entropy."""

    sequences: Count = 20_000
    """Training sequences."""
    min_length: Count = 40
    """Shortest sequence, residues."""
    max_length: Count = 120
    """Longest sequence, residues."""
    order: Annotated[FiniteFloat, Interval(ge=0.0, le=10.0)] = 2.0
    """Strength of the order between neighbours; 0 gives independent letters."""

    @model_validator(mode="after")
    def _lengths_make_a_range(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) must not exceed max_length ({self.max_length})")
        return self


class Data(Section):
    """Where the sequences come from and how they are read."""

    train: str = "synthetic"
    """`synthetic`, a FASTA file (plain or gzip), a text file (`.txt`), or a store made by `sedd data prepare`."""
    valid: str | None = None
    """A held-out file of its own; without it, `holdout` of the training file is set aside."""
    alphabet: Literal["protein", "esm", "text"] = "protein"
    """`protein`: the 20 letters; `esm`: the 33 ids of ESM; `text`: the characters found in the data."""
    holdout: Annotated[FiniteFloat, Interval(gt=0.0, lt=1.0)] = 0.01
    """Share of sequences set aside for validation, by a hash of the sequence (or of its cluster)."""
    clusters: str | None = None
    """A TSV file (optionally gzip) of `sequence id <tab> cluster id`: whole clusters are set aside, so that
    relatives of a validation sequence are never trained on."""
    min_length: Count = 2
    """Shorter sequences are left out, and counted."""
    chunk_length: Count = 256
    """Text files are cut into sequences of this many characters."""
    residues: Residues = Residues()
    """What to do with letters outside the alphabet."""
    synthetic: Synthetic = Synthetic()
    """Options of the built-in source."""
    cache: str | None = None
    """Where stores made from FASTA or text paths are kept; by default `sedd` in the user's cache directory."""


class Graph(Section):
    """The forward process on tokens (Lou et al. 2024, section 3.3)."""

    type: Literal["absorb", "uniform"] = "absorb"
    """`absorb`: residues are masked; `uniform`: they are drawn anew, uniformly."""


class Model(Section):
    """The diffusion transformer (DDiT): rotary embeddings, adaLN conditioning on sigma."""

    hidden_size: Annotated[int, Interval(ge=8, le=65_536)] = 768
    """Width of the network; `n_heads` times an even number."""
    cond_dim: Annotated[int, Interval(ge=1, le=65_536)] = 128
    """Width of the embedding of sigma."""
    length: Annotated[int, Interval(ge=1, le=1_048_576)] = 512
    """Longest sequence in residues; longer ones are cropped at random offsets."""
    n_blocks: Annotated[int, Interval(ge=1, le=1_000)] = 12
    """Transformer blocks."""
    n_heads: Annotated[int, Interval(ge=1, le=1_024)] = 12
    """Attention heads."""
    dropout: Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)] = 0.1
    """Share of activations dropped in training."""
    scale_by_sigma: bool = True
    """Raw `score` head with `absorb`: subtract log(e^sigma - 1) + log(n) from the output, as SEDD does."""
    head: Literal["normalised", "score"] = "normalised"
    """`normalised`: the network gives p(x0 | x_t) and the score follows in closed form; `score`: the raw log-score
    of SEDD, parameter for parameter the published network."""
    time_conditioning: bool = True
    """Whether the network sees sigma. The optimal normalised `absorb` network does not need it."""
    gate_init: Fraction = 0.1
    """Gates of attention at the start. SEDD begins with 0, where attention is shut until its gate has moved; runs then
    stay longer on the plateau where a model knows how frequent the letters are, and no more."""
    attention: Literal["auto", "matmul", "sdpa"] = "auto"
    """`sdpa` is torch's fused attention; `matmul` plain matrix products, whose backward is faster on CPUs."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.n_heads or (self.hidden_size // self.n_heads) % 2:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be n_heads ({self.n_heads}) times an even number; "
                f"try hidden_size={self.n_heads * 2 * max(1, self.hidden_size // (2 * self.n_heads))}"
            )
        return self


class Optim(Section):
    """The optimizer."""

    optimizer: Literal["AdamW"] = "AdamW"
    """Which optimizer."""
    lr: Rate = 3e-4
    """Peak learning rate."""
    warmup: Steps = 2_500
    """Optimizer steps of linear warm-up."""
    grad_clip: Annotated[FiniteFloat, Interval(ge=0.0, le=1e6)] = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    weight_decay: Annotated[FiniteFloat, Interval(ge=0.0, le=10.0)] = 0.0
    """Decoupled weight decay, on matrices only (not on biases, norms and embeddings)."""
    beta1: Beta = 0.9
    """Decay of the mean of the gradient."""
    beta2: Beta = 0.999
    """Decay of the mean of its square."""
    eps: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 1e-8
    """Added to the denominator of the update."""


class LrSchedule(Section):
    """What the learning rate does after warm-up."""

    type: Literal["cosine", "constant"] = "cosine"
    """`cosine`: fall to `min_ratio` at the last step; `constant`: stay."""
    min_ratio: Fraction = 0.1
    """`cosine`: the learning rate at the last step, as a share of `optim.lr`."""


class Ema(Section):
    """Exponential moving average of the weights; evaluation and sampling use it."""

    decay: Decay = 0.9999
    """Share of the average that stays at each optimizer step."""
    warmup: bool = True
    """Use min(decay, (1 + n) / (10 + n)) at update n, so that early averages are not the random initial weights."""


class Training(Section):
    """The loop. Every clock counts optimizer steps, whatever `accum` is."""

    n_iters: Count = 500_000
    """Optimizer steps."""
    batch_size: Count = 32
    """Sequences per micro-batch, where one process trains; an optimizer step sees `batch_size` x `accum`, whatever the
    number of processes that share them."""
    accum: Count = 1
    """Micro-batches per optimizer step. There are up to four also with `1`: a step is cut where its lengths differ."""
    batch_residues: Count | None = None
    """Residues per optimizer step, instead of a number of sequences: sets the batch to about this many residues,
    split over `accum` micro-batches. `batch_size` then has no part in it."""
    log_every: Count = 50
    """Optimizer steps between lines of the metrics file."""
    eval_every: Count = 1_000
    """Optimizer steps between evaluations of the held-out bound."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the transformer's blocks with torch: about a fifth faster on CPUs, after a minute or less at the start.
    `auto` compiles where there is a compiler and the run is expected to take longer than 20 minutes."""
    max_skipped: Count = 100
    """Consecutive non-finite steps after which training stops with an error."""
    activation_checkpointing: bool = False
    """Keep only the inputs of each block and compute the rest again in the backward pass: much less memory for about
    a third more time, and the same results."""

    @field_validator("compile", mode="before")
    @classmethod
    def _yaml_switch(cls, value: object) -> object:
        """YAML reads `on` and `off` as true and false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class Distributed(Section):
    """How several processes share a run; one process has no use for it. See "Scale up"."""

    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    """`ddp`: a copy of the network in each process; `fsdp2`: a share of each tensor in each, for networks that do not
    fit one device; `auto`: `ddp` below a billion parameters, else `fsdp2`."""


class Monitoring(Section):
    """When `fit` and `sedd diagnose` raise an alarm, and what a divergence leads to. Losses are nats per residue."""

    max_rise: Annotated[FiniteFloat, Interval(gt=0.0, le=100.0)] = 0.1
    """Largest rise of the training loss per 1,000 optimizer steps."""
    max_loss: Annotated[FiniteFloat, Interval(gt=0.0, le=1000.0)] = 5.0
    """Largest training loss."""
    max_oscillation: Annotated[FiniteFloat, Interval(gt=0.0, le=10.0)] = 0.2
    """Largest scatter of the loss between lines of the metrics file, as a share of the loss."""
    patience: Count = 50_000
    """Optimizer steps in which the held-out bound must improve."""
    on_divergence: Literal["warn", "stop", "rollback"] = "warn"
    """When the model itself gets worse: say so, stop, or go back to the last good checkpoint with a lower learning
    rate. A loss that rises with the curriculum is no divergence."""
    rollback_lr: Annotated[FiniteFloat, Interval(gt=0.0, lt=1.0)] = 0.5
    """`rollback`: the learning rate is multiplied by this."""
    max_rollbacks: Count = 3
    """`rollback`: so many times; the next divergence stops the run."""


class Evaluation(Section):
    """The curriculum-free bound on held-out data."""

    sequences: Count = 256
    """Held-out sequences; the same ones at every evaluation."""
    masks: Annotated[int, Interval(ge=1, le=10_000)] = 4
    """Stratified noise levels per sequence."""
    batch_size: Count = 64
    """Sequences at a time; changes memory, not results."""


class Sampling(Section):
    """How sequences are generated. `sedd sample` and the Python API take the same options for one call."""

    predictor: Literal["euler", "analytic", "ancestral", "first_hitting"] = "ancestral"
    """How noise is taken away. `euler`: tau-leaping; `analytic`: Tweedie's formula on the scores; `ancestral`: the
    posterior p(x_s | x_t); `first_hitting` (`absorb` only): one residue after the other, exact."""
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 128
    """Denoising steps, each at most one evaluation of the network; `first_hitting` has no use for it."""
    tokens_per_step: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    """`first_hitting`: residues drawn from one evaluation. With more than 1 they are drawn independently of each
    other: faster, and an approximation."""
    noise_removal: bool = True
    """Finish with one denoising step that leaves no mask and no noise."""
    temperature: Annotated[FiniteFloat, Interval(gt=0.0, le=100.0)] = 1.0
    """Draw letters from p(x0 | the other residues)^(1/temperature). Anything but 1 changes the distribution: below 1
    likelier and less diverse sequences."""
    top_p: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 1.0
    """Draw only among the likeliest symbols that have this share of p(x0 | the other residues). Anything but 1 changes
    the distribution."""
    sweeps: Annotated[int, Interval(ge=0, le=10_000)] = 2
    """Infilling with `uniform`: at the end, each drawn residue is drawn anew so many times, given all others. One
    evaluation per residue; more of them come closer to the conditional distribution."""
    batch_size: Count = 64
    """Sequences at a time; changes memory, not results."""
    at_steps: tuple[Count, ...] = (10_000, 25_000, 50_000)
    """`fit`: optimizer steps at which samples and their quality are written to the run."""
    every: Count | None = None
    """`fit`: the same every so many optimizer steps besides."""
    count: Count = 100
    """`fit`: how many sequences each time."""


class Checkpoint(Section):
    """What is kept of a run, and how often."""

    every: Count = 1_000
    """Optimizer steps between checkpoints."""
    keep: Count = 2
    """How many of the latest are kept; the best by the held-out bound is kept besides."""
