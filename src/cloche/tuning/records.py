"""The records of a tuning: read, checked, split, and made into examples."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloche.data.conversation_checks import drop_duplicates, find_duplicates, find_leaks
from cloche.data.conversation_split import measure_lengths, split_records
from cloche.data.conversations import read_conversations
from cloche.errors import SettingError
from cloche.tuning.base import Base
from cloche.tuning.encoding import EncodedRecords, Learned, encode_records
from cloche.tuning.options import TuneDataOptions
from cloche.tuning.session import Telling


@dataclass(frozen=True)
class HeldRecords:
    """The examples of each part of the records."""

    train: EncodedRecords
    validation: EncodedRecords
    test: EncodedRecords
    hash: str
    """SHA-256 of the training and validation examples."""


def read_held_records(
    sources: Sequence[str],
    base: Base,
    *,
    data: TuneDataOptions,
    context: int,
    learned: Learned,
    seed: int,
    telling: Telling,
) -> HeldRecords:
    """The records of the files, split, as examples of at most so many tokens.

    `telling` hears what was found: the form, duplicates, leaks. Raises ClocheError for records
    that cannot be used, naming each.
    """
    if not sources:
        raise SettingError("name a file of conversations to tune on")
    found = read_conversations(sources, records=data.records, encoding=data.encoding)
    duplicates = find_duplicates(found)
    for line in [*found.describe(), *duplicates.lines()]:
        telling.say(f"Data: {line}")
    if data.drop_duplicates:
        found = drop_duplicates(found, duplicates)
    split = split_records(
        len(found), split=data.split, seed=seed, order="shuffled" if data.shuffle else "kept"
    )
    for line in find_leaks(found, split).lines():
        telling.warn(f"Data: {line}")
    train, validation, test = (
        encode_records(
            found.take(numbers).records,
            base.template,
            base.tokenizer,
            context=context,
            learned=learned,
        )
        for numbers in (split.train, split.validation, split.test)
    )
    return HeldRecords(train, validation, test, _hash(train, validation))


def describe_records(held: HeldRecords, *, context: int) -> list[str]:
    """How many examples there are and how long, in sentences for the screen."""
    parts = (held.train, held.validation, held.test)
    counts = [len(part.examples) for part in parts]
    learned = sum(int(example.learned.sum()) for example in held.train.examples)
    every = [count for part in parts for count in part.counts]
    return [
        f"Records: {counts[0]:,} to train on ({learned:,} learned tokens), {counts[1]:,} to "
        f"validate on, {counts[2]:,} to test with.",
        *(f"Data: {line}" for line in measure_lengths(every, context).lines()),
    ]


def _hash(*parts: EncodedRecords) -> str:
    found = hashlib.sha256()
    for part in parts:
        for example in part.examples:
            found.update(np.int64(len(example.ids)).tobytes())
            found.update(example.ids.tobytes())
            found.update(example.learned.tobytes())
    return found.hexdigest()
