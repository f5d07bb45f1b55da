"""The records of a tuning: read, checked, split, and made into examples."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloche.data.conversation_checks import length_report, split_records
from cloche.data.conversations import read_conversations
from cloche.errors import DataError, SettingError
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
    for line in found.describe():
        telling.say(line)
    records = found.records
    parts = split_records(
        len(records), split=data.split, seed=seed, order="shuffled" if data.shuffle else "kept"
    )
    told = [[records[number] for number in numbers] for numbers in parts]
    for part, name in zip(told[:2], ("training", "validation"), strict=True):
        if not part:
            raise DataError(
                f"the {name} part holds none of the {len(records)} records: give more, or another "
                "--data.split"
            )
    train, validation, test = (
        encode_records(part, base.template, base.tokenizer, context=context, learned=learned)
        for part in [*told, *[[]] * (3 - len(told))]
    )
    return HeldRecords(train, validation, test, _hash(train, validation))


def describe_records(held: HeldRecords, *, context: int) -> list[str]:
    """How many examples there are and how long, in sentences for the screen."""
    parts = (held.train, held.validation, held.test)
    counts = [len(part.examples) for part in parts]
    lengths = [length for part in parts for length in part.lengths]
    learned = sum(int(example.learned.sum()) for example in held.train.examples)
    lines = [
        f"Records: {counts[0]:,} to train on ({learned:,} learned tokens), {counts[1]:,} to "
        f"validate on, {counts[2]:,} to test with.",
        *length_report(lengths, context=context),
    ]
    empty = [place for part in parts for place in part.empty]
    if empty:
        lines.append(
            f"Left out: {len(empty):,} records whose answers begin beyond {context} tokens, such "
            f"as {empty[0]}."
        )
    return lines


def _hash(*parts: EncodedRecords) -> str:
    found = hashlib.sha256()
    for part in parts:
        for example in part.examples:
            found.update(np.int64(len(example.ids)).tobytes())
            found.update(example.ids.tobytes())
            found.update(example.learned.tobytes())
    return found.hexdigest()
