"""Windows of a text as PyTorch data sets, for a DataLoader of one's own.

`WindowDataset` holds the windows in the text's order; any sampler fits it. `WindowStream` gives
the seeded order that `cloche train` uses, the same batches whatever the number of loader workers,
and `ResumableLoader` reads it and resumes exactly after a stop.
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from cloche.data.batches import (
    RandomWindows,
    SeededWindows,
    Tokens,
    TokensInMemory,
    Windows,
    training_windows,
)
from cloche.data.options import DataOptions
from cloche.data.prepare import open_prepared
from cloche.errors import DataError, SettingError

_SAMPLED = 4096  # tokens that stand for the text when a state is compared

Pair = tuple[Int64[Tensor, "*batch context"], Int64[Tensor, "*batch context"]]
"""Inputs and targets: ids, and the ids that follow them."""


@runtime_checkable
class Encoder(Protocol):
    """What text is made ids with: a cloche `Tokenizer`, a `tiktoken.Encoding`, or the like."""

    def encode(self, text: str, *, allowed_special: Any) -> list[int]:
        """Ids of the text; the special tokens named in the set count as such."""
        ...


class WindowDataset(Dataset[Pair]):
    """Every window of `context` tokens and their next tokens, in the order of the text.

    Windows begin at 0, stride, 2 stride, ...; end to end without a stride. A window that the text
    cannot fill, with its last next token, is left out. A window may reach from one document into
    the next. Items are pairs of int64 tensors.
    """

    def __init__(self, tokens: Tokens, *, context: int, stride: int | None = None) -> None:
        _require_positive("context", context)
        if stride is not None:
            _require_positive("stride", stride)
        count = len(tokens.tokens)
        if count <= context:
            raise DataError(
                f"the text has {count} tokens, a window of {context} and its next token need "
                f"{context + 1}: use a smaller context, or more text"
            )
        self.tokens = tokens
        self.context = context
        self.stride = stride or context

    def __len__(self) -> int:
        return (len(self.tokens.tokens) - 1 - self.context) // self.stride + 1

    def __getitem__(self, index: int) -> Pair:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"there is no window {index}: there are {len(self)}")
        first = place * self.stride
        window = np.array(self.tokens.tokens[first : first + self.context + 1], dtype=np.int64)
        ids = torch.from_numpy(window)
        return ids[:-1].clone(), ids[1:]  # two memories, so that one can be changed


class WindowStream(IterableDataset):
    """Batches of windows in seeded order, without end: `ResumableLoader` reads it.

    A batch is a pair of (batch, context) int64 tensors. Batch k holds the global samples
    k * batch_size and on; of `world_size` processes each gets its equal share of rows, so that any
    number of them sees the same samples. Of the workers of a DataLoader, worker w makes the batches
    w, w + workers, ..., which is the order in which the loader asks for them: with
    `DataLoader(stream, batch_size=None, num_workers=...)` the batches are the same as with none.

    A stream does not change while it is read, as workers read ahead of what is delivered. Who
    counts the samples that were delivered, goes on with a stream whose `first_sample` is the next.
    """

    def __init__(
        self,
        windows: SeededWindows,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        first_sample: int = 0,
    ) -> None:
        _require_positive("batch_size", batch_size)
        if not 0 <= rank < world_size:
            raise SettingError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
        if batch_size % world_size:
            raise SettingError(
                f"a batch of {batch_size} cannot be shared equally by {world_size} processes: "
                "world_size must divide batch_size"
            )
        if first_sample < 0:
            raise SettingError(f"first_sample must not be negative, got {first_sample}")
        self.windows = windows
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.first_sample = first_sample

    def batch(self, number: int) -> Pair:
        """This process's rows of the batch with this number, counted from `first_sample`."""
        rows = self.batch_size // self.world_size
        first = self.first_sample + number * self.batch_size + self.rank * rows
        batch = self.windows.batch(first, size=rows)
        return batch.inputs, batch.targets

    def __iter__(self) -> Iterator[Pair]:
        worker = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker else (0, 1)
        while True:
            yield self.batch(number)
            number += step


class ResumableLoader:
    """The batches of a `WindowStream` through a DataLoader, with the state of what was delivered.

    Iterating goes on where it was left, also after a `break`. `state_dict` counts the samples
    handed to the caller and no batch that workers made ahead; loaded into a new loader over the
    same text, with any number of workers or processes and any batch size, the next sample is the
    one that would have come. The method names are those that trainers look for.
    """

    def __init__(
        self,
        windows: SeededWindows,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        pin_memory: bool = False,
        multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        self.windows = windows
        self._shares = {"batch_size": batch_size, "rank": rank, "world_size": world_size}
        WindowStream(windows, **self._shares)  # what does not fit is told here, not in a worker
        self._options: dict[str, Any] = {
            "num_workers": num_workers,
            "prefetch_factor": prefetch_factor,
            "pin_memory": pin_memory,
            "multiprocessing_context": multiprocessing_context,
        }
        self._next_sample = 0

    def __iter__(self) -> Iterator[Pair]:
        stream = WindowStream(self.windows, **self._shares, first_sample=self._next_sample)
        for batch in DataLoader(stream, batch_size=None, **self._options):
            self._next_sample += stream.batch_size
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Plain values: the next global sample, and what the order depends on."""
        return {"next_sample": self._next_sample, **_identity(self.windows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the next sample of `state`. DataError where it is of another order."""
        identity = _identity(self.windows)
        other = [name for name, value in identity.items() if state.get(name) != value]
        if other:
            told = ", ".join(f"{name} {state.get(name)} and not {identity[name]}" for name in other)
            raise DataError(f"the state belongs to another order of windows: it has {told}")
        sample = state.get("next_sample")
        if not isinstance(sample, int) or sample < 0:
            raise DataError(f"the state's next_sample is no number of a sample: {sample!r}")
        self._next_sample = sample


def windows_of_text(
    text: str,
    tokenizer: Encoder,
    *,
    context: int,
    stride: int | None = None,
    allowed_special: Collection[str] = (),
) -> WindowDataset:
    """The windows of a text in memory, encoded as one document.

    Special tokens typed in it count as such where they are allowed by name.
    """
    ids = tokenizer.encode(text, allowed_special=set(allowed_special))
    tokens = np.asarray(ids, dtype=np.uint32)
    shard = TokensInMemory(tokens, ends=np.asarray([len(tokens)]), separated=False)
    return WindowDataset(shard, context=context, stride=stride)


def windows_of_folder(
    folder: str | Path,
    *,
    part: Literal["train", "validation"] = "train",
    context: int,
    stride: int | None = None,
) -> WindowDataset:
    """The windows of one part of a prepared text, read from disk as they are asked for.

    `folder` is the `tokens` folder of a run, or of `cloche data prepare`. DataError where it holds
    no prepared text.
    """
    return WindowDataset(_part(folder, part), context=context, stride=stride)


def seeded_windows_of_folder(
    folder: str | Path, *, context: int, seed: int = 0, options: DataOptions | None = None
) -> SeededWindows:
    """The training part of a prepared text in the order in which `cloche train` sees it.

    `options` say whether windows come in epochs or at random, and their stride. A `WindowStream` or
    a `ResumableLoader` makes batches of them.
    """
    shard = _part(folder, "train")
    return training_windows(shard, context=context, seed=seed, options=options or DataOptions())


def _part(folder: str | Path, part: Literal["train", "validation"]) -> Tokens:
    prepared = open_prepared(Path(folder))
    return prepared.train if part == "train" else prepared.validation


def _identity(windows: SeededWindows) -> dict[str, Any]:
    """What the order of samples depends on."""
    return {
        "windows": "random" if isinstance(windows, RandomWindows) else "epoch",
        "tokens": len(windows.shard.tokens),
        "sample": _sample_digest(windows.shard),
        "context": windows.context,
        "stride": windows.stride if isinstance(windows, Windows) else None,
        "seed": windows.seed,
    }


def _sample_digest(shard: Tokens) -> str:
    """Tells texts of one length apart by tokens spread over them, without reading all."""
    places = np.linspace(0, len(shard.tokens) - 1, num=_SAMPLED).round().astype(np.int64)
    return hashlib.sha256(shard.tokens[places].astype("<i8").tobytes()).hexdigest()[:16]


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise SettingError(f"{name} must be at least 1, got {value}")
