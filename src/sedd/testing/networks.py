"""The checks of networks, each on small ones with random weights, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sedd.errors import ConfigError
from sedd.plugins.contracts import Network
from sedd.testing.instances import models
from sedd.testing.reports import Draw, call_method, fail

ALPHABETS = (20, 32)
"""Numbers of symbols to build for: those of `protein`, and those of `esm`."""
LARGEST = 16
"""Largest value of a whole number among the options; the lowest that its type allows, where that is larger."""
TOLERANCE = 1e-4
"""Relative to the largest output."""
WAKE = 0.1
"""Standard deviation of what is added to all weights: layers that begin at zero would hide what is wrong."""

Sizes = tuple[int, int]
"""Number of states and of outputs."""


def small_networks(cls: type[Network]) -> Any:
    """A strategy for instances that are built in moments."""
    return models(cls, largest=LARGEST)


def the_output_has_a_number_for_each_symbol(part: Network, draw: Draw) -> None:
    """The output is (batch, length, outputs) and finite, in training and evaluation, for one residue and `length`."""
    network, (states, outputs) = _built(part)
    for length in {1, part.length}:
        tokens, sigma = _tokens(2, length, states), torch.tensor([0.1, 2.0])
        for training in (True, False):
            output = _called(part, network.train(training), tokens, sigma, None)
            if output.shape != (2, length, outputs):
                expected = f"(batch, length, outputs) = {(2, length, outputs)}"
                fail(part, f"states={states}", f"the output has the shape {tuple(output.shape)}", expected)
            if not bool(output.isfinite().all()):
                fail(part, f"length {length}", "the output has values that are not finite", "finite numbers")


def padding_has_no_effect(part: Network, draw: Draw) -> None:
    """What a sequence gives does not depend on its padding: how long it is, and which ids are in it."""
    network, (states, _) = _built(part)
    length = max(1, part.length // 2)
    tokens, sigma = _tokens(2, part.length, states), torch.tensor([0.3, 0.3])
    mask = torch.arange(part.length) < torch.tensor([[part.length], [length]])
    alone = _called(part, network, tokens[1:, :length], sigma[1:], None)[0]
    for padding in (0, states - 1):
        given = tokens.masked_fill(~mask, padding)
        padded = _called(part, network, given, sigma, mask)[1, :length]
        where = f"{part.length - length} of {part.length} tokens padding with id {padding}"
        _same(part, where, padded, alone, "the output that the sequence has without padding")


def other_sequences_have_no_effect(part: Network, draw: Draw) -> None:
    """What a sequence gives does not depend on the other sequences of the batch, and the tokens are not changed."""
    network, (states, _) = _built(part)
    tokens, sigma = _tokens(4, part.length, states), torch.tensor([0.2, 0.5, 1.0, 3.0])
    before = tokens.clone()
    together = _called(part, network, tokens, sigma, None)
    if not torch.equal(tokens, before):
        fail(part, "", "the network changed its tokens", "tokens that are only read")
    for row in range(4):
        alone = _called(part, network, tokens[row : row + 1], sigma[row : row + 1], None)[0]
        _same(part, f"sequence {row} of 4", together[row], alone, "the output that it has alone")


def sigma_is_ignored_without_time_conditioning(part: Network, draw: Draw) -> None:
    """With `time_conditioning: false` the output does not depend on sigma: samplers use outputs again."""
    if part.time_conditioning:
        return
    network, (states, _) = _built(part)
    tokens = _tokens(1, part.length, states)
    low, high = (_called(part, network, tokens, torch.tensor([sigma]), None)[0] for sigma in (0.1, 3.0))
    _same(part, "sigma 3 in place of 0.1", high, low, "the same output, since time_conditioning is false")


def equal_seeds_give_equal_weights(part: Network, draw: Draw) -> None:
    """Weights are drawn from torch's generator: after an equal seed the network has equal weights, names and order."""
    first, again = (_built(part, wake=False)[0].state_dict() for _ in range(2))
    if list(first) != list(again):
        fail(part, "", "built twice it has other names in its state dict", "equal names in equal order")
    if different := [name for name in first if not torch.equal(first[name], again[name])]:
        fail(part, "", f"after equal seeds {different[0]} differs", "weights from torch's generator alone")


def it_is_built_without_memory(part: Network, draw: Draw) -> None:
    """Under `torch.device("meta")` it has the same tensors: parameters are counted before there is memory for them."""
    network, (states, outputs) = _built(part, wake=False)
    with torch.device("meta"):
        light = call_method(part, 'torch.device("meta")', "a torch.nn.Module", "build", states, outputs)
    shapes, expected = ({n: tuple(t.shape) for n, t in made.state_dict().items()} for made in (light, network))
    if shapes != expected:
        fail(part, 'torch.device("meta")', f"its tensors are {shapes}", f"{expected}")


def weights_fit_another_instance(part: Network, draw: Draw) -> None:
    """Its state dict, loaded into a new instance, gives the same output: checkpoints hold nothing else."""
    network, sizes = _built(part)
    other, _ = _built(part, seed=1)
    other.load_state_dict(network.state_dict())
    tokens, sigma = _tokens(1, part.length, sizes[0]), torch.tensor([0.7])
    loaded, expected = (_called(part, made, tokens, sigma, None)[0] for made in (other, network))
    _same(part, "with loaded weights", loaded, expected, "the output of the network that they came from")


def gradients_are_finite(part: Network, draw: Draw) -> None:
    """The output has a gradient with respect to some parameter, and all gradients are finite."""
    network, (states, outputs) = _built(part)
    tokens = _tokens(2, part.length, states)
    output = network.train()(tokens, torch.tensor([0.2, 2.0]), None)
    loss = nn.functional.cross_entropy(output.flatten(0, 1), tokens.flatten() % outputs)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    if not any(bool((gradient != 0).any()) for gradient in gradients.values()):
        fail(part, "", "no parameter has a gradient that is not 0", "a network that can be trained")
    if wrong := [name for name, gradient in gradients.items() if not bool(gradient.isfinite().all())]:
        fail(part, "", f"the gradient of {wrong[0]} is not finite", "finite gradients")


def hidden_states_are_by_residue(part: Network, draw: Draw) -> None:
    """If it has `hidden_states`, that yields floats of (batch, length, size), for `Pretrained.embed`."""
    network, (states, _) = _built(part)
    method = getattr(network, "hidden_states", None)
    if method is None:
        return
    tokens = _tokens(2, part.length, states)
    with torch.no_grad():
        found = list(method(tokens, torch.tensor([0.2, 2.0]), None))
    wrong = [h for h in found if not (isinstance(h, Tensor) and h.dim() == 3 and h.shape[:2] == tokens.shape)]
    if not found or wrong:
        given = f"{tuple(wrong[0].shape)}" if wrong else "nothing"
        fail(part, "", f"hidden_states() yields {given}", f"(batch, length, size) for {tuple(tokens.shape)} tokens")


def _built(part: Network, *, seed: int = 0, wake: bool = True) -> tuple[nn.Module, Sizes]:
    """A network in evaluation mode, for the first alphabet that it takes, with random weights unless `wake` is off."""
    refused = ""
    for n in ALPHABETS:
        sizes = n + 1, n if part.head == "normalised" else n + 1
        torch.manual_seed(seed)
        try:
            network = part.build(*sizes)
        except ConfigError as error:
            refused = str(error)
            continue
        except Exception as error:
            raise AssertionError(f"{part!r}: build{sizes} raised {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module) or not any(True for _ in network.parameters()):
            fail(part, f"build{sizes}", f"it returned {type(network).__name__}", "a torch.nn.Module with parameters")
        for parameter in network.parameters() if wake else ():
            parameter.data.add_(torch.randn_like(parameter), alpha=WAKE)
        return network.eval(), sizes
    raise AssertionError(f"{part!r}: refused for every alphabet of {ALPHABETS} symbols: {refused}")


def _tokens(batch: int, length: int, states: int) -> Tensor:
    """Random ids, with MASK and others."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(states - 1, (batch, length), generator=generator)
    return torch.where(torch.rand(batch, length, generator=generator) < 0.3, states - 1, tokens)


def _called(part: Network, network: nn.Module, tokens: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
    try:
        with torch.no_grad():
            output = network(tokens, sigma, mask)
    except Exception as error:
        arguments = f"network(tokens {tuple(tokens.shape)}, sigma, {'None' if mask is None else 'mask'})"
        raise AssertionError(f"{part!r}: {arguments} raised {type(error).__name__}: {error}") from error
    if not isinstance(output, Tensor) or not torch.is_floating_point(output):
        fail(part, "", f"the network returned {type(output).__name__}", "a tensor of floating-point numbers")
    return output


def _same(part: Network, where: str, given: Tensor, expected: Tensor, words: str) -> None:
    difference = float((given - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        fail(part, where, f"the output differs by {difference:.2g}", words)


CHECKS = (
    the_output_has_a_number_for_each_symbol, padding_has_no_effect, other_sequences_have_no_effect,
    sigma_is_ignored_without_time_conditioning, equal_seeds_give_equal_weights, it_is_built_without_memory,
    weights_fit_another_instance, gradients_are_finite, hidden_states_are_by_residue,
)  # fmt: skip
