"""From what people prefer to tokens: each answer behind its prompt, as the template writes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from cloche.alignment.preference_batches import EncodedPair, EncodedVote, mismatched_with
from cloche.data.examples import Example
from cloche.data.preferences import PreferencePair, Vote
from cloche.errors import ClocheError, DataError, TextError
from cloche.text.chat import ChatTemplate
from cloche.text.messages import ASSISTANT, Conversation
from cloche.text.tokenizer import Tokenizer

_NAMED = 10
Record = TypeVar("Record", PreferencePair, Vote)
Encoded = TypeVar("Encoded", EncodedPair, EncodedVote)


@dataclass(frozen=True)
class EncodedPreferences(Generic[Record, Encoded]):
    """Pairs or votes as tokens, and what became of the records that are none."""

    items: tuple[Encoded, ...]
    records: tuple[Record, ...]
    """The record that each item was made of."""
    lengths: tuple[int, ...]
    """Tokens of every record's longest answer, prompt included, before it was cut."""
    empty: tuple[str, ...]
    """Places of those that say nothing within the context: an answer begins beyond it, or two
    differ beyond it only."""


@dataclass(frozen=True)
class AnswerWriter:
    """Lays out answers as the model reads them, cut to a context of so many tokens."""

    template: ChatTemplate
    tokenizer: Tokenizer
    context: int

    def write(self, prompt: Conversation, answer: Conversation) -> tuple[Example | None, int]:
        """(the example, None where no learned token is left; how many tokens it had uncut).

        Learned are the tokens that the assistant writes in `answer`, stop tokens included, not
        those of earlier answers in the prompt.
        """
        encoded = self.template.encode((*prompt, *answer), self.tokenizer)
        before = sum(message.role == ASSISTANT for message in prompt)
        ids, answers = np.array(encoded.ids, np.int64), np.array(encoded.answers, np.int64)
        learned = answers > before
        learned[:1] = False  # nothing stands before the first token
        kept = slice(0, self.context + 1)
        example = Example(ids[kept], learned[kept]) if learned[kept].any() else None
        return example, len(ids)


def encode_pairs(
    pairs: Sequence[PreferencePair], writer: AnswerWriter
) -> EncodedPreferences[PreferencePair, EncodedPair]:
    """The pairs as tokens.

    Raises TextError naming all that the template or the tokenizer cannot write, and DataError
    where no pair is left.
    """

    def encode(pair: PreferencePair) -> tuple[EncodedPair | None, int]:
        chosen, chosen_tokens = writer.write(pair.prompt, pair.chosen)
        rejected, rejected_tokens = writer.write(pair.prompt, pair.rejected)
        tokens = max(chosen_tokens, rejected_tokens)
        if chosen is None or rejected is None or np.array_equal(chosen.ids, rejected.ids):
            return None, tokens
        return EncodedPair(chosen, rejected, pair.place), tokens

    return _encode_all(pairs, encode, context=writer.context)


def encode_votes(
    votes: Sequence[Vote], writer: AnswerWriter, *, seed: int
) -> EncodedPreferences[Vote, EncodedVote]:
    """The votes as tokens, each with its prompt before an answer to another one, by the seed.

    Raises DataError where all votes are on one prompt, and errors as `encode_pairs`.
    """
    partners = mismatched_with([vote.prompt for vote in votes], seed=seed)
    if votes and partners[0] == 0:
        raise DataError(
            "all votes are on one prompt, and KTO compares with answers to other prompts: give "
            "votes on two prompts at least"
        )
    partner_of = {id(vote): votes[other] for vote, other in zip(votes, partners, strict=True)}

    def encode(vote: Vote) -> tuple[EncodedVote | None, int]:
        answer, tokens = writer.write(vote.prompt, vote.answer)
        mismatched, _ = writer.write(vote.prompt, partner_of[id(vote)].answer)
        if answer is None or mismatched is None:
            return None, tokens
        return EncodedVote(answer, mismatched, vote.good, vote.place), tokens

    return _encode_all(votes, encode, context=writer.context)


def as_votes(pairs: Sequence[PreferencePair]) -> list[Vote]:
    """Two votes for each pair: a good one for the chosen answer, a bad one for the other."""
    return [
        Vote(f"{pair.place}, {name}", pair.prompt, answer, name == "chosen", pair.number)
        for pair in pairs
        for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected))
    ]


def _encode_all(
    records: Sequence[Record],
    encode: Callable[[Record], tuple[Encoded | None, int]],
    *,
    context: int,
) -> EncodedPreferences[Record, Encoded]:
    items, kept, lengths, empty, problems = [], [], [], [], []
    for record in records:
        try:
            item, tokens = encode(record)
        except ClocheError as exc:
            problems.append(f"{record.place}: {exc}")
            continue
        lengths.append(tokens)
        if item is None:
            empty.append(record.place)
            continue
        items.append(item)
        kept.append(record)
    if problems:
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        heading = f"{len(problems)} of {len(records)} records cannot be written:"
        raise TextError("\n  - ".join([heading, *problems[:_NAMED], *more]))
    if not items and records:
        raise DataError(
            f"nothing is left to learn: within a context of {context} tokens no answer begins, or "
            f"none differs from the other but in words unknown to the tokenizer ({empty[0]} has "
            f"{lengths[0]} tokens); use a larger --align.context, or data of the model's language"
        )
    return EncodedPreferences(tuple(items), tuple(kept), tuple(lengths), tuple(empty))
