"""From conversations to examples: tokens, and which of them are learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cloche.data.conversation_split import TokenCount
from cloche.data.conversations import ConversationRecord
from cloche.data.examples import Example
from cloche.errors import ClocheError, DataError, TextError
from cloche.text.chat import ChatTemplate
from cloche.text.tokenizer import Tokenizer

Learned = Literal["answers", "last", "all"]
_NAMED = 10


@dataclass(frozen=True)
class EncodedRecords:
    """Examples, and what became of the records that are none."""

    examples: tuple[Example, ...]
    records: tuple[ConversationRecord, ...]
    """The record that each example was made of."""
    counts: tuple[TokenCount, ...]
    """The length of every record before it was cut, those that became no example too."""


def encode_records(
    records: Sequence[ConversationRecord],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    *,
    context: int,
    learned: Learned,
) -> EncodedRecords:
    """The records as examples that a context of so many tokens holds.

    Raises TextError with the places of all records that the template or the tokenizer cannot
    write, and DataError where nothing is left to learn.
    """
    examples, kept, counts, problems = [], [], [], []
    for number, record in enumerate(records):
        try:
            ids, marks = _encode(record, template, tokenizer, learned=learned)
        except ClocheError as exc:
            problems.append(f"{record.place}: {exc}")
            continue
        counts.append(TokenCount(record.place, len(ids), int(marks.argmax())))
        ids, marks = ids[: context + 1], marks[: context + 1]
        if marks.any():
            examples.append(Example(ids, marks, number))
            kept.append(record)
    if problems:
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        heading = f"{len(problems)} of {len(records)} records cannot be written:"
        raise TextError("\n  - ".join([heading, *problems[:_NAMED], *more]))
    if not examples and records:
        first = counts[0]
        raise DataError(
            f"nothing is left to learn: within a context of {context} tokens no record reaches an "
            f"answer ({first.place} has {first.tokens} tokens, its answer begins at "
            f"{first.first_learned}); use shorter records, or a larger --tune.context where the "
            "model has one"
        )
    return EncodedRecords(tuple(examples), tuple(kept), tuple(counts))


def _encode(
    record: ConversationRecord, template: ChatTemplate, tokenizer: Tokenizer, *, learned: Learned
) -> tuple[np.ndarray, np.ndarray]:
    encoded = template.encode(record.conversation, tokenizer)
    ids, answers = np.array(encoded.ids, np.int64), np.array(encoded.answers, np.int64)
    if learned == "all":
        marks = np.ones(len(ids), bool)
    elif learned == "last":
        marks = (answers > 0) & (answers == answers.max(initial=0))
    else:
        marks = answers > 0
    marks[:1] = False  # nothing stands before the first token
    return ids, marks
