"""Numbers of a device on their way to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor that the device makes once it has computed it. The host waits for it in `tolist` only.

    Later work of the device is not waited for on CUDA; on other devices it is.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.device.type == "cuda":
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._copied.record()

    def tolist(self) -> list[float]:
        """The numbers; waits for them."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._tensor.tolist()
        return numbers
