"""Batches of pairs of similar length, in an order that is a pure function of seed and index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloche.data.batches import IGNORED, Batch, Tokens
from cloche.data.order import mix, shuffled
from cloche.errors import DataError

POOL_BATCHES = 32
"""Batches whose pairs are sorted by length together: many enough for like to meet like, and few
enough that what comes together differs from epoch to epoch."""


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
    """Targets to learn, and the sources to write them from."""

    sources: Tensor
    """(batch, source_time) int64 ids, each row closed by the end-of-text token, then padding."""
    source_lengths: Tensor
    """(batch,) int64 tokens of each source, the end-of-text token among them."""


class PairTokens:
    """The pairs of a shard that fit a context; pair n is its n-th one, in the shard's order."""

    def __init__(self, shard: Tokens, *, context: int, bos: int) -> None:
        self.shard = shard
        self.bos = bos
        ends = shard.ends.reshape(-1, 2)  # of source and target
        starts = np.concatenate([[0], shard.ends[:-1]]).reshape(-1, 2)
        lengths = ends - starts
        fitting = lengths.max(axis=1, initial=0) <= context
        self.too_long = int((~fitting).sum())
        """How many do not fit."""
        self.longest = int(lengths.max(initial=0))
        """Tokens of the longest source or target of all, the end-of-text token among them."""
        self.starts = starts[fitting]
        self.lengths = lengths[fitting]
        """(pairs, 2): tokens of source and target, their end-of-text tokens among them."""

    def __len__(self) -> int:
        return len(self.starts)

    def texts(self, number: int) -> tuple[list[int], list[int]]:
        """Source and target of one pair, without their end-of-text tokens."""
        source, target = (
            self.shard.tokens[start : start + length - 1].tolist()
            for start, length in zip(self.starts[number], self.lengths[number], strict=True)
        )
        return source, target

    def batch(self, numbers: np.ndarray | Sequence[int]) -> PairBatch:
        """These pairs, padded on the right to the longest of each side."""
        chosen = np.asarray(numbers)
        starts, lengths = self.starts[chosen], self.lengths[chosen]
        sources, _ = self._padded(starts[:, 0], lengths[:, 0])
        targets, padding = self._padded(starts[:, 1], lengths[:, 1])
        inputs = np.concatenate([np.full((len(chosen), 1), self.bos), targets[:, :-1]], axis=1)
        targets[padding] = IGNORED
        return PairBatch(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            sources=torch.from_numpy(sources),
            source_lengths=torch.from_numpy(lengths[:, 0].copy()),
        )

    def _padded(self, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(batch, time) ids, the last token repeated as padding; and where the padding is."""
        steps = np.arange(lengths.max())[None]
        places = starts[:, None] + np.minimum(steps, lengths[:, None] - 1)
        return self.shard.tokens[places].astype(np.int64), steps >= lengths[:, None]


class PairOrder:
    """Which pairs come when: sample g is the same in every run with this seed and batch.

    Each epoch shuffles all pairs, sorts them by length within pools of POOL_BATCHES batches, and
    shuffles the batches of a pool. What does not fill a batch waits for the next epoch.
    """

    def __init__(self, pairs: PairTokens, *, batch: int, seed: int) -> None:
        if not len(pairs):
            raise DataError("the training part has no pair that fits the model's context")
        self.pairs = pairs
        self.size = batch
        self.seed = seed
        self.count = max(len(pairs) // batch * batch, min(len(pairs), batch))
        """Pairs in an epoch."""
        self._pool: tuple[int, int] | None = None
        self._numbers = np.empty(0, np.int64)

    def batch(self, first_sample: int, *, size: int) -> PairBatch:
        """The batch of samples first_sample .. first_sample + size - 1."""
        samples = range(first_sample, first_sample + size)
        return self.pairs.batch([self.number(sample) for sample in samples])

    def number(self, sample: int) -> int:
        """The pair that is the sample of this global index."""
        epoch, index = divmod(sample, self.count)
        pool, place = divmod(index, self.size * POOL_BATCHES)
        if self._pool != (epoch, pool):
            self._numbers, self._pool = self._sorted_pool(epoch, pool), (epoch, pool)
        return int(self._numbers[place])

    def _sorted_pool(self, epoch: int, pool: int) -> np.ndarray:
        """The pairs of a pool as they come."""
        begin = pool * self.size * POOL_BATCHES
        indices = np.arange(begin, min(self.count, begin + self.size * POOL_BATCHES))
        key = mix(self.seed, epoch, 4)
        numbers = shuffled(indices, size=len(self.pairs), key=key)
        numbers = numbers[np.argsort(self.pairs.lengths[numbers].sum(axis=1), kind="stable")]
        whole = len(numbers) // self.size
        order = shuffled(np.arange(whole), size=whole, key=mix(self.seed, epoch, 5, pool))
        batches = numbers[: whole * self.size].reshape(whole, self.size)[order]
        return np.concatenate([batches.reshape(-1), numbers[whole * self.size :]])


def require_pairs(pairs: PairTokens, *, context: int, part: str, skip_long: bool) -> None:
    """DataError where pairs do not fit the context, unless they may be skipped; or none is left."""
    if pairs.too_long and not skip_long:
        total = pairs.too_long + len(pairs)
        raise DataError(
            f"{pairs.too_long:,} of {total:,} pairs of the {part} part do not fit a context of "
            f"{context}; the longest side has {pairs.longest} tokens: set --model.context "
            f"{pairs.longest}, or leave such pairs out with --data.long-pairs skip"
        )
    if not len(pairs):
        raise DataError(f"the {part} part has no pair that fits a context of {context} tokens")


def evenly_spread(pairs: PairTokens, *, most: int) -> np.ndarray:
    """Numbers of at most `most` pairs, evenly spread, in order of their length."""
    chosen = np.linspace(0, len(pairs) - 1, num=min(most, len(pairs))).round().astype(np.int64)
    chosen = np.unique(chosen)
    return chosen[np.argsort(pairs.lengths[chosen].sum(axis=1), kind="stable")]
