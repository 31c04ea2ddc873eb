"""Prefetching changes when inputs are prepared, never their values."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import sedd
from sedd.data import Cursor
from sedd.training.loading import Loader, StepInputs


def make_loader(trainer: sedd.Trainer) -> Loader:
    return Loader(trainer.config, trainer.data, trainer.batches, trainer.process.graph, pin_memory=False)


def equal(first: StepInputs, second: StepInputs) -> bool:
    if any(getattr(first, n) != getattr(second, n) for n in ("difficulty", "residues", "token_counts", "next_cursor")):
        return False
    return all(
        torch.equal(a.corrupted.x_t, b.corrupted.x_t)
        and torch.equal(a.corrupted.noise.sigma, b.corrupted.noise.sigma)
        and torch.equal(a.corrupted.positions, b.corrupted.positions)
        and torch.equal(a.dropout_keys, b.dropout_keys)
        for a, b in zip(first.micro_steps, second.micro_steps, strict=True)
    )


def test_prefetched_inputs_equal_those_prepared_on_demand(tiny):
    trainer = sedd.Trainer(tiny("training.accum=2"))
    loader, cursor = make_loader(trainer), Cursor()
    for step in range(5):
        inputs = loader(step, cursor)
        assert equal(inputs, make_loader(trainer)._prepare(step, cursor))
        cursor = inputs.next_cursor


def test_prefetched_inputs_are_discarded_when_another_step_comes_next(tiny):
    trainer = sedd.Trainer(tiny("curriculum.preschool_time=4"))
    loader = make_loader(trainer)
    first = loader(0, Cursor())
    again = loader(0, first.next_cursor)
    assert again.difficulty == first.difficulty
    assert equal(again, make_loader(trainer)._prepare(0, first.next_cursor))
    assert loader(1, again.next_cursor).difficulty > first.difficulty


def test_the_next_step_is_prepared_in_a_background_thread(tiny):
    trainer = sedd.Trainer(tiny())
    loader = make_loader(trainer)
    prepared, threads, prepare = threading.Event(), [], loader._prepare

    def recorded(step: int, cursor: Cursor) -> StepInputs:
        inputs = prepare(step, cursor)
        threads.append(threading.current_thread())
        if step == 1:
            prepared.set()
        return inputs

    loader._prepare = recorded
    loader(0, Cursor())
    assert prepared.wait(60)
    assert threading.main_thread() not in threads


def test_inputs_are_prepared_with_one_openmp_thread(tiny):
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # the default may be 1
    try:
        loader = make_loader(sedd.Trainer(tiny()))
        loader(0, Cursor())
        assert loader._thread.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 3
        assert ThreadPoolExecutor(1).submit(torch.get_num_threads).result() == 3  # other threads keep the default
    finally:
        torch.set_num_threads(before)


def test_bad_data_are_an_error_at_the_step_that_needs_them(tiny):
    rows = [np.full(10, 1) for _ in range(40)]
    trainer = sedd.Trainer(tiny("training.batch_size=4", "data.holdout=0.01"), data=[*rows, np.full(10, 2)])
    steps = trainer.steps()
    next(steps)
    rows[:] = []
    trainer.data.train.source[:] = [np.full(10, 77)] * 41
    with pytest.raises(sedd.DataError):
        list(steps)
