"""What a training step eats: batches, in an order that is a pure function of seed and index."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cloche.data.options import DataOptions
from cloche.data.order import mix, shuffled
from cloche.errors import DataError

_DRAWS = 1 << 62  # samples before a random order would repeat
IGNORED = -100  # target where no loss falls; PyTorch's own default for cross-entropy


@dataclass(frozen=True)
class Batch:
    """Sequences to learn from; tasks that need more derive their own class."""

    inputs: Tensor
    """(batch, time) int64 ids."""
    targets: Tensor
    """(batch, time) int64 ids of the next tokens, IGNORED where no loss falls."""
    positions: Tensor | None = None
    """(batch, time) int64 position of each token in its document; 0, 1, 2, ... when None."""
    documents: Tensor | None = None
    """(batch, time) int64 document of each token in packed rows; one document a row when None."""


@runtime_checkable
class TokenArray(Protocol):
    """Tokens in a row: a NumPy array, or what is read like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """An array of the tokens at a slice, or at integer places in an array of any shape."""
        ...


@runtime_checkable
class Tokens(Protocol):
    """Tokens in a row with document ends: a `Shard`, several joined, or the same in memory."""

    @property
    def tokens(self) -> TokenArray:
        """All tokens, unsigned integers."""
        ...

    @property
    def ends(self) -> np.ndarray:
        """Ends of the documents, counted in tokens, int64."""
        ...

    @property
    def separated(self) -> bool:
        """Whether each document's last token is an end-of-text token."""
        ...


@dataclass(frozen=True)
class TokensInMemory:
    """Tokens of a text that is measured and not kept."""

    tokens: np.ndarray
    ends: np.ndarray
    separated: bool


AnyBatch = TypeVar("AnyBatch", bound=Batch)


class SeededWindows(ABC):
    """Training windows in seeded order: sample g is the same in every run, however batches are
    cut and whatever machine asks.
    """

    def __init__(self, shard: Tokens, *, context: int, seed: int) -> None:
        require_length(shard, context=context, part="training")
        self.shard = shard
        self.context = context
        self.seed = seed
        self.room = len(shard.tokens) - 1 - context
        """The last place a window can start."""

    @abstractmethod
    def starts(self, samples: np.ndarray) -> np.ndarray:
        """Where in the shard the windows of these global sample indices begin."""

    def batch(self, first_sample: int, *, size: int) -> Batch:
        """The batch of samples first_sample .. first_sample + size - 1."""
        samples = np.arange(first_sample, first_sample + size)
        return windows_at(self.shard, self.starts(samples), context=self.context)


class Windows(SeededWindows):
    """The training windows of a shard in epochs.

    Without a stride the windows lie end to end, each epoch sees every one once, and the offset
    they share is drawn anew for each epoch, so that no token is always first. With a stride, the
    windows start at 0, stride, 2 stride, ... in every epoch.
    """

    def __init__(
        self, shard: Tokens, *, context: int, seed: int, stride: int | None = None
    ) -> None:
        super().__init__(shard, context=context, seed=seed)
        self.stride = stride or context
        fitting = self.room // self.stride + 1
        self.count = fitting if stride else max(1, fitting - 1)
        left_over = self.room - (self.count - 1) * self.stride
        self._largest_offset = 0 if stride else min(self.stride - 1, left_over)

    def starts(self, samples: np.ndarray) -> np.ndarray:
        """Where in the shard the windows of these global sample indices begin."""
        epochs, indices = np.divmod(samples.astype(np.int64), self.count)
        starts = np.empty_like(indices)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            places = shuffled(indices[chosen], size=self.count, key=mix(self.seed, int(epoch), 1))
            offset = mix(self.seed, int(epoch), 2) % (self._largest_offset + 1)
            starts[chosen] = places * self.stride + offset
        return starts


class RandomWindows(SeededWindows):
    """Training windows that begin anywhere, every place equally likely, with no epochs.

    Some tokens are seen more often than others, as draws with replacement are.
    """

    def starts(self, samples: np.ndarray) -> np.ndarray:
        """Where in the shard the windows of these global sample indices begin."""
        # a permutation of 62-bit numbers is as good as chance once it is folded to few places
        drawn = shuffled(samples.astype(np.int64), size=_DRAWS, key=mix(self.seed, 3))
        return drawn % (self.room + 1)


def training_windows(
    shard: Tokens, *, context: int, seed: int, options: DataOptions
) -> SeededWindows:
    """The windows that the options ask for."""
    if options.windows == "random":
        return RandomWindows(shard, context=context, seed=seed)
    return Windows(shard, context=context, seed=seed, stride=options.stride)


def on_device(batch: AnyBatch, device: torch.device | str) -> AnyBatch:
    """The same batch with every tensor on `device`."""
    moved = {
        field.name: value.to(device, non_blocking=True)
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    return replace(batch, **moved)


def windows_at(shard: Tokens, starts: np.ndarray, *, context: int) -> Batch:
    """Windows of `context` tokens and their next tokens, at given places of the shard.

    Where the shard holds several documents, `positions` restart and `documents` differ at each
    one, so that no document sees another. An end-of-text token is the target that ends its
    document and, as an input, the first token of the next.
    """
    places = starts[:, None] + np.arange(context + 1)
    tokens = torch.from_numpy(shard.tokens[places].astype(np.int64))
    # copied: of a single window, both would be views of the same numbers
    inputs, targets = tokens[:, :-1].clone(), tokens[:, 1:].clone()
    batch = Batch(inputs.contiguous(), targets.contiguous())
    if len(shard.ends) <= 1:
        return batch
    firsts = shard.ends - 1 if shard.separated else shard.ends  # where a next one begins
    read = places[:, :-1]
    documents = np.searchsorted(firsts, read, side="right")
    begins = np.concatenate([[0], firsts])[documents]
    positions = read - np.maximum(begins, starts[:, None])
    return replace(
        batch, positions=torch.from_numpy(positions), documents=torch.from_numpy(documents)
    )


def fixed_starts(shard: Tokens, *, context: int, count: int) -> np.ndarray:
    """Starts of at most `count` windows spread evenly over the shard, without overlap."""
    fitting = (len(shard.tokens) - 1) // context
    chosen = np.linspace(0, fitting - 1, num=min(count, fitting))
    return np.unique(chosen.round().astype(np.int64)) * context


def require_length(shard: Tokens, *, context: int, part: str) -> None:
    """DataError where the shard has no whole window of `context` tokens and a next token."""
    count = len(shard.tokens)
    if count <= context:
        raise DataError(
            f"the {part} part has {count} tokens, a context of {context} needs at least "
            f"{context + 1}: use a smaller --model.context, another --data.split, or more text"
        )
