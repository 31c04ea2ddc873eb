"""Parallelism strategies for one network: a replica on every rank (DDP), or a shard of every tensor (FSDP2)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sedd.config.config import Config
from sedd.distributed.copies import copy_with_parameters
from sedd.distributed.dtensor import is_dtensor, to_local
from sedd.distributed.group import World
from sedd.distributed.matching import mismatch
from sedd.errors import ConfigError

FSDP_MIN_PARAMETERS = 1_000_000_000
"""`distributed.strategy: auto` takes `fsdp2` from here on; smaller networks fit a device with all their states."""


class SingleProcess:
    """A complete network in one process. `Ddp` and `Fsdp` override what differs for them.

    Args:
        world: the processes.
        network: the network that is trained.
        ema: its exponential moving average.
    """

    sharded = False

    def __init__(self, world: World, network: nn.Module, ema: nn.Module) -> None:
        self.world, self.network, self.ema = world, network, ema
        self.forward: nn.Module = network
        """The module that a training step calls; for DDP, its wrapper of the network."""

    @property
    def loss_scale(self) -> int:
        """Factor of the loss: DDP and FSDP2 average gradients over the ranks, and an optimizer step needs their sum."""
        return self.world.size

    def gradient_sync(self, *, enabled: bool) -> AbstractContextManager[Any]:
        """The context of one micro-batch's forward and backward; gradients are reduced over the ranks if `enabled`."""
        return nullcontext()

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Clip the gradient to `max_norm` (0: no clipping), in place; returns its norm before."""
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if max_norm:
            nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    @contextmanager
    def full_ema(self) -> Iterator[nn.Module]:
        """The EMA network with full, unsharded parameters, for evaluation and sampling."""
        yield self.ema

    @contextmanager
    def full_trained(self) -> Iterator[nn.Module]:
        """The trained weights, unsharded, in a copy of the EMA network: in evaluation mode, and not compiled."""
        yield copy_with_parameters(self.ema, map(self._full, self.network.parameters()), self.network.buffers())

    def _full(self, parameter: Tensor) -> Tensor:
        """A copy of a parameter, unsharded."""
        return parameter.detach().clone()

    def tensors_to_save(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that this rank writes to a sharded checkpoint."""
        return dict(tensors)

    def load_state_dict(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Load the weights of a checkpoint into `network`. Only rank 0 needs `tensors`; it broadcasts them.

        Raises:
            RuntimeError: if names or shapes differ.
        """
        if self.world.size == 1:
            network.load_state_dict(dict(tensors))
            return
        state_dict = network.state_dict()
        problem = self.world.broadcast_object(lambda: mismatch(state_dict, tensors))
        if problem:
            raise RuntimeError(problem)
        with torch.no_grad():
            for name, tensor in state_dict.items():
                to_local(tensor).copy_(to_local(self._broadcast(tensors.get(name), like=tensor)))

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        """Load what `optimizer_state` returned. Only rank 0 needs `tensors`; it broadcasts them."""
        if self.world.size == 1:
            load_optimizer_state(optimizer, self.network, tensors)
            return
        parameters = dict(self.network.named_parameters())
        shapes = self.world.broadcast_object(lambda: {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        state = {}
        for name, shape in shapes.items():
            parameter = parameters[name.rpartition("/")[0]]
            like = parameter if tuple(parameter.shape) == shape else torch.empty(shape, device=parameter.device)
            state[name] = self._broadcast(tensors.get(name), like=like.detach())
        load_optimizer_state(optimizer, self.network, state)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """The optimizer state by parameter name, see the function `optimizer_state`."""
        return optimizer_state(optimizer, self.network)

    def _broadcast(self, tensor: Tensor | None, *, like: Tensor) -> Tensor:
        """A full tensor of rank 0, on every rank, sharded as `like` is."""
        full = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        if tensor is not None and self.world.is_main:
            full.copy_(tensor)
        self.world.broadcast_(full)
        return self._shard(full, like=like)

    def _shard(self, full: Tensor, *, like: Tensor) -> Tensor:
        return full


class Ddp(SingleProcess):
    """A replica of the network on every rank (DDP): gradients are averaged while the backward pass still runs."""

    def __init__(self, world: World, network: nn.Module, ema: nn.Module, *, find_unused_parameters: bool) -> None:
        super().__init__(world, network, ema)
        device = next(network.parameters()).device
        ddp: Any = nn.parallel.DistributedDataParallel
        # Buffers do not train; broadcasting them before each forward would make every micro-batch wait. Torch has two
        # names for that option, and warns against the older one.
        names = inspect.signature(ddp).parameters
        sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        self.ddp = ddp(
            network,
            device_ids=None if device.index is None else [device.index],
            gradient_as_bucket_view=True,
            find_unused_parameters=find_unused_parameters,
            **{sync_buffers: False},
        )
        self.forward = self.ddp

    def gradient_sync(self, *, enabled: bool) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = nullcontext() if enabled else self.ddp.no_sync()
        return context


class Fsdp(SingleProcess):
    """Every tensor sharded along its first dimension over the ranks (FSDP2); a block is gathered while it is computed.

    The EMA weights and the optimizer state have the same sharding. Parameters stay float32, as in the other strategies.
    """

    sharded = True

    def __init__(self, world: World, network: nn.Module, ema: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().__init__(world, network, ema)
        device = next(network.parameters()).device
        mesh = init_device_mesh(device.type, (world.size,))
        for block in reversed(_blocks(network)):  # inner blocks before those that contain them
            fully_shard(block, mesh=mesh)
        # FSDP2 forbids in-place changes of what the network returns, and warns of views: return a copy.
        network.register_forward_hook(lambda module, inputs, output: output.clone())
        self.root = fully_shard(network, mesh=mesh)
        self._shard_ema()

    def gradient_sync(self, *, enabled: bool) -> AbstractContextManager[Any]:
        self.root.set_requires_gradient_sync(enabled)
        return nullcontext()

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        # |g|^2 = sum over ranks of the squared norm of their shards.
        shards = [to_local(p.grad) for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(shards))  # the kernel of torch's own `clip_grad_norm_`
        squares = norms.square().sum()
        self.world.all_reduce_sum_(squares)
        norm = squares.sqrt()
        if max_norm:
            torch._foreach_mul_(shards, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @contextmanager
    def full_ema(self) -> Iterator[nn.Module]:
        # Not through `fully_shard`: in evaluation and sampling the ranks run different numbers of batches.
        yield copy_with_parameters(self.ema, map(self._full, self.ema.parameters()), self.ema.buffers())

    def _full(self, parameter: Tensor) -> Tensor:
        full: Tensor = parameter.detach().full_tensor()  # type: ignore[attr-defined]  # a DTensor
        return full

    def tensors_to_save(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: to_local(tensor)
            for name, tensor in tensors.items()
            if self.world.is_main or (is_dtensor(tensor) and to_local(tensor).numel())
        }

    def _shard(self, full: Tensor, *, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return full
        return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)

    def _shard_ema(self) -> None:
        """Replace the EMA parameters by copies of the network's shards, which they equal at the start."""
        shards = dict(self.network.named_parameters(remove_duplicate=False))
        copies: dict[int, nn.Parameter] = {}
        for module_name, module in self.ema.named_modules():
            for name in [name for name, parameter in module._parameters.items() if parameter is not None]:
                shard = shards[f"{module_name}.{name}" if module_name else name]
                if id(shard) not in copies:  # tied parameters stay tied
                    copies[id(shard)] = nn.Parameter(shard.detach().clone(), requires_grad=False)
                module._parameters[name] = copies[id(shard)]


def parallelize(
    world: World, config: Config, network: nn.Module, ema: nn.Module, *, find_unused_parameters: bool
) -> SingleProcess:
    """Apply activation checkpointing and the parallelism strategy; changes `network` and `ema` in place.

    Args:
        world: the processes.
        config: gives `distributed.strategy` and `training.activation_checkpointing`.
        network: equal on all ranks.
        ema: equal to `network`.
        find_unused_parameters: whether a forward pass may leave parameters unused, see torch's DDP.

    Raises:
        ConfigError: if activation checkpointing is on and the network has no blocks.
    """
    if config.training.activation_checkpointing:
        _checkpoint_activations(network)
    if world.size == 1:
        return SingleProcess(world, network, ema)
    strategy = config.distributed.strategy
    if strategy == "auto":
        strategy = "ddp" if sum(p.numel() for p in network.parameters()) < FSDP_MIN_PARAMETERS else "fsdp2"
    if strategy == "ddp":
        return Ddp(world, network, ema, find_unused_parameters=find_unused_parameters)
    return Fsdp(world, network, ema)


def sync_module_states(world: World, network: nn.Module) -> None:
    """Broadcast parameters and buffers of rank 0: a user's own network may be initialised at random on each rank."""
    if world.size > 1:
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                world.broadcast_(tensor)


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of the optimizer under flat keys: of AdamW `NAME/step`, `NAME/exp_avg` and `NAME/exp_avg_sq` for
    parameter `NAME`."""
    return {
        f"{name}/{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_state` returned; parameters without a saved entry have no state afterwards."""
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        state = {key.rpartition("/")[2]: value for key, value in saved.items() if key.rpartition("/")[0] == name}
        if state:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}


def _checkpoint_activations(network: nn.Module) -> None:
    """Keep only the inputs of each block, and recompute its activations in the backward pass."""
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
    """The members of a network's module lists, outer lists first."""
    return [block for module in network.modules() if isinstance(module, nn.ModuleList) for block in module]
