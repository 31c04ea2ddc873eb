"""The sections of a run file, one frozen model each, with types, bounds, defaults and descriptions.

Section and key names are those of the SEDD code base and of the run files its users already have. The sections of
plugins (noise, curriculum, model, device, trackers) are the parts themselves; see `sedd.plugins.contracts`. An `Effect`
beside a field is what its key affects: whether it may change when a run is resumed, and matters when runs are compared.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Interval
from pydantic import Field, FiniteFloat, field_validator, model_validator

from sedd.config.alphabet import AlphabetChoice
from sedd.config.early_stopping import EarlyStopping
from sedd.config.evaluation_section import Evaluation as Evaluation
from sedd.config.monitoring_section import Monitoring as Monitoring
from sedd.config.own_parts import OwnOptimizer, OwnSchedule, check_described
from sedd.config.section import Beta, Count, Decay, Name, Rate, Section
from sedd.plugins.contracts import Fraction, Steps
from sedd.plugins.effects import Effect
from sedd.plugins.options import on_and_off


class Residues(Section):
    """What to do with characters outside the alphabet. Every repair is counted and reported."""

    lowercase: Literal["upper", "drop", "error"] = "upper"
    """Lower-case (soft-masked) residues: read them as upper case, drop the sequence, or stop with an error."""
    stop: Literal["strip", "drop", "error"] = "strip"
    """`*`: remove it from the end of a sequence and drop sequences that have it elsewhere (`strip`), drop every
    sequence that has it, or stop with an error."""
    substitute: dict[str, str] = Field(default_factory=lambda: {"U": "C", "O": "K"})
    """Capital letters that are read as a symbol: by default selenocysteine (U) as C and pyrrolysine (O) as K. With this
    default, `dna` reads U as T, `rna` T as U, and your own symbols are read as they are."""
    ambiguous: Literal["drop", "split", "error"] = "drop"
    """X, B, Z, J (nucleotides: N, R, Y, ...) and any other letter: drop the sequence, split it at these residues and
    keep the fragments, or stop with an error. With `split`, a sequence that has digits or punctuation is dropped."""
    gaps: Literal["remove", "drop", "error"] = "remove"
    """`-` and `.` of alignments: remove them, drop the sequence, or stop with an error."""
    chains: Literal["drop", "split", "error"] = "drop"
    """`/`, `:` and `|` between the chains of a complex: drop the sequence, make a sequence of each chain, or stop with
    an error."""
    nucleotides: Literal["refuse", "keep"] = "refuse"
    """A file of which nearly all sequences are DNA or RNA: refuse it, or train on it as if they were proteins."""


class Synthetic(Section):
    """The built-in source of protein-like sequences, whose entropy is known exactly."""

    sequences: Count = 20_000
    """Number of training sequences."""
    min_length: Count = 40
    """Length of the shortest sequence, in residues."""
    max_length: Count = 120
    """Length of the longest sequence, in residues."""
    order: Annotated[FiniteFloat, Interval(ge=0.0, le=10.0)] = 2.0
    """Strength of the correlation between neighbouring residues; 0 gives independent residues."""

    @model_validator(mode="after")
    def _lengths_make_a_range(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) must not exceed max_length ({self.max_length})")
        return self


class Data(Section):
    """The training and held-out sequences, and how they are read."""

    train: Annotated[Name | tuple[Name, ...], Effect.LOCATION] = "synthetic"
    """`synthetic`; a file of sequences or text, plain or compressed, a folder of files, a pattern such as
    `shards/*.fasta.gz`, or a list of these; or a store made by `sedd data prepare`."""
    valid: Annotated[Name | tuple[Name, ...] | None, Effect.LOCATION] = None
    """Held-out sequences, named like `train`; without them, the share `holdout` of the training sequences is held
    out."""
    alphabet: AlphabetChoice = "protein"
    """`protein`: the 20 amino acids; `esm`: the 33 tokens of ESM; `dna`, `rna`: the four bases; `text`: the characters
    that occur in the data; `ids`: token ids as numbers separated by spaces, from 0 to the largest in the data, one
    sequence per line; the name of a plugin; or your own symbols, as `{letters: ACGT-}` or `{symbols: [AAA, AAC]}`."""
    holdout: Annotated[FiniteFloat, Interval(gt=0.0, lt=1.0)] = 0.01
    """Share of the sequences that is held out, chosen by a hash of the sequence (or of its cluster)."""
    clusters: Annotated[Name | None, Effect.LOCATION] = None
    """A file of clusters, plain or compressed: lines of `sequence id <tab> cluster id`, a table of MMseqs2, or a
    `.clstr` file of CD-HIT. Complete clusters are held out: no relative of a held-out sequence is trained on."""
    column: Name | None = None
    """Tables (CSV, TSV, JSON lines, Parquet): title of the column that holds the sequences, or its number from 1."""
    format: Literal["auto", "lines"] = "auto"
    """`lines`: a file of bare residues, without headers, is one sequence per line. All other formats are recognised by
    the content of the file."""
    min_length: Count = 2
    """Shortest sequence that is kept, in residues; shorter ones are dropped and counted."""
    chunk_length: Count = 256
    """Length of the sequences that text files are cut into, in characters."""
    residues: Residues = Residues()
    """What to do with characters outside the alphabet."""
    synthetic: Synthetic = Synthetic()
    """Options of the built-in source, for `train: synthetic`."""
    cache: Annotated[Name | None, Effect.NONE] = None
    """Directory for the stores made from FASTA and text files; by default `sedd` in the user's cache directory."""


class Graph(Section):
    """The forward process on tokens (Lou et al. 2024, section 3.3)."""

    type: Literal["absorb", "uniform"] = "absorb"
    """`absorb`: residues are replaced by a mask; `uniform`: by a token drawn uniformly."""


class ParameterGroup(Section):
    """Parameters that are trained otherwise than the others."""

    pattern: Name
    """The parameters, by a pattern for their names: `vocab_embed.*`, `blocks.[0-5].*`. A parameter is in the first
    group that fits."""
    lr_factor: Annotated[FiniteFloat, Interval(gt=0.0, le=1e6)] = 1.0
    """Their learning rate, as a factor of `optim.lr`."""
    freeze: bool = False
    """Leave them as they are."""
    optimizer: Literal["AdamW", "Muon"] | None = None
    """With `optim.optimizer: Muon`: which of the two updates them; null: Muon the matrices of the blocks."""


class Optim(Section):
    """The optimizer."""

    optimizer: Literal["AdamW", "Muon", "own"] = "AdamW"
    """`AdamW`; `Muon`: torch's Muon for the matrices of the blocks, AdamW for the rest; `own`: the object that
    `Trainer(optimizer=...)` was given. Of this section, only `grad_clip`, `warmup` and `lr` apply to it."""
    own: OwnOptimizer | None = None
    """The class and hyperparameters of `own`; written by the `Trainer`."""
    lr: Rate = 3e-4
    """Peak learning rate."""
    warmup: Steps = 2_500
    """Optimizer steps over which the learning rate rises linearly from 0."""
    grad_clip: Annotated[FiniteFloat, Interval(ge=0.0, le=1e6)] = 1.0
    """Largest norm of the gradient; 0 disables clipping."""
    weight_decay: Annotated[FiniteFloat, Interval(ge=0.0, le=10.0)] = 0.0
    """Decoupled weight decay of matrices; biases, norms and embeddings have none."""
    beta1: Beta = 0.9
    """Decay of the running mean of the gradient."""
    beta2: Beta = 0.999
    """Decay of the running mean of the squared gradient."""
    eps: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 1e-8
    """Number added to the denominator of the update."""
    momentum: Beta = 0.95
    """With `Muon`: decay of the running mean of the gradient of its matrices. `lr` and `weight_decay` hold for them
    too, the other options of AdamW do not."""
    groups: tuple[ParameterGroup, ...] = ()
    """Parameters with a learning rate of their own, or that are frozen, such as
    `[{pattern: "vocab_embed.*", freeze: true}]`."""

    @model_validator(mode="after")
    def _own_is_described(self) -> Self:
        check_described(self.optimizer, self.own, "optimizer")
        return self

    @model_validator(mode="after")
    def _groups_choose_between_two(self) -> Self:
        if self.optimizer != "Muon" and any(group.optimizer for group in self.groups):
            raise ValueError("groups: `optimizer` of a group is for optimizer: Muon; set that, or leave it out")
        return self


class LrSchedule(Section):
    """The learning rate after the warm-up."""

    type: Literal["cosine", "constant", "wsd", "own"] = "cosine"
    """`cosine`: it falls to `min_ratio` times its peak at `end_step`; `constant`: it stays at its peak; `wsd` (warm-up,
    stable, decay): it stays at its peak, and falls over the last `decay_share` of the steps; `own`: what
    `Trainer(lr_schedule=...)` was given, without a warm-up."""
    min_ratio: Fraction = 0.1
    """With `cosine` and `wsd`: the learning rate at `end_step` and after it, as a fraction of `optim.lr`."""
    decay_share: Fraction = 0.2
    """With `wsd`: the share of the steps up to `end_step` in which it falls, as 1 - sqrt(progress)."""
    end_step: Count | None = None
    """With `cosine` and `wsd`: the optimizer step at which it ends; by default `training.n_iters`, the last one."""
    own: OwnSchedule | None = None
    """Samples of `own`; written by the `Trainer`."""

    @model_validator(mode="after")
    def _own_is_described(self) -> Self:
        check_described(self.type, self.own, "lr_schedule")
        return self


class Ema(Section):
    """The exponential moving average of the weights, which evaluation and sampling use."""

    decay: Decay = 0.9999
    """Decay of the average per optimizer step."""
    warmup: bool = True
    """Use min(decay, (1 + n) / (10 + n)) at update n, so that the average forgets the random initial weights."""


class Training(Section):
    """The training loop. Every step count is in optimizer steps, whatever `accum` is."""

    n_iters: Count = 500_000
    """Optimizer steps of the run."""
    init_from: Name | None = None
    """Begin with the weights of another model (fine-tuning): a run, a checkpoint, an exported folder, or
    `hf://user/name`. Step, optimizer and curriculum begin anew."""
    init_weights: Literal["ema", "model"] = "ema"
    """With `init_from`: its averaged or its raw weights."""
    batch_size: Count = 32
    """Sequences per micro-batch of a single process; an optimizer step has `batch_size` x `accum` sequences, whatever
    the number of processes that share them."""
    accum: Count = 1
    """Micro-batches per optimizer step. Sequences of different lengths are separated into up to four even with `1`."""
    batch_residues: Count | None = None
    """Residues per optimizer step, in place of a number of sequences: the batch has about this many residues, split
    into `accum` micro-batches, and `batch_size` is ignored."""
    log_every: Annotated[Count, Effect.NONE] = 50
    """Optimizer steps between two lines of the metrics file."""
    eval_every: Annotated[Count, Effect.EVALUATION] = 1_000
    """Optimizer steps between two evaluations of the held-out bound."""
    early_stopping: Annotated[EarlyStopping | None, Effect.NONE] = None
    """End the run when the held-out bound no longer improves; null: never."""
    compile: Annotated[Literal["auto", "on", "off"], Effect.ROUNDING] = "auto"
    """Compile the blocks of the transformer with torch: about a fifth faster on CPUs, after about a minute at the
    start. `auto` compiles if torch has a compiler and the operations of the run take longer than about 20 minutes."""
    max_skipped: Annotated[Count, Effect.NONE] = 100
    """Number of consecutive non-finite steps after which training stops with an error."""
    activation_checkpointing: Annotated[bool, Effect.ROUNDING] = False
    """Keep only the inputs of each block and recompute its activations in the backward pass: much less memory for
    about a third more time, and equal results."""

    _compile = field_validator("compile", mode="before")(on_and_off)


class Distributed(Section):
    """How several processes share a run; ignored by a single process. See "Scale up"."""

    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    """`ddp`: a copy of the network in each process; `fsdp2`: a shard of every tensor in each process, for networks
    that do not fit on one device; `auto`: `ddp` below a billion parameters, else `fsdp2`."""


class Sampling(Section):
    """How sequences are generated. `sedd sample` and the Python API take these options for one call."""

    predictor: Literal["euler", "analytic", "ancestral", "first_hitting"] = "ancestral"
    """The sampler. `euler`: tau-leaping; `analytic`: Tweedie's formula on the scores; `ancestral`: the posterior
    p(x_s | x_t); `first_hitting` (`absorb` only): one residue after the other, without discretization error."""
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 128
    """Number of denoising steps, each at most one evaluation of the network; ignored by `first_hitting`."""
    tokens_per_step: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    """With `first_hitting`: residues drawn from one evaluation of the network. More than 1 is faster and an
    approximation, because these residues are drawn independently of each other."""
    noise_removal: bool = True
    """Finish with one denoising step after which no mask and no noise remains."""
    temperature: Annotated[FiniteFloat, Interval(gt=0.0, le=100.0)] = 1.0
    """Draw tokens from p(x0 | the other residues)^(1/temperature), normalised. Any value but 1 changes the
    distribution: below 1, sequences are likelier and less diverse."""
    top_p: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 1.0
    """Draw only from the likeliest tokens whose probabilities p(x0 | the other residues) add up to this value. Any
    value but 1 changes the distribution."""
    sweeps: Annotated[int, Interval(ge=0, le=10_000)] = 2
    """Infilling with `uniform`: number of Gibbs sweeps at the end, in which every drawn residue is drawn again, given
    all others. One evaluation per residue; more sweeps come closer to the conditional distribution."""
    batch_size: Count = 64
    """Sequences generated at once; changes memory, not results."""
    at_steps: tuple[Count, ...] = (10_000, 25_000, 50_000)
    """During `fit`: optimizer steps at which samples and their quality are written to the run directory."""
    every: Count | None = None
    """During `fit`: also write samples whenever this many optimizer steps have passed."""
    count: Count = 100
    """During `fit`: number of sequences written each time."""


class Checkpoint(Section):
    """Which checkpoints are kept, and how often one is written."""

    every: Count = 1_000
    """Optimizer steps between two checkpoints."""
    keep: Count = 2
    """Number of latest checkpoints that are kept; the one with the best held-out bound is kept too."""
