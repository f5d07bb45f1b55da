"""Shards read as one: tokens and document ends of many files behind one surface."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloche.data.shards import Shard, ShardMetadata


class JoinedTokens:
    """The tokens of several arrays end to end, copied only where they are asked for."""

    def __init__(self, arrays: Sequence[np.ndarray], *, dtype: np.dtype) -> None:
        self._arrays = [array for array in arrays if len(array)]
        self._starts = np.cumsum([0, *map(len, self._arrays)])
        self.dtype = dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, places: Any) -> Any:
        """Tokens at a place, a slice, or an integer array of places of any shape, as numpy does."""
        if isinstance(places, slice):
            return self._slice(*places.indices(len(self)))
        wanted = np.asarray(places)
        flat = wanted.reshape(-1).astype(np.int64)
        flat = np.where(flat < 0, flat + len(self), flat)
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"there are {len(self)} tokens, and one beyond them was asked for")
        found = self._gather(flat).reshape(wanted.shape)
        return found if wanted.ndim else found[()]

    def _slice(self, start: int, stop: int, step: int) -> np.ndarray:
        if step != 1:
            return self[np.arange(start, stop, step)]
        parts = [
            array[max(0, start - begin) : max(0, stop - begin)]
            for begin, array in zip(self._starts, self._arrays, strict=False)
            if start < begin + len(array) and stop > begin
        ]
        return np.concatenate([np.zeros(0, self.dtype), *parts])

    def _gather(self, places: np.ndarray) -> np.ndarray:
        if len(self._arrays) == 1:
            return np.asarray(self._arrays[0][places])
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        found = np.empty(len(places), self.dtype)
        for number in np.unique(numbers):
            chosen = numbers == number
            found[chosen] = self._arrays[number][places[chosen] - self._starts[number]]
        return found


class JoinedShards:
    """Shards of one tokenizer as one; `ends` are those of all, in tokens from the first on."""

    def __init__(self, shards: Sequence[Shard], *, metadata: ShardMetadata) -> None:
        """`metadata` is what holds of all together; see `joined_metadata`."""
        self.metadata = metadata
        self._shards = tuple(shards)
        self.tokens = JoinedTokens(
            [shard.tokens for shard in shards], dtype=np.dtype(metadata.dtype)
        )
        starts = np.cumsum([0, *map(len, shards)])
        ends = [shard.ends + start for shard, start in zip(shards, starts, strict=False)]
        self.ends = np.concatenate([np.zeros(0, np.int64), *ends])

    def __reduce__(self) -> tuple[Any, ...]:
        return _joined, (self._shards, self.metadata)

    @property
    def separated(self) -> bool:
        """Whether each document's last token is an end-of-text token."""
        return self.metadata.separated

    def __len__(self) -> int:
        return self.metadata.count


def _joined(shards: tuple[Shard, ...], metadata: ShardMetadata) -> JoinedShards:
    return JoinedShards(shards, metadata=metadata)


def joined_metadata(
    shards: Sequence[Shard],
    *,
    tokenizer: str,
    sources: Sequence[dict[str, Any]],
    dtype: str,
    separated: bool,
) -> ShardMetadata:
    """What holds of all the shards together."""
    parts = [shard.metadata for shard in shards]
    return ShardMetadata(
        tokenizer=tokenizer,
        sources=tuple(sources),
        dtype=dtype,
        count=sum(part.count for part in parts),
        documents=sum(part.documents for part in parts),
        characters=sum(part.characters for part in parts),
        utf8_bytes=sum(part.utf8_bytes for part in parts),
        separated=separated,
    )
