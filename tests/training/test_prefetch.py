import threading
import time

import pytest
import torch

from cloche.data.batches import Batch
from cloche.training.prefetch import Prefetched

CPU = torch.device("cpu")


def numbered(step, part):
    ids = torch.tensor([[step, part]])
    return Batch(ids, ids)


def asked(prefetched, steps, *, parts):
    return [prefetched(step, part).inputs.tolist()[0] for step in steps for part in range(parts)]


@pytest.mark.parametrize("steps", [range(5), [0, 0, 1, 3, 2, 7]])
def test_what_is_made_ahead_is_what_would_be_made_now(steps):
    prefetched = Prefetched(numbered, parts=3, device=CPU)
    assert asked(prefetched, steps, parts=3) == [[s, p] for s in steps for p in range(3)]


def test_each_batch_is_made_once_and_the_next_step_before_it_is_asked_for():
    made, done = [], threading.Event()

    def make(step, part):
        made.append((step, part, threading.current_thread().name))
        if (step, part) == (1, 1):
            done.set()
        return numbered(step, part)

    prefetched = Prefetched(make, parts=2, device=CPU)
    asked(prefetched, [0], parts=2)
    assert done.wait(10)
    assert sorted(made)[2:] == [(1, 0, "batches_0"), (1, 1, "batches_0")]
    asked(prefetched, [1], parts=2)
    assert len([entry for entry in made if entry[0] < 2]) == 4


def test_one_thread_makes_all_batches_in_their_order():
    made = []

    def make(step, part):
        made.append((step, part, threading.current_thread().name))
        return numbered(step, part)

    prefetched = Prefetched(make, parts=2, device=CPU)
    asked(prefetched, [7, 8], parts=2)
    assert made[:4] == [(step, part, "batches_0") for step in (7, 8) for part in (0, 1)]


class Epochs:
    """Makes batches that say their epoch, of two steps each, which it keeps until the next."""

    def __init__(self):
        self.epoch = -1

    def __call__(self, step, part):
        if self.epoch != step // 2:
            self.epoch = step // 2
            time.sleep(0.02)  # another thread would change it now
        return numbered(step, self.epoch)


@pytest.mark.parametrize("first", range(4))
def test_what_is_kept_from_batch_to_batch_is_never_mixed_up(first):
    """The first step of a sitting may be the last of an epoch."""
    prefetched = Prefetched(Epochs(), parts=1, device=CPU)
    found = asked(prefetched, [first, first + 1], parts=1)
    assert found == [[step, step // 2] for step in (first, first + 1)]


def test_an_error_comes_where_its_batch_is_asked_for():
    def make(step, part):
        if step == 1:
            raise ValueError("no such window")
        return numbered(step, part)

    prefetched = Prefetched(make, parts=1, device=CPU)
    prefetched(0, 0)
    with pytest.raises(ValueError, match="no such window"):
        prefetched(1, 0)
