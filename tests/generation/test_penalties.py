"""Penalties equal those of transformers, and what they remember grows with the answer."""

from typing import cast

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from transformers import RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor

from cloche.generation.penalties import (
    Bias,
    PresenceAndFrequencyPenalty,
    RepetitionPenalty,
    TokenCounts,
)

VOCAB = 20
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=50)


def random_logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))


def as_rows(ids: list[int]) -> torch.LongTensor:
    return cast("torch.LongTensor", torch.tensor([ids]))


@settings(deadline=None)
@given(
    TOKENS.filter(bool), TOKENS, st.floats(0.1, 10).filter(lambda p: p != 1), st.integers(0, 999)
)
def test_repetition_penalty_equals_that_of_transformers(prompt, answer, penalty, seed):
    rule = RepetitionPenalty(penalty, prompt=prompt)
    for token_id in answer:
        rule.accept(token_id)
    logits = random_logits(seed)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(as_rows(prompt + answer), logits[None])[0]
    torch.testing.assert_close(rule.apply(logits), theirs)


def test_prompt_tokens_beyond_the_vocabulary_are_passed_over():
    logits = random_logits(1)
    applied = RepetitionPenalty(2.0, prompt=[3, VOCAB + 5]).apply(logits)
    assert (applied != logits).nonzero().flatten().tolist() == [3]


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), min_size=1))
def test_bias_equals_that_of_transformers(bias):
    logits = random_logits(2)
    processor = SequenceBiasLogitsProcessor([[[i], value] for i, value in bias.items()])
    theirs = processor(as_rows([0]), logits[None])[0]
    torch.testing.assert_close(Bias(list(bias.items())).apply(logits), theirs)


@settings(deadline=None)
@given(TOKENS, st.floats(-2, 2), st.floats(-2, 2))
def test_presence_and_frequency_are_taken_away_as_openai_says(answer, presence, frequency):
    rule = PresenceAndFrequencyPenalty(presence=presence, frequency=frequency)
    for token_id in answer:
        rule.accept(token_id)
    logits = random_logits(3)
    counts = torch.tensor([answer.count(i) for i in range(VOCAB)])
    expected = logits - presence * (counts > 0) - frequency * counts
    torch.testing.assert_close(rule.apply(logits), expected)


@settings(deadline=None)
@given(TOKENS, TOKENS)
def test_counts_are_those_of_all_tokens_given_and_added(given_first, added):
    counts = TokenCounts(given_first)
    for token_id in added:
        counts.add(token_id)
    found = dict(zip(counts.ids.tolist(), counts.counts.tolist(), strict=True))
    everything = given_first + added
    assert found == {token_id: everything.count(token_id) for token_id in everything}


@pytest.mark.parametrize(
    "rule",
    [
        Bias([(1, 5.0)]),
        RepetitionPenalty(2.0, prompt=[1, 2]),
        PresenceAndFrequencyPenalty(presence=1.0, frequency=1.0),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_the_logits_given_are_left_as_they_are(rule):
    rule.accept(3)
    logits = random_logits(4)
    before = logits.clone()
    rule.apply(logits)
    assert torch.equal(logits, before)
