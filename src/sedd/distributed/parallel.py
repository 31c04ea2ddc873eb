"""One network on several processes: a copy in each (DDP), or a share of each tensor in each (FSDP2)."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sedd.config.config import Config
from sedd.distributed.dtensor import is_shared, local
from sedd.distributed.group import World
from sedd.distributed.optimizer_state import moments, set_moments
from sedd.errors import ConfigError

SHARDS_FROM = 1_000_000_000
"""Parameters from which `distributed.strategy: auto` is `fsdp2`: below, weights, moments and average fit a device."""


class SingleProcess:
    """The whole network in one process: what the others refine.

    Args:
        world: the processes.
        network: what is trained.
        average: its averaged copy.
    """

    sharded = False

    def __init__(self, world: World, network: nn.Module, average: nn.Module) -> None:
        self.world, self.network, self.average = world, network, average
        self.forward: nn.Module = network
        """What a training step calls in place of the network."""

    @property
    def loss_scale(self) -> int:
        """What the loss is multiplied by: gradients are averaged over processes, and the step wants their sum."""
        return self.world.size

    def micro(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context of forward and backward of one micro-batch; the last one puts the gradients together."""
        return nullcontext()

    def clip(self, limit: float) -> Tensor:
        """Clip the gradient to norm `limit` (0: do not); returns its norm before."""
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if limit:
            nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The averaged network as a whole, for evaluation and sampling."""
        yield self.average

    def written(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of named tensors, what this process has to write."""
        return dict(tensors)

    def load(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Take over the weights of a checkpoint, which only the first process has to know.

        Raises:
            RuntimeError: if they do not fit.
        """
        if self.world.size == 1:
            network.load_state_dict(dict(tensors))
            return
        own = network.state_dict()
        problem = self.world.broadcast_object(lambda: _misfit(own, tensors))
        if problem:
            raise RuntimeError(problem)
        with torch.no_grad():
            for name, tensor in own.items():
                local(tensor).copy_(local(self._distribute(tensors.get(name), tensor)))

    def load_moments(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        """The same for the state of the optimizer, see `sedd.training.optimizer.moments`."""
        if self.world.size == 1:
            set_moments(optimizer, self.network, tensors)
            return
        parameters = dict(self.network.named_parameters())
        names = self.world.broadcast_object(lambda: {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        found = {}
        for name, shape in names.items():
            parameter = parameters[name.rpartition("/")[0]]
            like = parameter if tuple(parameter.shape) == shape else torch.empty(shape, device=parameter.device)
            found[name] = self._distribute(tensors.get(name), like.detach())
        set_moments(optimizer, self.network, found)

    def moments(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """The state of the optimizer by the names of the parameters."""
        return moments(optimizer, self.network)

    def _distribute(self, full: Tensor | None, like: Tensor) -> Tensor:
        """A tensor that the first process has, in all, laid out as `like`."""
        whole = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        if full is not None and self.world.is_main:
            whole.copy_(full)
        self.world.broadcast_(whole)
        return self._laid_out(whole, like)

    def _laid_out(self, whole: Tensor, like: Tensor) -> Tensor:
        return whole


class Ddp(SingleProcess):
    """A copy of the network in each process (DDP): gradients are averaged while the backward pass still runs."""

    def __init__(self, world: World, network: nn.Module, average: nn.Module, *, known: bool) -> None:
        super().__init__(world, network, average)
        device = next(network.parameters()).device
        ddp: Any = nn.parallel.DistributedDataParallel
        # Buffers do not train; sending them before each forward would make every micro-batch wait. Torch has two names
        # for that, of which it warns against the older one.
        names = inspect.signature(ddp).parameters
        sync = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        self.ddp = ddp(
            network,
            device_ids=None if device.index is None else [device.index],
            gradient_as_bucket_view=True,
            find_unused_parameters=not known,  # somebody's own network may leave some out
            **{sync: False},
        )
        self.forward = self.ddp

    def micro(self, *, last: bool) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = nullcontext() if last else self.ddp.no_sync()
        return context


class Fsdp(SingleProcess):
    """A share of the first dimension of each tensor in each process (FSDP2); whole only while a block needs it.

    The averaged weights and the moments of the optimizer have the same shares. Parameters stay float32, as without.
    """

    sharded = True

    def __init__(self, world: World, network: nn.Module, average: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().__init__(world, network, average)
        device = next(network.parameters()).device
        mesh = init_device_mesh(device.type, (world.size,))
        for block in reversed(_blocks(network)):  # inner ones before those around them
            fully_shard(block, mesh=mesh)
        # FSDP2 asks that nobody changes what the network returns in place, and warns of views: so it gets its own.
        network.register_forward_hook(lambda module, inputs, output: output.clone())
        self.root = fully_shard(network, mesh=mesh)
        self._shard_like(network, average)

    def micro(self, *, last: bool) -> AbstractContextManager[Any]:
        self.root.set_requires_gradient_sync(last)
        return nullcontext()

    def clip(self, limit: float) -> Tensor:
        """As without shares; the squares of the shares are summed over the processes."""
        shares = [local(p.grad) for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(shares))  # torch's own `clip_grad` uses this one
        squares = norms.square().sum()
        self.world.all_reduce_sum_(squares)
        norm = squares.sqrt()
        if limit:
            torch._foreach_mul_(shares, (limit / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        # Not through `fully_shard`: evaluation and sampling run different numbers of batches in each process.
        whole = {
            id(parameter): nn.Parameter(parameter.full_tensor(), requires_grad=False)  # type: ignore[attr-defined]  # a DTensor
            for parameter in self.average.parameters()
        }
        yield copy.deepcopy(self.average, whole)

    def written(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: local(tensor)
            for name, tensor in tensors.items()
            if self.world.is_main or (is_shared(tensor) and local(tensor).numel())
        }

    def _laid_out(self, whole: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)

    def _shard_like(self, network: nn.Module, average: nn.Module) -> None:
        """Give the averaged copy the shares of the network, which it equals at the start."""
        shares = dict(network.named_parameters(remove_duplicate=False))
        made: dict[int, nn.Parameter] = {}
        for module_name, module in average.named_modules():
            for name in [name for name, each in module._parameters.items() if each is not None]:
                live = shares[f"{module_name}.{name}" if module_name else name]
                if id(live) not in made:
                    made[id(live)] = nn.Parameter(live.detach().clone(), requires_grad=False)
                module._parameters[name] = made[id(live)]


def parallelize(world: World, config: Config, network: nn.Module, average: nn.Module, *, known: bool) -> SingleProcess:
    """Put a network on the processes of a world; changes `network` and `average` in place.

    Args:
        world: the processes.
        config: whose `distributed.strategy` and `training.activation_checkpointing` count.
        network: equal in all processes.
        average: equal to it.
        known: whether it is the built-in network, all of whose parameters take part in every step.

    Raises:
        ConfigError: if activation checkpointing is asked for and the network has no blocks.
    """
    if config.training.activation_checkpointing:
        _recompute(network)
    if world.size == 1:
        return SingleProcess(world, network, average)
    strategy = config.distributed.strategy
    if strategy == "auto":
        strategy = "ddp" if sum(p.numel() for p in network.parameters()) < SHARDS_FROM else "fsdp2"
    return Ddp(world, network, average, known=known) if strategy == "ddp" else Fsdp(world, network, average)


def same_everywhere(world: World, network: nn.Module) -> None:
    """Give all processes the weights of the first: somebody's own network may begin at random."""
    if world.size > 1:
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                world.broadcast_(tensor)


def _recompute(network: nn.Module) -> None:
    """Keep only the inputs of each block for the backward pass, and compute the rest again: memory for time."""
    blocks = _blocks(network)
    if not blocks:
        raise ConfigError(
            f"training.activation_checkpointing: {type(network).__name__} has no blocks to recompute; keep them in an "
            "nn.ModuleList, or switch it off",
            keys=["training.activation_checkpointing"],
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _blocks(network: nn.Module) -> list[nn.Module]:
    """What a network repeats: the members of its module lists, outer ones first."""
    return [block for each in network.modules() if isinstance(each, nn.ModuleList) for block in each]


def _misfit(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str | None:
    """What keeps saved weights from being loaded."""
    if own.keys() != saved.keys():
        only = sorted(own.keys() ^ saved.keys())
        return f"{', '.join(only[:3])}: only in one of the two"
    wrong = [name for name in own if own[name].shape != saved[name].shape]
    return f"{wrong[0]}: {tuple(saved[wrong[0]].shape)} saved, {tuple(own[wrong[0]].shape)} here" if wrong else None
