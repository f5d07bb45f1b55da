"""The vectors of an embedding, some at a time: lengths, cosines, and the plane they fill most.

However large a vocabulary is, no more than a few megabytes of vectors are in float32 at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

CHUNK = 2**18
"""Numbers of the table in float32 at a time: 1 MiB, which stays in the processor's cache."""
WIDEST_SQUARE = 1024
"""Vectors that long or shorter have their covariance written out; of longer ones it is only used.
"""
TOLERANCE: Any = 1e-5
"""Of a strength, as a share of it, where its directions are found step by step."""


@dataclass(frozen=True, eq=False)
class VectorTable:
    """The rows of an embedding, in float32 on the CPU, however they are kept."""

    embedding: nn.Module
    rows: int

    @torch.no_grad()
    def vectors(self, ids: range) -> Float[Tensor, "some dim"]:
        """Those of the ids; not to be written to."""
        if isinstance(self.embedding, nn.Embedding):  # rows that lie together need no copy
            return self.embedding.weight.detach()[ids.start : ids.stop].float().cpu()
        device = next(iter(self.embedding.state_dict().values())).device
        return self.embedding(torch.arange(ids.start, ids.stop, device=device)).float().cpu()

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.vectors(range(1)).shape[1]

    def portions(self) -> Iterator[tuple[slice, Float[Tensor, "some dim"]]]:
        """All rows, some at a time."""
        step = max(1, CHUNK // self.width)
        for start in range(0, self.rows, step):
            stop = min(self.rows, start + step)
            yield slice(start, stop), self.vectors(range(start, stop))

    def norms(self) -> Float[np.ndarray, " rows"]:
        """The length of each; not-a-number where one of its numbers is none or infinite."""
        found = np.empty(self.rows)
        for some, vectors in self.portions():
            # in float64, as squares of large numbers leave float32
            lengths = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64)
            found[some] = lengths.where(lengths.isfinite(), torch.nan).numpy()
        return found

    def cosines(
        self, token_ids: Sequence[int], norms: Float[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "asked rows"]:
        """Of all rows with some of them; not-a-number where one of two has no direction."""
        found = np.full((len(token_ids), self.rows), np.nan)
        if not token_ids:
            return found
        asked = torch.cat([self.vectors(range(each, each + 1)) for each in token_ids]).double()
        own = norms[list(token_ids)]
        for some, vectors in self.portions():
            products = (asked @ vectors.double().T).numpy()
            lengths = own[:, None] * norms[some]
            np.divide(products, lengths, out=found[:, some], where=lengths > 0)
        return found


def principal_plane(
    table: VectorTable, norms: Float[np.ndarray, " rows"]
) -> tuple[Float[np.ndarray, "rows 2"], tuple[float, float]]:
    """Where each vector lies on the two directions of most variance, and their shares of it.

    Not-a-number for vectors whose norm is none. The number that counts most in each direction is
    positive there, so the picture of a model is always the same way up.

    Source: Pearson 1901, https://doi.org/10.1080/14786440109462720
    """
    places, finite = np.full((table.rows, 2), np.nan), np.isfinite(norms)
    scale = norms.max(where=finite, initial=0.0)
    if not scale:  # no vector, or all of them zero
        places[finite] = 0.0
        return places, (np.nan, np.nan)

    def portions() -> Iterator[tuple[np.ndarray, Tensor]]:
        for some, vectors in table.portions():
            kept = finite[some]  # over the longest, as squares of large numbers leave float32
            yield np.arange(some.start, some.stop)[kept], vectors[torch.from_numpy(kept)] / scale

    total = torch.zeros(table.width, dtype=torch.float64)
    for _, vectors in portions():
        total += vectors.sum(dim=0, dtype=torch.float64)
    mean = (total / int(finite.sum())).float()

    def centred() -> Iterator[Tensor]:
        return (vectors - mean for _, vectors in portions())

    variance = sum(float(each.square().sum(dtype=torch.float64)) for each in centred())
    if not variance:  # all vectors are one
        places[finite] = 0.0
        return places, (np.nan, np.nan)
    strongest = _strongest_written_out if table.width <= WIDEST_SQUARE else _strongest_in_use
    strengths, directions = strongest(centred, table.width)
    largest = np.take_along_axis(directions, abs(directions).argmax(axis=0)[None], axis=0)
    turned = torch.from_numpy(directions * np.sign(largest)).float()
    for ids, vectors in portions():
        places[ids] = ((vectors - mean) @ turned).double().numpy() * scale
    first, second = (max(0.0, float(each)) / variance for each in strengths)
    return places, (first, second)


def _strongest_written_out(
    centred: Callable[[], Iterator[Tensor]], width: int
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "width 2"]]:
    """The two greatest eigenvalues of the sum of squares, and their directions in columns."""
    square = torch.zeros(width, width, dtype=torch.float64)
    for vectors in centred():
        square += (vectors.T @ vectors).double()
    last = (max(0, width - 2), width - 1)
    values, directions = eigh(square.numpy(), subset_by_index=last, overwrite_a=True)
    missing = max(0, 2 - width)  # vectors of one number spread along one direction
    values = np.pad(values[::-1], (0, missing))
    return values, np.pad(directions[:, ::-1], ((0, 0), (0, missing)))


class _Square(LinearOperator):
    """The sum of squares of centred vectors, as what it makes of a vector."""

    def __init__(self, centred: Callable[[], Iterator[Tensor]], width: int) -> None:
        super().__init__(np.float64, (width, width))
        self.centred = centred

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.ascontiguousarray(x.reshape(-1))).float()
        found = torch.zeros(self.shape[0], dtype=torch.float64)
        for vectors in self.centred():
            found += (vectors.T @ (vectors @ given)).double()
        return found.numpy()


def _strongest_in_use(
    centred: Callable[[], Iterator[Tensor]], width: int
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "width 2"]]:
    """The same by Lanczos' method, which needs products with vectors alone, not the square."""
    start = np.random.default_rng(0).standard_normal(width)
    values, directions = eigsh(_Square(centred, width), k=2, v0=start, tol=TOLERANCE)
    return np.asarray(values)[::-1], np.asarray(directions)[:, ::-1]
