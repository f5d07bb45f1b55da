"""What writes need of a model: tokens go in at places of a cache, vectors and logits come out.

A `Forward` is a model bound to rows of cached keys and values. Whoever decodes (the engine, beam
search, contrastive search) says which token stands where in which row, and keeps count itself of
how many tokens a row holds. `ModelForward` serves every model on every device by the model's own
modules.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Num
from torch import Tensor

from cloche.model.build import LanguageModel
from cloche.model.cache import KeyValueCache


class Place(NamedTuple):
    """A token to read: it stands at `position` of the cache's `row`, behind those read before."""

    row: int
    position: int
    token_id: int


@runtime_checkable
class Forward(Protocol):
    """A model with rows of cached keys and values, for inference."""

    rows: int
    capacity: int
    """Most tokens in a row."""
    exact: bool
    """Whether a token gives the same numbers, bit by bit, however and in whatever company it is
    read: by `hidden` or by `read`."""
    own_threads: bool
    """Whether it computes with threads that are not PyTorch's."""

    def hidden(self, places: Sequence[Place]) -> Num[Tensor, "batch dim"]:
        """A vector for each place, after the final norm; its keys and values are kept.

        Several places of one row stand behind one another, in order. What the row held from the
        first of them on is forgotten.
        """
        ...

    def head(self, hidden: Num[Tensor, "batch dim"]) -> Float[Tensor, "batch vocab"]:
        """Logits of the token after each, in float32."""
        ...

    def read(self, row: int, ids: Sequence[int], *, start: int) -> Num[Tensor, "time dim"]:
        """The same as `hidden`, for many tokens of one row from position `start` on."""
        ...

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Have row `target` begin with the first `length` tokens of row `source`."""
        ...

    def clear(self, row: int) -> None:
        """Forget what a row holds, numbers that are none included."""
        ...

    def can_go_back(self, *, reached: int, to: int) -> bool:
        """Whether a row that has held `reached` tokens still holds all that it takes to go on
        behind the first `to` of them. A layer that looks back a window may keep no more than that.
        """
        ...


@contextmanager
def threads_resting(forward: Forward) -> Iterator[None]:
    """Inside, PyTorch's own threads rest where the forward has its own.

    While they wait for more work they spin, on processors that the others need: a step of sixteen
    answers took 35 ms instead of 28 so (docs/log.md).
    """
    threads = torch.get_num_threads()
    if not forward.own_threads or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ModelForward:
    """A forward by the model's own modules: any family, any device."""

    exact = False
    own_threads = False

    def __init__(self, model: LanguageModel, *, rows: int, capacity: int) -> None:
        norm = next(model.parameters())  # matrices may be kept in other numbers than vectors
        self.rows, self.capacity = rows, capacity
        self._model, self._device = model, norm.device
        self._cache = KeyValueCache(
            model.config, rows=rows, capacity=capacity, device=norm.device, dtype=norm.dtype
        )
        for _ in range(rows):
            self._cache.allocate()

    def hidden(self, places: Sequence[Place]) -> Num[Tensor, "batch dim"]:
        """A vector for each place, after the final norm; its keys and values are kept."""
        runs: dict[int, list[Place]] = {}
        for place in places:
            runs.setdefault(place.row, []).append(place)
        rows = sorted(runs)  # neighbouring rows of the cache are read without a copy
        counts = [len(runs[row]) for row in rows]
        for row in rows:
            self._cache.crop(row, runs[row][0].position)
        longest = max(counts)
        ids = [[place.token_id for place in runs[row]] for row in rows]
        padded = torch.tensor(
            [[*row, *[0] * (longest - len(row))] for row in ids], device=self._device
        )
        found = self._model.hidden(padded, cache=self._cache.view(rows, counts))
        if longest == 1 and [place.row for place in places] == rows:
            return found[:, 0]
        index = {row: number for number, row in enumerate(rows)}
        batch = [index[place.row] for place in places]
        steps = [place.position - runs[place.row][0].position for place in places]
        return found[batch, steps]

    def head(self, hidden: Num[Tensor, "batch dim"]) -> Float[Tensor, "batch vocab"]:
        """Logits of the token after each, in float32."""
        return self._model.head(hidden).float()

    def read(self, row: int, ids: Sequence[int], *, start: int) -> Num[Tensor, "time dim"]:
        """The same as `hidden`, for many tokens of one row from position `start` on."""
        self._cache.crop(row, start)
        given = torch.tensor([list(ids)], device=self._device)
        return self._model.hidden(given, cache=self._cache.view([row], [len(ids)]))[0]

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Have row `target` begin with the first `length` tokens of row `source`."""
        self._cache.copy(source, target)
        self._cache.crop(target, length)

    def can_go_back(self, *, reached: int, to: int) -> bool:
        """Always: every layer keeps all tokens of a row."""
        return 0 <= to <= reached

    def clear(self, row: int) -> None:
        """Forget what a row holds, numbers that are none included."""
        # what is masked is still multiplied, and 0 times NaN is NaN
        self._cache.keys[:, row].zero_()
        self._cache.values[:, row].zero_()
        self._cache.crop(row, 0)
