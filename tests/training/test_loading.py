"""Preparing steps ahead changes when work is done, never what is done."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import sedd
from sedd.data import Cursor
from sedd.training.loading import Loader, StepInputs


def loader(trainer: sedd.Trainer) -> Loader:
    return Loader(trainer.config, trainer.data, trainer.batches, trainer.process.graph, pin=False)


def same(first: StepInputs, second: StepInputs) -> bool:
    return (first.difficulty, first.residues, first.letters, first.after) == (
        second.difficulty, second.residues, second.letters, second.after
    ) and all(
        torch.equal(a.given.x_t, b.given.x_t)
        and torch.equal(a.given.noise.sigma, b.given.noise.sigma)
        and torch.equal(a.given.positions, b.given.positions)
        and torch.equal(a.keys, b.keys)
        for a, b in zip(first.micros, second.micros, strict=True)
    )  # fmt: skip


def test_what_is_prepared_ahead_is_what_would_be_prepared_on_demand(tiny):
    trainer = sedd.Trainer(tiny("training.accum=2"))
    ahead, step, cursor = loader(trainer), 0, Cursor()
    for step in range(5):
        work = ahead(step, cursor)
        assert same(work, loader(trainer)._prepare(step, cursor))
        cursor = work.after


def test_after_a_skipped_step_the_guess_is_thrown_away(tiny):
    trainer = sedd.Trainer(tiny("curriculum.preschool_time=4"))
    ahead = loader(trainer)
    first = ahead(0, Cursor())
    again = ahead(0, first.after)  # the step was skipped: the clock stands, the data move on
    assert again.difficulty == first.difficulty
    assert same(again, loader(trainer)._prepare(0, first.after))
    assert ahead(1, again.after).difficulty > first.difficulty


def test_the_next_step_is_prepared_in_another_thread_while_this_one_runs(tiny):
    trainer = sedd.Trainer(tiny())
    ahead = loader(trainer)
    prepared, threads, plain = threading.Event(), [], ahead._prepare

    def watched(step: int, cursor: Cursor) -> StepInputs:
        work = plain(step, cursor)
        threads.append(threading.current_thread())
        if step == 1:
            prepared.set()
        return work

    ahead._prepare = watched
    ahead(0, Cursor())
    assert prepared.wait(60)
    assert threading.main_thread() not in threads


def test_tensors_are_prepared_by_one_thread_so_that_the_step_keeps_its_cores(tiny):
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # what the machine of the tests has may be 1
    try:
        ahead = loader(sedd.Trainer(tiny()))
        ahead(0, Cursor())
        assert ahead._thread.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 3
        assert ThreadPoolExecutor(1).submit(torch.get_num_threads).result() == 3  # threads of the user
    finally:
        torch.set_num_threads(before)


def test_bad_data_ahead_is_an_error_when_its_turn_comes(tiny):
    rows = [np.full(10, 1) for _ in range(40)]
    trainer = sedd.Trainer(tiny("training.batch_size=4", "data.holdout=0.01"), data=[*rows, np.full(10, 2)])
    steps = trainer.steps()
    next(steps)
    rows[:] = []
    trainer.data.train.source[:] = [np.full(10, 77)] * 41
    with pytest.raises(sedd.DataError, match=r"ids outside 0 to 19, those of alphabet 'protein' \(among items"):
        list(steps)
