"""Sequences that must not come never do, as in transformers; those that must always do."""

import random
from typing import cast

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
)

from cloche.generation.sequences import (
    BannedSequences,
    ForcedWords,
    MinimumLength,
    NoRepeatedNGrams,
)

VOCAB = 4
END = 3
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=12)
SEQUENCES = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4), min_size=1, max_size=5
)
LOGITS = torch.tensor([0.5, -1.0, 2.0, 0.1])


def as_rows(ids: list[int]) -> torch.LongTensor:
    return cast("torch.LongTensor", torch.tensor([ids]))


@settings(deadline=None)
@given(TOKENS.filter(bool), TOKENS, st.integers(1, 5))
def test_no_repeated_ngrams_equal_those_of_transformers(prompt, answer, size):
    rule = NoRepeatedNGrams(size, prompt=prompt)
    for token_id in answer:
        rule.accept(token_id)
    theirs = NoRepeatNGramLogitsProcessor(size)(as_rows(prompt + answer), LOGITS[None])[0]
    assert rule.apply(LOGITS).tolist() == theirs.tolist()


@settings(deadline=None)
@given(TOKENS.filter(bool), TOKENS, SEQUENCES)
def test_bans_equal_those_of_transformers(prompt, answer, banned):
    rule = BannedSequences(banned, prompt=prompt)
    for token_id in answer:
        rule.accept(token_id)
    theirs = NoBadWordsLogitsProcessor(banned)(as_rows(prompt + answer), LOGITS[None])[0]
    assert rule.apply(LOGITS).tolist() == theirs.tolist()


@settings(deadline=None)
@given(st.integers(1, 6), TOKENS)
def test_minimum_length_equals_that_of_transformers(tokens, answer):
    rule = MinimumLength(tokens, stop_ids=[END])
    for token_id in answer:
        rule.accept(token_id)
    processor = MinNewTokensLengthLogitsProcessor(1, tokens, END)
    theirs = processor(as_rows([0, *answer]), LOGITS[None])[0]
    assert rule.apply(LOGITS).tolist() == theirs.tolist()
    assert rule.must_go_on == (len(answer) < tokens)


def test_ids_beyond_the_vocabulary_are_no_tokens_to_forbid():
    assert MinimumLength(1, stop_ids=[END, 999]).apply(LOGITS)[END] == -torch.inf


def write(words: list[list[int]], *, max_tokens: int, seed: int) -> list[int]:
    """What comes of drawing evenly among all the tokens that the forced words leave."""
    rule = ForcedWords(words, max_tokens=max_tokens, stop_ids=[END])
    chance = random.Random(seed)
    answer: list[int] = []
    while len(answer) < max_tokens and (not answer or answer[-1] != END):
        left = rule.apply(LOGITS).isfinite().nonzero().flatten().tolist()
        answer.append(chance.choice(left))
        rule.accept(answer[-1])
    assert not rule.must_go_on
    return answer


def holds(answer: list[int], word: list[int]) -> bool:
    starts = range(len(answer) - len(word) + 1)
    return any(answer[start : start + len(word)] == word for start in starts)


WORDS = st.lists(st.lists(st.integers(0, END - 1), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(deadline=None)
@given(WORDS, st.integers(0, 12), st.integers(0, 999))
def test_every_forced_word_is_in_the_answer_however_little_room_there_is(words, room, seed):
    needed = sum(len(word) for word in {tuple(word) for word in words})
    answer = write(words, max_tokens=needed + room, seed=seed)
    assert all(holds(answer, word) for word in words)


def test_forced_words_leave_the_model_free_while_there_is_room():
    rule = ForcedWords([[0, 1]], max_tokens=10, stop_ids=[END])
    assert rule.apply(LOGITS).isfinite().tolist() == [True, True, True, False]
    for token_id in (0, 1):
        rule.accept(token_id)
    assert torch.equal(rule.apply(LOGITS), LOGITS)


def test_a_word_begun_is_gone_on_with_when_room_runs_short():
    rule = ForcedWords([[1, 1], [0, 0, 2]], max_tokens=7, stop_ids=[END])
    rule.accept(0)
    rule.accept(0)  # five are left, and the words take five: a free token could undo the zeros
    assert rule.apply(LOGITS).isfinite().tolist() == [False, False, True, False]
