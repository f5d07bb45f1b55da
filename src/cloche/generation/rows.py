"""What the rows of a cache hold: for whom, which tokens, and what another answer could reuse."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloche.generation.answers import Answer
from cloche.generation.forward import Forward

LEAST_REUSED = 16
"""So many tokens at least of a longer prompt are copied from another row; fewer are read anew."""


@dataclass
class Row:
    """One row of the cache."""

    number: int
    answer: Answer | None = None
    tokens: list[int] = field(default_factory=list)
    """The tokens whose keys and values it holds."""
    prompt_tokens: int = 0
    """How many of them, from the first, were read as a prompt; or all, where it is all the same."""
    reached: int = 0
    """The most tokens that were stored in it, guesses included, since it was begun."""
    released: int = 0
    """When it was given back; rows given back earlier are used up first."""

    @property
    def missing(self) -> int:
        """Tokens that are to be read before the newest one."""
        assert self.answer is not None
        return len(self.answer.tokens) - 1 - len(self.tokens)


class Rows:
    """All rows of a forward's cache. A row that is given back keeps what it holds until it is
    needed: an answer that begins with the same tokens takes it over, and reads only the rest.

    Reused are tokens that were read as a prompt, as they would be again. What was read one token
    after the other may differ by rounding; only a forward that says `exact` has it reused too.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._rows = [Row(number) for number in range(forward.rows)]
        self._releases = 0

    @property
    def active(self) -> list[Row]:
        """Rows with an answer, in their order in the cache."""
        return [row for row in self._rows if row.answer is not None]

    @property
    def free(self) -> int:
        """How many have none."""
        return sum(row.answer is None for row in self._rows)

    def take(self, answer: Answer) -> Row:
        """A free row for an answer, with as much of its prompt as some row already holds."""
        wanted = answer.tokens[:-1]  # the newest is read when the answer goes on
        free = [row for row in self._rows if row.answer is None]
        row = max(free, key=lambda row: (self._reusable(row, wanted), -row.released))
        held = self._reusable(row, wanted)
        other = max(self._rows, key=lambda row: self._reusable(row, wanted))
        shared = self._reusable(other, wanted)
        if shared >= held + LEAST_REUSED or held < shared == len(wanted):
            row = min(free, key=lambda row: row.released)
            self._forward.copy(other.number, row.number, length=shared)
            held, row.reached = shared, other.reached
        row.answer = answer
        row.tokens = wanted[:held]
        row.prompt_tokens = held
        if not held:
            row.reached = 0
        return row

    def read(self, row: Row, count: int) -> None:
        """Read the next `count` tokens that are missing, as a prompt."""
        answer = row.answer
        assert answer is not None
        held = len(row.tokens)
        part = answer.tokens[held : held + count]
        self._forward.read(row.number, part, start=held)
        row.tokens += part
        row.reached = max(row.reached, len(row.tokens))
        if row.prompt_tokens == held:
            row.prompt_tokens += count

    def went_on(self, row: Row, *, stored: int) -> None:
        """A row has read a newest token and guesses behind it, `stored` tokens with them, and its
        answer has grown by what it made of them, or has ended.
        """
        row.reached = max(row.reached, stored)
        answer = row.answer
        if answer is None:
            return
        row.tokens += answer.tokens[len(row.tokens) : -1]
        if self._forward.exact:
            row.prompt_tokens = len(row.tokens)

    def restart(self, row: Row) -> None:
        """Have a row read its answer's tokens anew, which are no longer those it holds."""
        row.tokens, row.prompt_tokens, row.reached = [], 0, 0

    def release(self, row: Row) -> None:
        """Give a row back; what it holds may be reused."""
        self._releases += 1
        row.answer, row.released = None, self._releases

    def discard(self, row: Row) -> None:
        """Give a row back whose numbers are none."""
        self._forward.clear(row.number)
        self.restart(row)
        self.release(row)

    def _reusable(self, row: Row, wanted: Sequence[int]) -> int:
        """How many of the wanted tokens the row begins with."""
        most = min(row.prompt_tokens, len(wanted))
        held = row.tokens
        same = most
        if held[:most] != list(wanted[:most]):
            same = next(place for place in range(most) if held[place] != wanted[place])
        return same if self._forward.can_go_back(reached=row.reached, to=same) else 0
