"""A background thread for the inputs of the next step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def single_threaded_executor() -> ThreadPoolExecutor:
    """A background thread that computes tensors without OpenMP threads of its own.

    A second team of OpenMP threads would compete for the cores with that of the training step, whose threads wait for
    each other hundreds of times: a step took a quarter longer on two cores.
    """
    num_threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(1, thread_name_prefix="sedd-loader")
    executor.submit(torch.get_num_threads).result()  # otherwise its first tensor would reset the number to the default
    executor.submit(torch.set_num_threads, 1).result()
    torch.set_num_threads(num_threads)  # the call above changed the default of threads started later
    return executor
