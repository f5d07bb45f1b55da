"""The next step's batches, made while the present step is computed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Generic

import torch

from cloche.data.batches import AnyBatch


class Prefetched(Generic[AnyBatch]):
    """`make(step, part)`, but with the next step's parts made ahead, in a thread.

    What it gives is the same whether or not it was made ahead, so nothing of this shows in a run;
    an error of `make` comes where its batch is asked for. `make` is called by one thread alone, so
    it may keep something from one batch for the next. For CUDA the batches are put into pinned
    memory, from where they reach the device while the processor goes on.
    """

    def __init__(
        self, make: Callable[[int, int], AnyBatch], *, parts: int, device: torch.device
    ) -> None:
        self.make = make
        self.parts = parts
        self.pins = device.type == "cuda"
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, int], Future[AnyBatch]] = {}

    def __call__(self, step: int, part: int) -> AnyBatch:
        """The batch of this part of the step."""
        if part == 0 or (step, part) not in self._ahead:
            self._prepare(step, part)
        return self._ahead.pop((step, part)).result()

    def _prepare(self, step: int, part: int) -> None:
        """Have the rest of this step made, and then the next."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        wanted = [(step, number) for number in range(part, self.parts)]
        wanted += [(step + 1, number) for number in range(self.parts)]
        # what is wanted no more is left behind by a step that was gone back to
        self._ahead = {
            key: self._ahead.get(key) or self._thread.submit(self._made, *key) for key in wanted
        }

    def _made(self, step: int, part: int) -> AnyBatch:
        batch = self.make(step, part)
        if not self.pins:
            return batch
        moved = {
            field.name: value.pin_memory()
            for field in fields(batch)
            if isinstance(value := getattr(batch, field.name), torch.Tensor)
        }
        return replace(batch, **moved)
