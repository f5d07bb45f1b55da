"""Where the answers stand in the text of a conversation, from their first character to their stop.

A template says nothing about it, so it is asked: an answer begins where the text of the messages
before it ends, with the generation prompt; what it holds ends at a mark set behind it. What
follows there, a special token, is its stop. Templates with `{% generation %}` blocks say themselves
where an answer begins.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from cloche.errors import TextError
from cloche.text.chat_rendering import Rendered, Writer
from cloche.text.messages import ASSISTANT, Message

Write = Callable[[Sequence[Message]], Rendered]


@dataclass(frozen=True)
class Answer:
    """One answer within the text."""

    start: int
    end: int
    """Behind its stop token, or, where the template writes none, where one is to be put."""
    stop: str | None
    """The special token that ends it; None where the template writes none."""


@dataclass(frozen=True)
class Layout:
    """A conversation as text, and the answers in it."""

    text: str
    answers: tuple[Answer, ...]
    problems: tuple[str, ...]
    """What is wrong with answers that could not be found."""


def lay_out(
    messages: Sequence[Message],
    writer: Writer,
    *,
    names: Collection[str],
    mark: str,
    prompt: bool,
) -> Layout:
    """The text of a conversation, with the generation prompt if it is a `prompt`.

    `names` are the tokenizer's special tokens, `mark` a character that occurs nowhere. Raises
    TextError where the template fails.
    """
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    stops = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
    whole, ends = _marked(messages, writer.ask if prompt else writer.write, mark=mark)
    finder = _Finder(messages, writer, whole, ends, stops)
    answers: list[Answer] = []
    problems: list[str] = []
    usual: str | None = None  # the stop of the last answer, which nothing else can follow
    for number in sorted(ends, reverse=True):
        try:
            answer = finder.find(number, usual)
        except TextError as exc:
            problems.append(f"message {number + 1} ({messages[number].role}): {exc}")
            continue
        usual = usual or answer.stop
        answers.append(answer)
    return Layout(whole.text, tuple(reversed(answers)), tuple(reversed(problems)))


@dataclass(frozen=True)
class _Finder:
    """Looks for the answers in the text of all messages."""

    messages: Sequence[Message]
    writer: Writer
    whole: Rendered
    ends: dict[int, int | None]
    """Where the content of each answer ends, by the number of its message; None: nowhere."""
    stops: re.Pattern[str]

    def find(self, number: int, usual: str | None) -> Answer:
        """The answer that this message is; TextError says why there is none."""
        text, end = self.whole.text, self.ends[number]
        content = self.messages[number].content.strip()
        if end is None or not text[:end].endswith(content):
            raise TextError(
                "the template drops this answer, writes it twice, or writes it otherwise than it "
                "is; take another template, or leave the record out"
            )
        start = self._start(number, end)
        if start > end - len(content):
            raise TextError("the template writes this answer before it asks for it")
        behind = len(text) - len(text[end:].lstrip())
        if usual is not None and text.startswith(usual, behind):
            return Answer(start, behind + len(usual), usual)
        turn = self._turn(number)
        if found := self.stops.search(turn, end):
            return Answer(start, found.end(), found[0])
        return Answer(start, max(end, len(turn.rstrip())), None)

    def _start(self, number: int, end: int) -> int:
        """Where the answer begins whose content ends at `end`."""
        if self.whole.generated:
            for start, behind in self.whole.generated:
                if start <= end <= behind:
                    return start
            raise TextError(
                "the template writes this answer outside of its {% generation %} blocks"
            )
        asked = self.writer.ask(self.messages[:number]).text
        if not self.whole.text.startswith(asked):
            here, there = _first_difference(asked, self.whole.text)
            raise TextError(
                f"the template writes what stands before this answer as {here} when it asks for "
                f"it, but as {there} when it is there, so that a model would learn to go on from "
                "what it never sees; take another template, or one with {% generation %} blocks"
            )
        return len(asked)

    def _turn(self, number: int) -> str:
        """The text up to the end of a message, where the next one begins."""
        text = self.whole.text
        if number == len(self.messages) - 1:
            return text
        turn = self.writer.write(self.messages[: number + 1]).text
        if not text.startswith(turn):
            here, there = _first_difference(turn, text)
            raise TextError(
                f"the template writes this answer's turn as {here} at the end, but as {there} "
                "where more follows, and no stop token stands there; take another template"
            )
        return turn


def _marked(
    messages: Sequence[Message], write: Write, *, mark: str
) -> tuple[Rendered, dict[int, int | None]]:
    """The text of all messages, and where the content of each answer ends in it."""
    numbers = [n for n, message in enumerate(messages) if message.role == ASSISTANT]
    found, places = _written(messages, numbers, write, mark=mark)
    ends: dict[int, int | None] = dict(zip(numbers, places, strict=False))
    if len(places) == len(numbers):
        return found, ends
    for number in numbers:  # some are dropped, or come twice: which?
        places = _written(messages, [number], write, mark=mark)[1]
        ends[number] = places[0] if len(places) == 1 else None
    return found, ends


def _written(
    messages: Sequence[Message],
    numbers: Sequence[int],
    write: Write,
    *,
    mark: str,
) -> tuple[Rendered, list[int]]:
    """The text, and the places at which the last visible characters of these messages end."""
    marked = list(messages)
    for number in numbers:
        content = messages[number].content
        visible = len(content.rstrip())
        content = f"{content[:visible]}{mark}{content[visible:]}"
        marked[number] = replace(messages[number], content=content)
    found = write(marked)
    at = [match.start() for match in re.finditer(re.escape(mark), found.text)]

    generated = tuple((_before(a, at), _before(b, at)) for a, b in found.generated)
    text = found.text.replace(mark, "")
    return Rendered(text, generated), [_before(place, at) for place in at]


def _before(place: int, marks: Sequence[int]) -> int:
    """Where a place is once the marks before it are taken out."""
    return place - bisect_left(marks, place)


def _first_difference(one: str, other: str) -> tuple[str, str]:
    """What stands in each of two texts where they part."""
    pairs = zip(one, other, strict=False)
    shorter = min(len(one), len(other))
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), shorter)
    return repr(one[place : place + 30]), repr(other[place : place + 30])
