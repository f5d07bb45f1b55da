"""Pairs and votes in batches: how they lie changes no number, and what is mismatched is so."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.alignment.preference_batches import (
    EncodedPair,
    EncodedVote,
    answer_lengths,
    lay_out_pairs,
    lay_out_votes,
    mismatched_with,
)
from cloche.alignment.preference_objectives import (
    PreferredAnswers,
    VotedAnswers,
    answer_logprobs,
)
from cloche.data.examples import Example
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

VOCAB = 23


def some_example(generator: np.random.Generator) -> Example:
    ids = generator.integers(VOCAB, size=int(generator.integers(3, 12)))
    return Example(ids, np.arange(len(ids)) >= 2)


@pytest.fixture(name="pairs")
def some_pairs() -> list[EncodedPair]:
    generator = np.random.default_rng(3)
    return [EncodedPair(some_example(generator), some_example(generator)) for _ in range(8)]


@pytest.fixture(name="reference")
def some_reference() -> torch.Tensor:
    return -20.0 * torch.rand(8, 2, generator=torch.Generator().manual_seed(5)) - 10.0


@pytest.fixture(name="model")
def a_model():
    torch.manual_seed(0)
    config = complete(ModelOptions(), vocab_size=VOCAB, layers=2, width=16, context=16)
    model = build_model(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def gradients(model, objective, batches):
    """The gradient of all batches as one step's: each sum divided once by the whole count."""
    model.zero_grad()
    count = sum(objective.counts(batch)["loss"] for batch in batches)
    for batch in batches:
        (objective(model, batch).terms["loss"].sum / count).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_packed_separate_and_in_parts_are_the_same_step(loss, model, pairs, reference):
    objective = PreferredAnswers(loss, beta=0.3)
    whole = gradients(model, objective, [lay_out_pairs(pairs, reference, row_tokens=64)])
    separate = gradients(model, objective, [lay_out_pairs(pairs, reference, row_tokens=1)])
    parts = [
        lay_out_pairs(pairs[n : n + 2], reference[n : n + 2], row_tokens=32) for n in (0, 2, 4, 6)
    ]
    torch.testing.assert_close(whole, separate)
    torch.testing.assert_close(whole, gradients(model, objective, parts))


def test_tokens_are_counted_and_bear_no_loss(model, pairs, reference):
    batch = lay_out_pairs(pairs, reference, row_tokens=64)
    term = PreferredAnswers()(model, batch).terms["tokens"]
    assert term.count == int(answer_lengths(batch).sum())
    assert term.count == sum(int(e.learned.sum()) for pair in pairs for e in pair.examples)
    assert term.weight == 0.0


def test_an_example_is_the_same_whatever_its_pair_lies_beside(model, pairs, reference):
    objective = PreferredAnswers(beta=0.3)
    batch = lay_out_pairs(pairs, reference, row_tokens=64)
    losses = objective(model, batch).terms["loss"].sum.item()
    alone = [
        lay_out_pairs([pair], reference[n : n + 1], row_tokens=1) for n, pair in enumerate(pairs)
    ]
    apart = sum(objective(model, one).terms["loss"].sum.item() for one in alone)
    assert losses == pytest.approx(apart, rel=1e-5)


def test_a_vote_is_compared_with_what_mismatched_answers_have_gained(model, pairs, reference):
    votes = [EncodedVote(p.chosen, p.rejected, good=n % 2 == 0) for n, p in enumerate(pairs)]
    batch = lay_out_votes(votes, reference, row_tokens=64)
    found = VotedAnswers(beta=0.2)(model, batch)
    nearer = replace(batch, reference=reference - torch.tensor([0.0, 3.0]))
    assert VotedAnswers(beta=0.2)(model, nearer).metrics["train/divergence"] == pytest.approx(
        max(0.0, raw_divergence(model, batch) + 3.0), rel=1e-4
    )
    assert found.metrics["train/divergence"] == pytest.approx(
        max(0.0, raw_divergence(model, batch)), rel=1e-4
    )


def raw_divergence(model, batch) -> float:
    with torch.no_grad():
        return float((answer_logprobs(model, batch.mismatched) - batch.reference[:, 1]).mean())


@given(prompts=st.lists(st.sampled_from("abc"), min_size=1, max_size=30), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_mismatched_answer_is_to_another_prompt_wherever_there_is_one(prompts, seed):
    found = mismatched_with(prompts, seed=seed)
    assert found == mismatched_with(prompts, seed=seed)
    if len(set(prompts)) == 1:
        assert found == list(range(len(prompts)))
    else:
        assert all(prompts[other] != own for own, other in zip(prompts, found, strict=True))
