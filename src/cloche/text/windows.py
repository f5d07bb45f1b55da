"""What a model learns from: each context in a row of tokens, and the token that follows it.

A window of n tokens holds n lessons: its first token and what follows, its first two, and so on to
all n. Its targets are its inputs moved by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cloche.errors import SettingError, TextError
from cloche.text.tokenized import Kept


@dataclass(frozen=True)
class Lesson:
    """A context, and the token to predict from it."""

    context: tuple[int, ...]
    target: int


@dataclass(frozen=True)
class Window:
    """Tokens to learn from, and for each the one that follows."""

    start: int
    """Place of the first input in the text, in tokens from 0."""
    inputs: tuple[int, ...]
    targets: tuple[int, ...]

    def lessons(self) -> list[Lesson]:
        """Every context that begins with the window, the shortest first, with what follows it."""
        return [
            Lesson(self.inputs[: length + 1], target) for length, target in enumerate(self.targets)
        ]


@dataclass(frozen=True)
class WindowPlan:
    """Windows of `context` tokens that start at `start`, `start` + `stride`, ... of a text."""

    context: int
    stride: int
    start: int = 0

    def __post_init__(self) -> None:
        """Raises SettingError for a length, stride or start that cannot be."""
        for name, value, least in (
            ("windows", self.context, 1),
            ("stride", self.stride, 1),
            ("start", self.start, 0),
        ):
            if value < least:
                raise SettingError(f"--{name} must be at least {least} token, got {value}")

    def needed(self, count: int | None) -> Kept:
        """The tokens that the first `count` windows are made of; all when None."""
        if count is None:
            return Kept(self.start, None)
        span = (count - 1) * self.stride + self.context + 1 if count else 0
        return Kept(self.start, self.start + span)

    def count(self, tokens: int) -> int:
        """How many windows, each with a token after it, a text of so many tokens has.

        Raises TextError where it has none.
        """
        room = tokens - self.start - self.context - 1
        if room < 0:
            raise TextError(
                f"the text has {tokens} tokens; a window of {self.context} from token {self.start} "
                f"needs {self.start + self.context + 1}: bring more text, or a smaller --windows "
                f"or --start"
            )
        return room // self.stride + 1

    def windows(self, ids: Sequence[int]) -> list[Window]:
        """The windows in `ids`, the tokens from `start` on."""
        firsts = range(0, len(ids) - self.context, self.stride)
        return [
            Window(
                self.start + first,
                tuple(ids[first : first + self.context]),
                tuple(ids[first + 1 : first + self.context + 1]),
            )
            for first in firsts
        ]


def lesson_line(context: str, target: str) -> str:
    """A lesson as text: `the context ----> what follows`, with one space before what follows."""
    gap = "" if target.startswith(" ") else " "
    return f"{context} ---->{gap}{target}"
