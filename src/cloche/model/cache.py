"""Keys and values of the tokens read so far, so that a new token costs one token's work.

A cache has rows (slots), each with its own length. A forward sees some of the rows through a
`CacheView`, which knows where the new tokens go and what each may look at. The cache is made for
inference: no gradient flows through it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cloche.model.config import ModelConfig


class KeyValueCache:
    """Rows of keys and values for every layer, each row allocated, filled and freed by itself.

    Misuse (a row that is not allocated, more tokens than `capacity`) is a ValueError.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        rows: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.layers, rows, config.kv_heads, capacity, config.head_dim)
        # Zeros, not `empty`: what is masked is still multiplied, and 0 times a stray NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.capacity = capacity
        self._lengths: list[int | None] = [None] * rows

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens held by each row; 0 for a free row."""
        return tuple(length or 0 for length in self._lengths)

    @property
    def free_rows(self) -> tuple[int, ...]:
        """Rows that `allocate` can still give."""
        return tuple(row for row, length in enumerate(self._lengths) if length is None)

    def allocate(self) -> int:
        """The lowest free row, now taken and empty."""
        if not self.free_rows:
            raise ValueError(f"all {len(self._lengths)} rows of the cache are taken")
        row = self.free_rows[0]
        self._lengths[row] = 0
        return row

    def free(self, row: int) -> None:
        """Give a row back; what it held is forgotten."""
        self._length(row)
        self._lengths[row] = None

    def crop(self, row: int, length: int) -> None:
        """Forget all tokens of a row but its first `length`."""
        if not 0 <= length <= self._length(row):
            raise ValueError(f"row {row} holds {self._length(row)} tokens, cannot keep {length}")
        self._lengths[row] = length

    def copy(self, source: int, target: int) -> None:
        """Make `target` (allocated, what it held is replaced) equal to `source`."""
        length = self._length(source)
        self._length(target)
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]
        self._lengths[target] = length

    def view(self, rows: Sequence[int], counts: Sequence[int]) -> "CacheView":
        """What one forward needs to append `counts[i]` tokens to row `rows[i]`.

        The forward's ids are (batch, time) with time = max(counts): row i of the batch is
        right-padded, and what it holds beyond counts[i] is neither stored nor looked at.
        """
        if not rows or len(rows) != len(counts) or len(set(rows)) != len(rows):
            raise ValueError(f"need distinct rows and a count for each, got {rows} and {counts}")
        if min(counts) < 1:
            raise ValueError(f"each row of a forward gets at least one token, got {counts}")
        lengths = [self._length(row) for row in rows]
        for row, length, count in zip(rows, lengths, counts, strict=True):
            if length + count > self.capacity:
                raise ValueError(
                    f"row {row} holds {length} tokens, {count} more exceed {self.capacity}"
                )
        return CacheView(self, rows=rows, counts=counts)

    def count_appended(self, row: int, count: int) -> None:
        """Count `count` more tokens as held, which a StaticView has stored."""
        length = self._length(row)
        if length + count > self.capacity:
            raise ValueError(f"row {row} holds {length} tokens, {count} more exceed it")
        self._lengths[row] = length + count

    def _length(self, row: int) -> int:
        length = self._lengths[row]
        if length is None:
            raise ValueError(f"row {row} of the cache is not allocated")
        return length

    def _grow(self, rows: Sequence[int], counts: Sequence[int]) -> None:
        for row, count in zip(rows, counts, strict=True):
            self._lengths[row] = self._length(row) + count


class CacheView:
    """Some rows of a cache, bound to one forward; made by `KeyValueCache.view`."""

    positions: Int[Tensor, "batch time"]
    """Position of each new token; padding repeats the row's last one."""
    mask: Bool[Tensor, "batch 1 time keys"]
    """True where a token may look: at the tokens of its row up to itself."""

    def __init__(self, cache: KeyValueCache, *, rows: Sequence[int], counts: Sequence[int]) -> None:
        self._cache = cache
        self._row_numbers, self._counts = tuple(rows), tuple(counts)
        device = cache.keys.device
        starts = torch.tensor([cache.lengths[row] for row in rows], device=device)[:, None]
        added = torch.tensor(self._counts, device=device)[:, None]
        steps = torch.arange(max(counts), device=device)[None]
        self.positions = starts + torch.minimum(steps, added - 1)
        self._keys_seen = max(cache.lengths[row] + n for row, n in zip(rows, counts, strict=True))
        seen = torch.arange(self._keys_seen, device=device)
        self.mask = (seen <= self.positions[..., None])[:, None]
        row_numbers = torch.tensor(self._row_numbers, device=device)
        batch, step = (steps < added).nonzero(as_tuple=True)  # where the tokens are, not padding
        self._sources = (batch, step)
        self._target_rows, self._target_places = row_numbers[batch], self.positions[batch, step]
        self._read_rows = _as_slice(self._row_numbers) or row_numbers
        self._done = False

    def append(
        self,
        layer: int,
        keys: Float[Tensor, "batch kv_heads time head_dim"],
        values: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads keys head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]
    ]:
        """All keys and values of the rows, the new ones stored at their places."""
        assert not self._done, "a cache view serves one forward only"
        return (
            self._store(self._cache.keys[layer], keys),
            self._store(self._cache.values[layer], values),
        )

    def commit(self) -> None:
        """Count the new tokens as held; called once, when the last layer has appended."""
        assert not self._done, "a cache view serves one forward only"
        self._done = True
        self._cache._grow(self._row_numbers, self._counts)

    @torch.no_grad()
    def _store(self, store: Tensor, new: Tensor) -> Tensor:
        """Write (batch, kv_heads, time, head_dim) into (rows, kv_heads, capacity, head_dim)."""
        store[self._target_rows, :, self._target_places] = new.detach().transpose(1, 2)[
            self._sources
        ]
        return store[self._read_rows, :, : self._keys_seen]


class StaticView(CacheView):
    """All rows of a cache with one new token in each, in shapes that never change.

    It is for compiled graphs: whoever makes it knows the rows' lengths and counts what is stored
    (`count_appended`). Each token sees its row up to its own position, whatever lies behind.
    """

    def __init__(
        self,
        keys: Float[Tensor, "layers rows kv_heads capacity head_dim"],
        values: Float[Tensor, "layers rows kv_heads capacity head_dim"],
        positions: Int[Tensor, "rows 1"],
    ) -> None:
        self.positions = positions
        seen = torch.arange(keys.shape[3], device=keys.device)
        self.mask = (seen <= positions[..., None])[:, None]
        self._keys, self._values = keys, values
        self._all = torch.arange(keys.shape[1], device=keys.device)

    def append(
        self,
        layer: int,
        keys: Float[Tensor, "batch kv_heads time head_dim"],
        values: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads keys head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]
    ]:
        """All keys and values of all rows, the new ones stored at their positions."""
        places = self.positions[:, 0]
        self._keys[layer][self._all, :, places] = keys[:, :, 0]
        self._values[layer][self._all, :, places] = values[:, :, 0]
        return self._keys[layer], self._values[layer]

    def commit(self) -> None:
        """Nothing: lengths are not known here."""


def _as_slice(rows: Sequence[int]) -> slice | None:
    """Neighbouring rows as a slice, which reads the cache without copying it; else None."""
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return None
