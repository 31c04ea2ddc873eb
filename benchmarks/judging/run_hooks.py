"""Faults inside network and optimizer, planted by hooks on a trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sedd
from sedd.data import Cursor
from sedd.training.loading import Loader, MicroStep, StepInputs

Plant = Callable[[sedd.Trainer], None]


def each_gradient(trainer: sedd.Trainer, change: Callable[[Tensor], Tensor], *, since: int = 0) -> None:
    """Change every gradient from a step on."""
    for parameter in trainer.network.parameters():
        parameter.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            lambda slope: change(slope) if trainer.state.step >= since else slope
        )


def wrong_sign(share: float, since: int) -> Plant:
    """With probability `share` per step the gradient has the wrong sign."""
    return lambda trainer: each_gradient(trainer, _by_step(trainer, share, lambda slope: -slope), since=since)


def _by_step(trainer: sedd.Trainer, share: float, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`change` at a random share of the steps, the same for all parameters of a step."""
    key = trainer.config.seed

    def changed(slope: Tensor) -> Tensor:
        hit = np.random.default_rng([key, trainer.state.step]).random() < share
        return change(slope) if hit else slope

    return changed


def gradient_noise(factor: float, since: int) -> Plant:
    """Gaussian noise of `factor` times the size of each gradient."""

    def noisy(slope: Tensor) -> Tensor:
        size = float(slope.norm()) / slope.numel() ** 0.5
        added: Tensor = slope + factor * size * torch.randn_like(slope)
        return added

    return lambda trainer: each_gradient(trainer, noisy, since=since)


def still(since: int) -> Plant:
    """No gradient any more: the weights stay as they are."""
    return lambda trainer: each_gradient(trainer, torch.zeros_like, since=since)


def dead_head(trainer: sedd.Trainer) -> None:
    """The last layer gets no gradient, so that the model stays the uniform predictor."""
    layer = trainer.network.get_submodule("output_layer")
    layer.requires_grad_(False)


def frozen_blocks(trainer: sedd.Trainer) -> None:
    """The blocks get no gradient: a network of one layer on random features."""
    trainer.network.get_submodule("blocks").requires_grad_(False)


def overflow(share: float, since: int) -> Plant:
    """With probability `share` per step a gradient overflows, as with bfloat16 and large activations."""

    def plant(trainer: sedd.Trainer) -> None:
        random = np.random.default_rng(trainer.config.seed)
        parameter = next(iter(trainer.network.parameters()))

        def spoil(slope: Tensor) -> Tensor:
            return slope * float("inf") if trainer.state.step >= since and random.random() < share else slope

        parameter.register_hook(spoil)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    return plant


def shuffled_targets(share: float, since: int) -> Plant:
    """From a step on, a share of the steps compares each prediction with the target of another position."""

    def plant(trainer: sedd.Trainer) -> None:
        def roll(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            step = trainer.state.step
            hit = step >= since and np.random.default_rng([trainer.config.seed, step]).random() < share
            return output.roll(1, 0) if module.training and hit else output

        trainer.network.register_forward_hook(roll)

    return plant


def exploding(rate: float, since: int) -> Plant:
    """The logits are multiplied by a factor that grows by `rate` per step."""

    def plant(trainer: sedd.Trainer) -> None:
        def grow(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            return output * (1.0 + rate) ** max(0, trainer.state.step - since)

        for network in (trainer.network, trainer.ema.network):
            network.get_submodule("output_layer").register_forward_hook(grow)

    return plant


def lr_jump(factor: float, since: int, *, steps: int | None = None) -> Plant:
    """The learning rate is `factor` times too high from a step on, for `steps` steps or to the end."""

    def plant(trainer: sedd.Trainer) -> None:
        step = type(trainer)._step

        def jumping() -> sedd.StepReport:
            at = trainer.state.step
            inside = at >= since and (steps is None or at < since + steps)
            trainer.state = replace(trainer.state, lr_scale=factor if inside else 1.0)
            return step(trainer)

        trainer._step = jumping  # type: ignore[method-assign]  # a fault, planted

    return plant


def dropout_in_evaluation(trainer: sedd.Trainer) -> None:
    """The averaged network is evaluated in training mode."""
    for module in trainer.ema.network.modules():
        module.training = True
    trainer.ema.network.register_forward_pre_hook(lambda module, _: setattr(module, "training", True))


def batch_mean(strength: float) -> Plant:
    """In training, each position sees the mean of this position over the batch."""

    def mix(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return output + strength * output.mean(0, keepdim=True) if module.training else output

    def plant(trainer: sedd.Trainer) -> None:
        # Of a network that is written so, the averaged copy is, too; it is evaluated in evaluation mode, unmixed.
        for network in (trainer.network, trainer.ema.network):
            network.get_submodule("vocab_embed").register_forward_hook(mix)

    return plant


@dataclass
class Remembering:
    """A loader that keeps the inputs of the current step."""

    loader: Loader
    micro_steps: tuple[MicroStep, ...] = ()

    def __call__(self, step: int, cursor: Cursor) -> StepInputs:
        inputs = self.loader(step, cursor)
        self.micro_steps = inputs.micro_steps
        return inputs


def label_leak(strength: float, share: float) -> Plant:
    """In training, the network sees a random embedding of a share of the clean tokens, times `strength`."""

    def plant(trainer: sedd.Trainer) -> None:
        size = getattr(trainer.config.model, "hidden_size")  # noqa: B009  # of the built-in network
        seed = torch.Generator().manual_seed(trainer.config.seed)
        codes = torch.randn(trainer.process.graph.states, size, generator=seed) / size**0.5
        seen = torch.rand(trainer.config.model.length, generator=seed) < share
        remembering = Remembering(trainer.loader)
        trainer.loader = remembering  # type: ignore[assignment]  # a fault, planted

        def leak(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not module.training:
                return output
            tokens = given[0]
            for micro_step in remembering.micro_steps:
                if torch.equal(micro_step.corrupted.x_t, tokens):
                    clean = codes[micro_step.corrupted.batch.tokens] * seen[: tokens.shape[1], None]
                    leaking: Tensor = output + strength * clean
                    return leaking
            return output

        trainer.network.get_submodule("vocab_embed").register_forward_hook(leak)

    return plant
