"""The typed configuration of a run: frozen, with bounds in the types and one source for messages and JSON schema.

Section and key names are those of the SEDD code base and of the run files its users already have. `Config(...)`
validates plugin sections (noise, curriculum, device, trackers) against everything that is installed.
Reading YAML, presets and overrides is the job of `sedd.runfile`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union, cast

from annotated_types import Interval
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    InstanceOf,
    SerializeAsAny,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from sedd.contracts import Backend, Curriculum, Fraction, Noise, Part, Steps, Tracker
from sedd.errors import ConfigError, SeddWarning
from sedd.messages import Where, explain
from sedd.plugins import KINDS, Kind, registry

Count = Annotated[int, Interval(ge=1, le=10**9)]
Rate = Annotated[FiniteFloat, Interval(gt=0.0, le=10.0)]
Beta = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]
Decay = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


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
    holdout: Annotated[FiniteFloat, Interval(gt=0.0, lt=1.0)] = 0.02
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
    """Sequences per micro-batch; an optimizer step sees `batch_size` x `accum`."""
    accum: Count = 1
    """Micro-batches per optimizer step."""
    batch_residues: Count | None = None
    """Residues per optimizer step, instead of a number of sequences: sets the batch to about this many residues,
    split over `accum` micro-batches. `batch_size` then has no part in it."""
    log_every: Count = 50
    """Optimizer steps between lines of the metrics file."""
    eval_every: Count = 1_000
    """Optimizer steps between evaluations of the held-out bound."""
    max_skipped: Count = 100
    """Consecutive non-finite steps after which training stops with an error."""


class Evaluation(Section):
    """The curriculum-free bound on held-out data."""

    sequences: Count = 256
    """Held-out sequences; the same ones at every evaluation."""
    masks: Annotated[int, Interval(ge=1, le=10_000)] = 4
    """Stratified noise levels per sequence."""
    batch_size: Count = 64
    """Sequences at a time; changes memory, not results."""


class Sampling(Section):
    """How sequences are generated."""

    predictor: Literal["euler", "ancestral"] = "ancestral"
    """`ancestral` draws from the posterior p(x_s | x_t) under the network; `euler` takes tau-leaping steps."""
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 128
    """Denoising steps, each one evaluation of the network."""
    noise_removal: bool = True
    """Finish with one denoising step that leaves no mask and no noise."""
    batch_size: Count = 64
    """Sequences at a time; changes memory, not results."""


class Checkpoint(Section):
    """What is kept of a run, and how often."""

    every: Count = 1_000
    """Optimizer steps between checkpoints."""
    keep: Count = 2
    """How many of the latest are kept; the best by the held-out bound is kept besides."""


class Config(Section):
    """Everything that defines a run.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of bounds, or a plugin that is not installed,
            with a line for each that says what was given and what was expected.

    Examples:
        >>> import sedd
        >>> config = sedd.Config(noise={"type": "cosine", "sigma_max": 5.0}, training={"n_iters": 100})
        >>> config.noise.sigma_max
        5.0
    """

    GENERATES_BELOW: ClassVar[float] = 0.01
    """A model can generate from nothing if less than this share of residues stays visible at full noise."""

    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    """Everything random follows from it."""
    data: Data = Data()
    graph: Graph = Graph()
    noise: SerializeAsAny[Noise]
    curriculum: SerializeAsAny[Curriculum]
    model: Model = Model()
    optim: Optim = Optim()
    lr_schedule: LrSchedule = LrSchedule()
    ema: Ema = Ema()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    sampling: Sampling = Sampling()
    checkpoint: Checkpoint = Checkpoint()
    device: SerializeAsAny[Backend]
    trackers: tuple[SerializeAsAny[Tracker], ...] = ()

    def __init__(self, **data: Any) -> None:
        super().__init__(**validated(data))
        for advice in self.advice():
            warnings.warn(advice, SeddWarning, stacklevel=2)

    def replace(self, **sections: Any) -> Config:
        """A validated copy with some sections or keys changed: `config.replace(optim={"lr": 1e-4})`.

        A mapping changes the keys it names; a part (`curriculum=MyCurriculum()`) takes the place of the whole section.
        """
        return Config(**merged(self.as_dict(parts=True), expanded(sections)))

    def as_dict(self, *, parts: bool = False) -> dict[str, Any]:
        """The configuration as plain data; with `parts`, plugin sections stay the objects they are."""
        data = self.model_dump(mode="json")
        if parts:
            data |= {kind.section: getattr(self, kind.section) for kind in KINDS}
        return data

    @property
    def sequences_per_step(self) -> int:
        """Sequences in an optimizer step where `batch_size` sets it (not `batch_residues`)."""
        return self.training.batch_size * self.training.accum

    @property
    def prior_kept(self) -> float:
        """e^(-sigma_max): the share of residues that is never masked."""
        return math.exp(-self.noise.sigma_max)

    def advice(self) -> list[str]:
        """What is legal in this configuration but very likely not wanted."""
        found = []
        kept = self.prior_kept
        if kept > self.GENERATES_BELOW:
            found.append(
                f"noise.sigma_max={self.noise.sigma_max:g} leaves {kept:.0%} of the residues untouched even at full "
                f"difficulty: the model will redesign up to {1 - kept:.0%} of a sequence, but cannot generate from "
                "nothing. Set noise.sigma_max=6.9 (0.1 % untouched) to generate"
            )
        ends = self.training.n_iters
        if self.curriculum.difficulty(ends - 1) < 1.0:
            found.append(
                f"training.n_iters={ends} ends before the curriculum reaches full difficulty at "
                f"curriculum.preschool_time={self.curriculum.preschool_time}; train longer or shorten preschool_time"
            )
        if self.optim.warmup > ends:
            found.append(
                f"training.n_iters={ends} ends inside the warm-up of {self.optim.warmup} steps, so the learning rate "
                "never reaches optim.lr; train longer or shorten optim.warmup"
            )
        return found


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with `changes` laid over it, key by key; a part gives way to a mapping by becoming its own keys."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Part) and isinstance(value, Mapping):
            old = _carried(old, value)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _carried(part: Part, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a part that outlive `changes`; of another type, only those that were set and that it has too."""
    name = changes.get(part.discriminator, part.part_name())
    if name == part.part_name():
        return part.model_dump(mode="json")
    section = next(kind.section for kind in KINDS if isinstance(part, kind.base))
    known = set(registry().of(section)[name].model_fields) if name in registry().of(section) else set()
    return part.model_dump(mode="json", exclude_unset=True, include=known - {part.discriminator})


def expanded(data: Mapping[str, Any], where: Where = lambda path: "") -> dict[str, Any]:
    """Write the short forms out: `training.ema: 0.999`, `device: cpu`, `trackers: [csv]`."""
    result = dict(data)
    training = result.get("training")
    if isinstance(training, Mapping) and "ema" in training:
        decay = training["ema"]
        if isinstance(result.get("ema"), Mapping) and result["ema"].get("decay", decay) != decay:
            raise ConfigError(
                f"{where(('training', 'ema'))}training.ema={decay} and ema.decay={result['ema']['decay']} disagree; "
                "keep one of the two"
            )
        result["training"] = {key: value for key, value in training.items() if key != "ema"}
        result["ema"] = merged(result.get("ema") or {}, {"decay": decay})
    if isinstance(result.get("device"), str):
        result["device"] = {"type": result["device"]}
    if isinstance(result.get("trackers"), list | tuple):
        result["trackers"] = [{"type": item} if isinstance(item, str) else item for item in result["trackers"]]
    return result


@cache
def typed_model() -> type[BaseModel]:
    """`Config` with every plugin section typed as the union of what is installed: validates, and makes the schema."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        fields[name] = (info.annotation, info)
    for kind in KINDS:
        union = _union(kind)
        doc = (kind.base.__doc__ or "").splitlines()[0]
        if kind.section == "trackers":
            many = tuple[union, ...]  # type: ignore[valid-type]  # a type computed from what is installed
            fields[kind.section] = (many, Field(default=(), description=doc))
        else:
            fields[kind.section] = (union, Field(default_factory=dict, validate_default=True, description=doc))
    return create_model("Config", __base__=Section, __doc__="A sedd run file.", **fields)


def _union(kind: Kind) -> Any:
    """Choose the part by the value of its discriminator; a part that is an object already passes as it is."""

    def tag(value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return "(object)" if isinstance(value, Part) else None
        name = value.get(kind.base.discriminator, kind.default)
        return None if name is None else str(name)

    classes = registry().of(kind.section)
    instance, hidden = cast(Any, InstanceOf), cast(Any, SkipJsonSchema)  # of a type that is known only now
    ready = hidden[instance[kind.base]]
    tagged = (*(Annotated[cls, Tag(name)] for name, cls in classes.items()), Annotated[ready, Tag("(object)")])
    return Annotated[Union[tagged], Discriminator(tag)]  # noqa: UP007  # a union of a computed number of types


def validated(data: Mapping[str, Any], *, where: Where = lambda path: "") -> dict[str, Any]:
    """Validate plain data against everything installed; returns the sections as objects.

    Parts that are already objects pass as they are, registered or not.

    Args:
        data: sections by name, short forms allowed.
        where: tells where a key path was given, for example ``"run.yaml:12: "``; put before each message.

    Raises:
        ConfigError: with a line for everything that is wrong.
    """
    try:
        resolved = typed_model().model_validate(expanded(data, where))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Config, where))) from None
    return {name: getattr(resolved, name) for name in Config.model_fields}
