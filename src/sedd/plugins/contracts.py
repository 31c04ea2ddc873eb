"""The base classes of plugins: frozen pydantic models whose fields are options and whose methods are behaviour.

There are five kinds of part. Each has a *discriminator*, the key in the run file that chooses the part by its name:

| kind       | base class   | section and key                | must implement                     |
|------------|--------------|--------------------------------|------------------------------------|
| curriculum | `Curriculum` | `curriculum.difficulty_ramp`   | `difficulty`, or `shape` of `Ramp` |
| noise      | `Noise`      | `noise.type`                   | `total`, `rate`                    |
| network    | `Network`    | `model.type`                   | `build`                            |
| backend    | `Backend`    | `device.type`                  | `available`, `device`              |
| tracker    | `Tracker`    | `trackers[].type`              | `open`, `log`, `close`             |
| vocabulary | `Vocabulary` | `data.alphabet`                | `symbols`                          |
| metric     | `Metric`     | `evaluation.metrics[].type`    | `evaluate`                         |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import torch
from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, FiniteFloat, field_validator, model_validator
from torch import Tensor, nn

from sedd.plugins.effects import Effect
from sedd.plugins.guarding import EXPECTED, guarded
from sedd.plugins.options import Lora, on_and_off, reject_bools
from sedd.plugins.recorders import Recorder

if TYPE_CHECKING:
    from sedd.data import Dataset
    from sedd.pretrained import Pretrained

Steps = Annotated[int, Interval(ge=0, le=10**9)]
"""A number of optimizer steps."""
Fraction = Annotated[FiniteFloat, Interval(ge=0.0, le=1.0)]
"""A number in [0, 1]."""
Layout = Literal["auto", "rows", "packed"]
Precision = Literal["auto", "float32", "bfloat16"]


class Part(BaseModel, ABC):
    """Base class of all parts: frozen, strict about unknown keys, finite in every number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    discriminator: ClassVar[str] = "type"
    """The field whose value names the part in a run file."""

    _no_bools = model_validator(mode="before")(reject_bools)

    @classmethod
    def part_name(cls) -> str:
        """The name of the part in a run file: the default of its discriminator field."""
        return str(cls.model_fields[cls.discriminator].default)


class Curriculum(Part):
    """The difficulty of the noise at each optimizer step: a pure function of the step, in [0, 1].

    It must never fall, and be exactly 1 from `preschool_time` on, so that every run ends with the full objective.
    Most curricula derive from `Ramp`, which ensures both.
    """

    discriminator: ClassVar[str] = "difficulty_ramp"

    mode: Literal["scale", "truncate", "bias"] = "scale"
    """How difficulty d changes the noise: `scale` multiplies sigma by d; `truncate` draws t from [0, d]; `bias` draws
    t closer to 0 with importance weights, so that the expected loss stays the full bound."""
    preschool_time: Steps = 0
    """Optimizer step from which on the difficulty is exactly 1."""
    min_difficulty: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 0.1
    """Difficulty at step 0."""

    @abstractmethod
    def difficulty(self, step: int) -> float:
        """Difficulty in [0, 1] at optimizer step `step` (0 is the first); pure and non-decreasing."""


class Ramp(Curriculum):
    """A curriculum that rises from `min_difficulty` to 1 over `preschool_time` steps, along a `shape`.

    difficulty(step) = m + (1 - m) shape(step / preschool_time), with m = `min_difficulty`.
    """

    @abstractmethod
    def shape(self, progress: float) -> float:
        """Height of the ramp in [0, 1] at progress in [0, 1]: non-decreasing, 0 at 0 and 1 at 1."""

    @final
    def difficulty(self, step: int) -> float:
        if step >= self.preschool_time:
            return 1.0
        height = min(max(self.shape(max(step, 0) / self.preschool_time), 0.0), 1.0)
        return self.min_difficulty + (1.0 - self.min_difficulty) * height


class Noise(Part):
    """Cumulative noise sigma(t) at time t in [0, 1] and its derivative (Lou et al. 2024, section 3.3)."""

    sigma_min: Annotated[FiniteFloat, Interval(ge=0.0, le=20.0)] = 1e-4
    """Noise at t = 0: sigma(0)."""
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)]
    """Noise at t = 1: sigma(1). At most the share 1 - e^(-sigma_max) of the residues is masked."""

    @abstractmethod
    def total(self, t: Tensor) -> Tensor:
        """sigma(t), with the shape and dtype of `t`; differentiable."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """d sigma / dt at `t`, with the shape and dtype of `t`."""


class Network(Part):
    """A network, which `build` makes: from corrupted tokens and sigma to numbers for each residue.

    The options below are those that every network has; they say how the rest of sedd calls it and reads its output.
    """

    length: Annotated[int, Interval(ge=1, le=1_048_576)] = 512
    """Length of the longest sequence, in residues; longer ones are cropped at random offsets."""
    head: Literal["normalised", "score"] = "normalised"
    """`normalised`: the network gives p(x0 | x_t), from which the score follows in closed form; `score`: the network
    gives the log-score, with exactly the parameters of the published SEDD network."""
    scale_by_sigma: bool = True
    """With `head: score` and `graph: absorb`: subtract log(e^sigma - 1) + log(n) from the output, as SEDD does."""
    time_conditioning: bool = True
    """Condition the network on sigma. The optimal `normalised` network with `absorb` does not depend on sigma."""
    lora: Lora | None = None
    """Train low-rank changes of the weights of `training.init_from` in place of all weights: `lora: {rank: 8}`."""

    @abstractmethod
    def build(self, states: int, outputs: int) -> nn.Module:
        """A new network, called as `network(tokens, sigma, mask)`, whose weights are drawn from torch's generator.

        `tokens` are (batch, length) ids below `states`, `sigma` is (batch,) float32, and `mask` is (batch, length)
        bool, False at padding, which ends each row, or None where there is no padding. It returns (batch, length,
        `outputs`). What a row gives depends neither on its padding nor on the other rows, and with
        `time_conditioning: false` not on `sigma`. It can be built under `torch.device("meta")`.

        Optional methods of the network: `compilable_blocks()`, the modules that `training.compile` compiles;
        `hidden_states(tokens, sigma, mask)`, which yields what `Pretrained.embed` returns.

        Args:
            states: number of token ids: n symbols, and with `absorb` the mask token n.
            outputs: numbers for each residue: n logits with `head: normalised`, `states` log-scores with `head: score`.

        Raises:
            ConfigError: if the options do not fit `states` and `outputs`.
        """

    @classmethod
    def published(cls, config: Mapping[str, Any], read: Callable[[], Mapping[str, Tensor]]) -> PublishedWeights | None:
        """Weights of another program for this network, which `sedd import weights` found in a folder of a model hub.

        Args:
            config: the `config.json` of the folder.
            read: reads the tensors of the folder, by their names there, without prefixes of wrappers.

        Returns:
            None if the folder is not for this network; decide it by `config` alone.

        Raises:
            CheckpointError: if it is, and does not fit; has the key or the tensor.
        """
        return None


@dataclass(frozen=True)
class PublishedWeights:
    """What `sedd.Network.published` returns: the network, and the tensors that are to be exactly its own.

    They are imported with `graph: absorb` and `noise: loglinear`; the bound of a network without sigma does not depend
    on the noise.
    """

    layout: str
    """Name of the layout, for people."""
    model: Network
    """The network with its options."""
    tensors: Mapping[str, Tensor]
    """By the names of its state dict. One that is missing, surplus or misshapen is an error that names it."""
    n: int
    """Symbols of the vocabulary, without MASK, whose id is n."""
    alphabet: str = "ids"
    """Name of the alphabet: `protein`, `esm`, or `ids` where it is not known."""
    drawn: str | None = None
    """The symbols of the alphabet that samples are made of; None: all."""
    remarks: tuple[str, ...] = ()
    """What was left out or changed, one sentence each, without a full stop."""


class Backend(Part):
    """A kind of device: whether it is available, how to address it, and what it can do."""

    precision: Annotated[Precision, Effect.ROUNDING] = "auto"
    """Precision of the network's matrix products; `auto` is bfloat16 where the hardware has instructions for it. Loss
    and scores are always computed in float32."""
    layout: Annotated[Layout, Effect.TRAINING] = "auto"
    """The batches of training. `rows`: sequences of similar length in padded rows; `packed`: random sequences one after
    the other in a single row, without padding between them; `auto`: what is faster on the device, kept when a run goes
    on."""
    graphs: Annotated[Literal["auto", "on", "off"], Effect.ROUNDING] = "auto"
    """Record the kernels of a training step once and start them together from then on (CUDA graphs): for packed rows,
    one process, and without `training.activation_checkpointing`. `auto`: where the device can."""

    _graphs = field_validator("graphs", mode="before")(on_and_off)
    priority: ClassVar[int] = 0
    """`device: auto` takes the available backend of the highest priority."""

    def __getattribute__(self, name: str) -> Any:
        """The attribute; a method of a plugin is guarded, so that what goes wrong in it names the plugin."""
        value = super().__getattribute__(name)
        if name in EXPECTED and not type(self).__module__.startswith("sedd."):
            return guarded(self, name, value)
        return value

    @abstractmethod
    def available(self) -> bool:
        """Whether this machine has such a device. Called on every machine: it must not raise."""

    @abstractmethod
    def device(self, local_rank: int = 0) -> torch.device:
        """The device of the process with this rank on its machine.

        Called once in every process; the `torch.device` is passed on to all that need it.
        """

    def fast_bfloat16(self) -> bool:
        """Whether the hardware has instructions for bfloat16 matrix products, so that they are faster than float32."""
        return False

    def fast_packed(self) -> bool:
        """Whether attention over sequences of any lengths in one row is fast here, in this precision."""
        return False

    def recorder(self, device: torch.device) -> Recorder | None:
        """What records the kernels that are started on `device`, a device of this backend; None if nothing can."""
        return None

    def prepare(self) -> None:
        """Set up the process for training on this device; called once before it begins."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs; depends on the type of the device, not on a rank."""
        if self.precision == "bfloat16" or (self.precision == "auto" and self.fast_bfloat16()):
            return torch.autocast(self.device().type, dtype=torch.bfloat16)
        return nullcontext()

    def memory(self) -> dict[str, int]:
        """Memory in use, in bytes by name (for example ``{"allocated": ..., "peak": ...}``); empty if unknown."""
        return {}

    def seed(self, seed: int) -> None:
        """Seed torch's generators for this device, from which initial weights and the layers of user networks draw."""
        torch.manual_seed(seed)

    def process_group(self) -> str:
        """Name of the `torch.distributed` backend for this device."""
        return "gloo"


class Tracker(Part):
    """Receives the metrics of every logged step, for example to send them to an experiment tracker.

    It is frozen like every part: its state is the session that `open` returns and `log` and `close` receive.
    """

    @abstractmethod
    def open(self, run: Path, config: Mapping[str, Any]) -> Any:
        """Start tracking a run, with its directory and its configuration as plain data; returns the session."""

    @abstractmethod
    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one optimizer step, by name."""

    def log_alarm(self, session: Any, step: int, alarm: Mapping[str, Any]) -> None:
        """Receive an alarm of the monitor as plain data: `rule`, `cause`, `severity`, `message`, `numbers` and
        `remedies`, as in `metrics.jsonl`. By default nothing is done with it."""
        return

    def log_samples(self, session: Any, step: int, samples: Sequence[str], file: Path) -> None:
        """Receive the sequences that were drawn at a step, and the file that holds them. By default nothing is done."""
        return

    def log_file(self, session: Any, file: Path) -> None:
        """Receive a file that belongs to the run, such as its report. By default nothing is done with it."""
        return

    @abstractmethod
    def close(self, session: Any) -> None:
        """End the session; called once, also when training fails."""


class Vocabulary(Part):
    """The symbols that sequences are made of, in the order of their ids, for `data.alphabet`.

    A run file chooses it by its name alone, so that options stay at their defaults.
    """

    discriminator: ClassVar[str] = "alphabet"

    separator: ClassVar[str] = ""
    """What stands between two symbols in a file, such as a space. Without one, a file has symbol after symbol, and the
    longest symbol that fits is read."""

    @abstractmethod
    def symbols(self) -> Sequence[str]:
        """Distinct symbols, at least 2; the position of each is its id. Later versions keep them as they are, because
        models are trained on the ids."""

    def substitutions(self) -> Mapping[str, str]:
        """Capital letters that are read as a symbol, such as U as T; `data.residues.substitute` may say otherwise."""
        return {}


class Metric(Part):
    """Numbers of the averaged model, computed at every evaluation of a run beside the held-out bound.

    They are recorded as `NAME/KEY`. torch, NumPy and Python draw equal random numbers at every evaluation, and training
    does not notice what is drawn here.
    """

    @abstractmethod
    def evaluate(self, model: Pretrained, data: Dataset) -> Mapping[str, float]:
        """The numbers by key.

        Args:
            model: a copy of the averaged model, as `sedd.load` returns it.
            data: what the run trains on: `data.train`, `data.valid`, `data.alphabet`.
        """
