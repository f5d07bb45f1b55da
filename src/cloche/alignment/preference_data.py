"""The preferences of a training: read, checked, split, and made into tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal

import numpy as np

from cloche.alignment.preference_batches import EncodedPair, EncodedVote
from cloche.alignment.preference_encoding import (
    AnswerWriter,
    Encoded,
    EncodedPreferences,
    Record,
    as_votes,
    encode_pairs,
    encode_votes,
)
from cloche.data.conversation_checks import find_prompt_leaks
from cloche.data.conversation_split import length_report, split_groups
from cloche.data.conversations import read_conversations
from cloche.data.preferences import PreferencePair, Preferences, Vote, read_preferences
from cloche.errors import ClocheError, DataError, SettingError, TextError
from cloche.tuning.options import TuneDataOptions
from cloche.tuning.session import Telling

Loss = Literal["dpo", "ipo", "kto"]
_SHOWN = 3
_OF_PREFERENCES = frozenset({"answers", "chosen", "label", "rejected", "vote"})


@dataclass(frozen=True)
class HeldPreferences(Generic[Record, Encoded]):
    """The pairs, or the votes, of each part of the records."""

    train: EncodedPreferences[Record, Encoded]
    validation: EncodedPreferences[Record, Encoded]
    test: EncodedPreferences[Record, Encoded] | None
    hash: str
    """SHA-256 of the training and validation parts' tokens."""


Pairs = HeldPreferences[PreferencePair, EncodedPair]
Votes = HeldPreferences[Vote, EncodedVote]


def read_held_preferences(
    sources: Sequence[str], data: TuneDataOptions, *, telling: Telling
) -> Preferences:
    """The preferences in the files, those that repeat others left out if the options say so.

    `telling` hears what was found. Raises ClocheError for records that cannot be used.
    """
    if not sources:
        raise SettingError("name a file of preferences to learn from")
    try:
        found = read_preferences(sources, records=data.records, encoding=data.encoding)
    except TextError as exc:
        if not _hold_conversations(sources, data):
            raise
        raise TextError(
            f"{', '.join(sources)}: these are conversations with one answer each, which "
            "cloche tune learns from; a preference has two answers (chosen, rejected), several "
            "(answers), or a vote on one (label)"
        ) from exc
    for line in found.describe():
        telling.say(line)
    if data.drop_duplicates:
        repeated = {place for place, _ in found.repeated}
        found.pairs = [pair for pair in found.pairs if pair.place not in repeated]
        found.votes = [vote for vote in found.votes if vote.place not in repeated]
    return found


def _hold_conversations(sources: Sequence[str], data: TuneDataOptions) -> bool:
    """Whether the files, which hold no preferences, are whole conversations instead."""
    try:
        found = read_conversations(sources, records=data.records, encoding=data.encoding)
    except ClocheError:
        return False
    return not any(_OF_PREFERENCES & record.fields.keys() for record in found)


def chosen_loss(asked: Literal["auto", "dpo", "ipo", "kto"], found: Preferences) -> Loss:
    """The loss for these preferences. SettingError for one that cannot learn from them."""
    if asked == "auto":
        return "kto" if found.votes else "dpo"
    if found.votes and asked != "kto":
        raise SettingError(
            f"align.loss {asked} learns from pairs, and the files hold single votes: use "
            "--align.loss kto"
        )
    return asked


def hold_pairs(
    found: Preferences,
    writer: AnswerWriter,
    data: TuneDataOptions,
    *,
    seed: int,
    telling: Telling,
) -> Pairs:
    """The pairs, split and encoded. All pairs of one ranking are in one part."""
    train, validation, test = _split(found.pairs, data, seed=seed, telling=telling)
    learned, held_out = encode_pairs(train, writer), encode_pairs(validation, writer)
    tested = encode_pairs(test, writer) if test else None
    return HeldPreferences(learned, held_out, tested, _hash([*learned.items, *held_out.items]))


def hold_votes(
    found: Preferences,
    writer: AnswerWriter,
    data: TuneDataOptions,
    *,
    seed: int,
    telling: Telling,
) -> Votes:
    """The votes, or two for each pair, split and encoded. Those of one record are in one part."""
    votes = found.votes or as_votes(found.pairs)
    train, validation, test = _split(votes, data, seed=seed, telling=telling)
    learned = encode_votes(train, writer, seed=seed)
    held_out = encode_votes(validation, writer, seed=seed)
    tested = encode_votes(test, writer, seed=seed) if test else None
    _warn_of_one_kind(learned.items, telling)
    return HeldPreferences(learned, held_out, tested, _hash([*learned.items, *held_out.items]))


def describe_held(held: Pairs | Votes, *, context: int) -> list[str]:
    """How many there are and how long, in sentences for the screen."""
    parts = [part for part in (held.train, held.validation, held.test) if part is not None]
    names = ("to train on", "to validate on", "to test with")
    sizes = [f"{len(part.items):,} {name}" for part, name in zip(parts, names, strict=False)]
    lengths = [length for part in parts for length in part.lengths]
    lines = [f"Preferences: {', '.join(sizes)}.", *length_report(lengths, context=context)]
    empty = [place for part in parts for place in part.empty]
    if empty:
        more = f" and {len(empty) - _SHOWN:,} more" if len(empty) > _SHOWN else ""
        lines.append(
            f"Left out: {len(empty):,} that say nothing within {context} tokens: "
            f"{', '.join(empty[:_SHOWN])}{more}."
        )
    return lines


def _split(
    records: list[Record], data: TuneDataOptions, *, seed: int, telling: Telling
) -> tuple[list[Record], list[Record], list[Record]]:
    order = "shuffled" if data.shuffle else "kept"
    groups = [record.number for record in records]
    split = split_groups(groups, split=data.split, seed=seed, order=order)
    leaks = find_prompt_leaks([r.place for r in records], [r.prompt for r in records], split)
    for line in leaks.lines():
        telling.warn(line)
    parts = [[records[n] for n in part] for part in (split.train, split.validation, split.test)]
    for part, name in zip(parts[:2], ("training", "validation"), strict=True):
        if not part:
            raise DataError(
                f"the {name} part holds none of {len(records):,} preferences: give more, or "
                "another --data.split"
            )
    return parts[0], parts[1], parts[2]


def _warn_of_one_kind(votes: Sequence[EncodedVote], telling: Telling) -> None:
    good = sum(vote.good for vote in votes)
    bad = len(votes) - good
    if not good or not bad:
        telling.warn(
            f"All {len(votes):,} votes to train on are {'good' if good else 'bad'}: the model "
            "learns no difference from them, only to leave what it was."
        )


def _hash(items: Sequence[EncodedPair | EncodedVote]) -> str:
    found = hashlib.sha256()
    for item in items:
        good = item.good if isinstance(item, EncodedVote) else None
        found.update(repr(good).encode())
        for example in item.examples:
            found.update(np.int64(len(example.ids)).tobytes())
            found.update(example.ids.tobytes())
            found.update(example.learned.tobytes())
    return found.hexdigest()
