"""Continuations scored together get what each gets alone, and what the definition says."""

import pytest
import torch

from cloche.evaluation import continuations
from cloche.evaluation.continuations import score_continuations
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM

PAIRS = [
    ([1, 2, 3], [4]),
    ([1, 2, 3], [5]),  # reads the same tokens as the one before
    ([1, 2], [3, 9]),  # and so does this
    ([7], [8, 9, 10, 11]),
    (list(range(1, 60)), [3, 4]),  # longer than the context
    ([5], [6]),
    ([1, 2, 3], [4]),  # asked twice
]


def scored(lm: LM, pairs, *, rows=3) -> list[tuple[float, bool]]:
    return score_continuations(lm, pairs, rows=rows, progress=lambda count: None)


def by_definition(lm: LM, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    ids = [*context, *continuation][-(lm.config.context + 1) :]
    logits = lm.logits(ids[:-1])[-len(continuation) :]
    target = torch.tensor(continuation)
    logprobs = logits.log_softmax(-1)[torch.arange(len(target)), target]
    return float(logprobs.sum()), bool((logits.argmax(-1) == target).all())


def assert_equal(found, expected):
    assert [total for total, _ in found] == pytest.approx([t for t, _ in expected], abs=1e-4)
    assert [likeliest for _, likeliest in found] == [likeliest for _, likeliest in expected]


def test_each_is_the_sum_of_its_log_probabilities(lm):
    assert_equal(scored(lm, PAIRS), [by_definition(lm, *pair) for pair in PAIRS])


def test_company_rows_and_order_make_no_difference(lm):
    together = scored(lm, PAIRS)
    assert_equal(together, [scored(lm, [pair])[0] for pair in PAIRS])
    assert_equal(together, scored(lm, PAIRS, rows=1))
    assert_equal(together, scored(lm, PAIRS[::-1], rows=100)[::-1])


def test_logits_made_one_row_at_a_time_give_the_same(lm, monkeypatch):
    together = scored(lm, PAIRS)
    monkeypatch.setattr(continuations, "SCORED_NUMBERS", 1)
    monkeypatch.setattr(continuations, "TOKENS_AT_ONCE", 1)
    assert_equal(together, scored(lm, PAIRS))


def test_logits_are_never_made_of_more_than_a_few_rows(lm, monkeypatch):
    monkeypatch.setattr(continuations, "SCORED_NUMBERS", 2 * lm.config.vocab_size)
    made = []
    head = lm.model.head

    def watched(hidden):
        made.append(len(hidden))
        return head(hidden)

    monkeypatch.setattr(lm.model, "head", watched)
    scored(lm, PAIRS)
    assert max(made) == 2
    assert sum(made) == sum(len(continuation) for _, continuation in PAIRS)


def test_what_greedy_decoding_writes_is_the_likeliest(lm):
    ids = [1, 2]
    for _ in range(4):
        ids.append(int(lm.logits(ids)[-1].argmax()))
    other = (ids[-1] + 1) % lm.config.vocab_size
    found = scored(lm, [(ids[:2], ids[2:]), (ids[:2], [*ids[2:-1], other])])
    assert [likeliest for _, likeliest in found] == [True, False]


def test_progress_counts_every_pair_and_nothing_is_nothing(lm):
    counts: list[int] = []
    score_continuations(lm, PAIRS, rows=2, progress=counts.append)
    assert sum(counts) == len(PAIRS)
    assert scored(lm, []) == []


@pytest.mark.parametrize("pair", [([1], []), ([], [1]), ([1], [2] * 49)])
def test_what_has_no_likelihood_is_refused(lm, pair):
    with pytest.raises(ValueError, match="one before them"):
        scored(lm, [pair])


@pytest.mark.parametrize("family", ["moe", "gpt2", "gpt", "bigram", "llama"])
def test_padding_has_no_influence_in_any_family(lm, family):
    options = ModelOptions(family=family)
    config = complete(options, vocab_size=64, layers=2, width=32, context=48)
    torch.manual_seed(2)
    other = LM(build_model(config).eval(), lm.tokenizer, config, lm.folder)
    assert_equal(scored(other, PAIRS, rows=9), [by_definition(other, *pair) for pair in PAIRS])
