"""Special tokens typed inside messages, made harmless before a template puts them into its text.

The first character of each is replaced by a stand-in: a character that occurs nowhere else. So the
text of the template holds exactly the special tokens that the template itself has written, at the
same places as before; afterwards, the characters come back.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from cloche.text.messages import Message

# Code points that stand for no character, then those for private use.
_CANDIDATES = ((0xFDD0, 0xFDF0), (0xE000, 0xF900), (0xF0000, 0xFFFFE), (0x100000, 0x10FFFE))


@dataclass(frozen=True)
class StandIns:
    """Which character stands for which."""

    originals: dict[str, str] = field(default_factory=dict)

    def restore(self, text: str) -> str:
        """The text with its own characters again."""
        for stand_in, original in self.originals.items():
            text = text.replace(stand_in, original)
        return text


def unused_characters(messages: Sequence[Message], source: str) -> Iterator[str]:
    """Characters that occur neither in the messages nor in the template."""
    texts = chain.from_iterable((message.content, message.input) for message in messages)
    used = set(source).union(*texts)
    for first, end in _CANDIDATES:
        for number in range(first, end):
            if chr(number) not in used:
                yield chr(number)


def disguise(
    messages: Sequence[Message], names: Collection[str], unused: Iterator[str]
) -> tuple[tuple[Message, ...], StandIns]:
    """The messages with a stand-in for one character of each special token in them.

    Also where a special token could come to be at the edge of a text: where that begins with the
    end of one, ends with its beginning, or is a part of one.
    """
    given: dict[str, str] = {}
    found = tuple(
        replace(
            message,
            content=_harmless(message.content, names, given, unused),
            input=_harmless(message.input, names, given, unused),
        )
        for message in messages
    )
    return found, StandIns({stand_in: own for own, stand_in in given.items()})


def _harmless(
    text: str, names: Collection[str], given: dict[str, str], unused: Iterator[str]
) -> str:
    """The text with stand-ins, of which new ones are added to `given`."""
    places = _places(text, names)
    if not places:
        return text
    characters = list(text)
    for place in places:
        own = characters[place]
        if own not in given:
            given[own] = next(unused)
        characters[place] = given[own]
    return "".join(characters)


def _places(text: str, names: Collection[str]) -> set[int]:
    """Places of the characters to replace."""
    places: set[int] = set()
    if present := [name for name in names if name in text]:
        pattern = f"(?={'|'.join(map(re.escape, present))})"  # also where one lies over another
        places |= {match.start() for match in re.finditer(pattern, text)}
    stripped = text.strip()  # as many templates write it
    for edge, offset in ((text, 0), (stripped, text.find(stripped))):
        places |= {offset + place for place in _places_at_edges(edge, names)}
    return places


def _places_at_edges(text: str, names: Collection[str]) -> Iterator[int]:
    """Where a text has to be broken so that no name comes to be over its edges."""
    longest = max(map(len, names), default=0)
    head, tail = text[:longest], text[-longest:]
    for name in names:
        if text and text in name:  # the template may write what is around it
            yield 0
        lengths = range(1, min(len(name), len(text) + 1))
        if name[-1] in head:
            yield from (n - 1 for n in lengths if head.startswith(name[-n:]))
        if name[0] in tail:
            yield from (len(text) - n for n in lengths if tail.endswith(name[:n]))
