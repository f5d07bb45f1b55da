"""Conversations that come twice, and held-out questions that were learned.

Both are told, with the places of both records; nothing is left out unless it is asked for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloche.data.conversation_similarity import MOST_CHARACTERS, SIMILARITY, SimilarTexts, folded
from cloche.data.conversation_split import Split
from cloche.data.conversations import ConversationRecord, Conversations, text_of
from cloche.text.messages import USER, Conversation

_SHOWN = 3


@dataclass(frozen=True)
class Likeness:
    """A record that is like another one."""

    place: str
    other: str
    """Place of the earlier record, or of the one that is learned."""
    similarity: float
    """Share of common pieces of five characters; 1 where they are the same."""


@dataclass(frozen=True)
class Duplicates:
    """Conversations that came before, the same or nearly."""

    exact: tuple[Likeness, ...]
    near: tuple[Likeness, ...]
    """Like one that has no earlier one like itself."""
    compared: bool
    """Whether near ones were looked for; not in more than MOST_CHARACTERS, and not in all records
    where too many have too much in common."""
    similarity: float = SIMILARITY

    def lines(self) -> list[str]:
        """For the screen; none where there is nothing to tell."""
        found = _told("The same as an earlier one, word for word", self.exact)
        found += _told(f"Like an earlier one ({self.similarity:g} or more)", self.near)
        return found + ([] if self.compared else [_NOT_COMPARED])


@dataclass(frozen=True)
class Leaks:
    """Held-out records whose questions are learned, the same or nearly."""

    validation: tuple[Likeness, ...]
    test: tuple[Likeness, ...]
    compared: bool
    """Whether near ones were looked for; the same ones always are."""
    similarity: float = SIMILARITY

    def lines(self) -> list[str]:
        """For the screen; none where there is nothing to tell."""
        how = f"records ask what a training record asks ({self.similarity:g} or more alike)"
        found = _told(f"Validation {how}", self.validation)
        found += _told(f"Test {how}", self.test)
        return found + ([] if self.compared else [_NOT_COMPARED])


_NOT_COMPARED = (
    f"Near-duplicates were not looked for in all records: they have more than {MOST_CHARACTERS:,} "
    "characters, or too much in common with one another. Exact ones were looked for in all."
)


def find_duplicates(
    conversations: Sequence[ConversationRecord], *, similarity: float = SIMILARITY
) -> Duplicates:
    """The conversations that an earlier one is like: all that is said in it, roles left out.

    White space and case make no difference.
    """
    texts = [text_of(record.conversation) for record in conversations]
    exact, near = [], []
    first: dict[bytes, int] = {}
    compared = _can_be_compared(texts)
    similar = SimilarTexts(texts, similarity=similarity) if compared else None
    for number, text in enumerate(texts):
        before = first.setdefault(_digest(text), number)
        if before != number:
            exact.append(Likeness(conversations[number].place, conversations[before].place, 1.0))
        elif similar is not None and (found := similar.find(number)) is not None:
            other, likeness = found
            near.append(Likeness(conversations[number].place, conversations[other].place, likeness))
        elif similar is not None:
            similar.add(number)
    whole = similar is not None and not similar.exhausted
    return Duplicates(tuple(exact), tuple(near), whole, similarity)


def drop_duplicates(
    conversations: Conversations, duplicates: Duplicates, *, near: Sequence[Likeness] = ()
) -> Conversations:
    """The conversations without those that come a second time, word for word.

    Give `duplicates.near` as `near` to leave those out too: what is nearly the same may be meant
    so, as in exercises that differ in a number.
    """
    dropped = {found.place for found in (*duplicates.exact, *near)}
    kept = tuple(record for record in conversations if record.place not in dropped)
    return replace(conversations, records=kept)


def find_leaks(
    conversations: Sequence[ConversationRecord], split: Split, *, similarity: float = SIMILARITY
) -> Leaks:
    """The held-out conversations that ask what a training record asks; see `find_prompt_leaks`."""
    return find_prompt_leaks(
        [record.place for record in conversations],
        [record.conversation for record in conversations],
        split,
        similarity=similarity,
    )


def find_prompt_leaks(
    places: Sequence[str],
    conversations: Sequence[Conversation],
    split: Split,
    *,
    similarity: float = SIMILARITY,
) -> Leaks:
    """The held-out ones that ask what one of training asks: all that users say in them.

    The answers do not count: a question that was learned is no test, whatever its answer. White
    space and case make no difference.
    """
    texts = [text_of(m for m in messages if m.role == USER) for messages in conversations]
    compared = _can_be_compared(texts)
    similar = SimilarTexts(texts, similarity=similarity) if compared else None
    first: dict[bytes, int] = {}
    for number in split.train:
        new = first.setdefault(_digest(texts[number]), number) == number
        if new and similar is not None:
            similar.add(number)

    def leaks_of(part: Sequence[int]) -> tuple[Likeness, ...]:
        found = []
        for number in part:
            same = first.get(_digest(texts[number]))
            near = similar.find(number) if same is None and similar is not None else None
            if same is not None:
                found.append(Likeness(places[number], places[same], 1.0))
            elif near is not None:
                found.append(Likeness(places[number], places[near[0]], near[1]))
        return tuple(found)

    validation, test = leaks_of(split.validation), leaks_of(split.test)
    whole = similar is not None and not similar.exhausted
    return Leaks(validation, test, whole, similarity)


def _can_be_compared(texts: Sequence[str]) -> bool:
    return sum(map(len, texts)) <= MOST_CHARACTERS


def _digest(text: str) -> bytes:
    return hashlib.blake2b(folded(text).encode(), digest_size=16).digest()


def _told(what: str, found: Sequence[Likeness]) -> list[str]:
    if not found:
        return []
    shown = [f"{like.place} and {like.other}, {like.similarity:.2f}" for like in found[:_SHOWN]]
    more = f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return [f"{what}: {len(found):,} ({'; '.join(shown)}{more})."]
