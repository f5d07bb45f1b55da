"""How often each key occurs in a stream far larger than memory: sorted runs on disk, merged.

Each portion of the stream is sorted and counted by itself and written to a file. The files are
then read side by side, one range of keys at a time, so that no more than a range is in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLED = 1 << 13
"""One key of so many stands for its run when the ranges are cut."""


@dataclass(frozen=True)
class CountedKeys:
    """Distinct keys, ascending, and how often each occurred."""

    keys: np.ndarray
    counts: np.ndarray


class SortedRuns:
    """Counts keys that arrive in portions, in files below `folder`; `remove` deletes them."""

    def __init__(self, folder: Path, *, name: str, range_entries: int) -> None:
        self.folder, self.name, self.range_entries = folder, name, range_entries
        self.entries = 0
        """Entries of all portions together: at least as many as there are distinct keys."""
        self._runs: list[Path] = []

    def add(self, keys: np.ndarray) -> None:
        """Count a portion of the stream: int64 keys in any order."""
        if not len(keys):
            return
        distinct, counts = np.unique(keys, return_counts=True)
        path = self.folder / f"{self.name}-{len(self._runs)}.npy"
        np.save(path, np.stack((distinct, counts)))
        self._runs.append(path)
        self.entries += len(distinct)

    def merged(self) -> Iterator[CountedKeys]:
        """All keys with their counts over all portions, in ascending ranges."""
        if not self._runs:
            return
        begins = [0] * len(self._runs)
        for boundary in [*self._boundaries(), None]:
            ends, parts = [], []
            for path, begin in zip(self._runs, begins, strict=True):
                run = _opened(path)
                end = run.shape[1] if boundary is None else int(np.searchsorted(run[0], boundary))
                ends.append(end)
                parts.append(np.array(run[:, begin:end]))
            if begins != ends:
                yield _summed(np.concatenate(parts, axis=1))
            begins = ends

    def remove(self) -> None:
        """Delete the files."""
        for path in self._runs:
            path.unlink()
        self._runs = []

    def _boundaries(self) -> np.ndarray:
        """Keys at which to cut, so that about so many entries of all runs lie between two."""
        samples = np.sort(np.concatenate([_opened(path)[0, ::SAMPLED] for path in self._runs]))
        each = max(1, self.range_entries // SAMPLED)
        return np.unique(samples[each::each])


def _opened(path: Path) -> np.ndarray:
    """A run, mapped anew each time: pages that were read do not stay in memory."""
    return np.load(path, mmap_mode="r")


def _summed(entries: np.ndarray) -> CountedKeys:
    """Equal keys brought together and their counts added."""
    order = np.argsort(entries[0], kind="stable")
    keys, counts = entries[0][order], entries[1][order]
    firsts = run_starts(keys)
    return CountedKeys(keys[firsts], np.add.reduceat(counts, firsts))


def run_starts(values: np.ndarray) -> np.ndarray:
    """Where a new value begins in an ascending array."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
