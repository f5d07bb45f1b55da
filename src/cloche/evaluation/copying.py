"""Spans of what was written that stand in the text learned from, exactly, however long it is.

What was written is short, the text is not: the automaton is built of the former, and the text
passes by it once, in time linear in both and in memory that does not depend on the text.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

ROOM = 1 << 17
"""Units (tokens or characters) that one automaton is built of; each takes about half a kilobyte."""
BREAK = -1
"""In the text that passes by: no span reaches across it."""


class SpanFinder:
    """Tells for every place of some rows the longest span ending there that has passed by.

    It is the suffix automaton of the rows: Blumer et al. 1985,
    https://doi.org/10.1016/0304-3975(85)90157-4. Units are integers from 0 on.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self._following: list[dict[int, int]] = [{}]
        self._links = [-1]
        self._lengths = [0]
        self._last = 0
        self._states: list[list[int]] = []  # of each row: the state of each of its places
        for number, row in enumerate(rows):
            self._states.append([self._append(unit) for unit in row])
            self._append(BREAK - 1 - number)  # parts the rows, as it stands nowhere else
        self._passed = [0] * len(self._lengths)  # longest of each state's spans seen
        self._state = self._length = 0

    def read(self, units: Iterable[int]) -> None:
        """Let more of the text pass by; it goes on where it was left."""
        following, links, lengths = self._following, self._links, self._lengths
        passed, state, length = self._passed, self._state, self._length
        for unit in units:
            after = following[state].get(unit)
            while after is None and state:
                state = links[state]
                length = lengths[state]
                after = following[state].get(unit)
            if after is None:
                length = 0
                continue
            state = after
            length += 1
            if length > passed[state]:
                passed[state] = length
        self._state, self._length = state, length

    def found(self) -> list[list[int]]:
        """Of each row, for each place: units of the longest span that ends with it."""
        order = sorted(range(1, len(self._lengths)), key=self._lengths.__getitem__)
        longest = list(self._passed)
        for state in reversed(order):  # what passed held all its own endings, too
            link = self._links[state]
            if longest[state] and link > 0:
                longest[link] = self._lengths[link]
        for state in order:
            longest[state] = longest[state] or longest[self._links[state]]
        return [[longest[state] for state in states] for states in self._states]

    def _append(self, unit: int) -> int:
        """The state of all that was appended so far, with one unit more."""
        new = self._add(length=self._lengths[self._last] + 1, following={}, link=0)
        state = self._last
        while state != -1 and unit not in self._following[state]:
            self._following[state][unit] = new
            state = self._links[state]
        if state != -1:
            self._links[new] = self._split(state, unit)
        self._last = new
        return new

    def _split(self, state: int, unit: int) -> int:
        """The state after `state` and `unit`, made to hold no longer span than that one."""
        after = self._following[state][unit]
        if self._lengths[after] == self._lengths[state] + 1:
            return after
        copy = self._add(
            length=self._lengths[state] + 1,
            following=dict(self._following[after]),
            link=self._links[after],
        )
        self._links[after] = copy
        while state != -1 and self._following[state].get(unit) == after:
            self._following[state][unit] = copy
            state = self._links[state]
        return copy

    def _add(self, *, length: int, following: dict[int, int], link: int) -> int:
        self._following.append(following)
        self._links.append(link)
        self._lengths.append(length)
        return len(self._lengths) - 1


def copied_lengths(
    rows: Sequence[Sequence[int]], text: Callable[[], Iterable[np.ndarray]], *, room: int = ROOM
) -> list[list[int]]:
    """Of each row, for each place: how long a span that ends with it stands in the text.

    `text` gives the text from its beginning, in pieces of integers; it is read once for every
    `room` units of the rows, which bounds the memory.
    """
    found: list[list[int]] = []
    for group in _groups(rows, room):
        finder = SpanFinder(group)
        for piece in text():
            finder.read(piece.tolist())
        found += finder.found()
    return found


def covered_share(lengths: Sequence[int], *, least: int) -> float:
    """Share of a row that lies in spans of at least `least` units, by `copied_lengths`."""
    covered, reach = 0, 0
    for length in reversed(lengths):
        reach = max(reach - 1, length if length >= least else 0)
        covered += reach > 0
    return covered / len(lengths) if lengths else 0.0


def _groups(rows: Sequence[Sequence[int]], room: int) -> Iterable[list[Sequence[int]]]:
    group: list[Sequence[int]] = []
    size = 0
    for row in rows:
        if group and size + len(row) > room:
            yield group
            group, size = [], 0
        group.append(row)
        size += len(row)
    if group:
        yield group
