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
        found = self._ahead.pop((step, part), None) or self._begin(step, part)
        if part == 0:
            self._prepare(step + 1)
        return found.result()

    def close(self) -> None:
        """Forget what was made ahead, and end the thread."""
        self._ahead.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None

    def _begin(self, step: int, part: int) -> Future[AnyBatch]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        return self._thread.submit(self._made, step, part)

    def _prepare(self, step: int) -> None:
        wanted = {(step, part) for part in range(self.parts)}
        # a step that was left out, or gone back to, leaves others behind
        keep = wanted | {(step - 1, part) for part in range(self.parts)}
        self._ahead = {key: future for key, future in self._ahead.items() if key in keep}
        for key in sorted(wanted - self._ahead.keys()):
            self._ahead[key] = self._begin(*key)

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
