"""The counted model against a slow, literal account of the same smoothing."""

import math
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.data.batches import TokensInMemory
from cloche.errors import SettingError
from cloche.model.build import build_model, parameter_count
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelOptions, Smoothing
from cloche.model.presets import complete
from cloche.planning import flops
from cloche.training.counted_model import count_model
from cloche.training.smoothing import estimate_discounts

VOCAB = 5
in_a_folder = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
texts = st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=40)


def config_of(order=3, smoothing: Smoothing = "kneser-ney", vocab_size=VOCAB):
    options = ModelOptions(family="ngram", order=order, smoothing=smoothing)
    return complete(options, vocab_size=vocab_size, layers=1, width=1, context=1)


def built(text, folder, *, ends=(), separated=False, most=10_000, **chosen):
    ends = np.array(ends or [len(text)])
    tokens = TokensInMemory(np.array(text, np.uint16), ends, separated)
    return count_model(config_of(**chosen), tokens, max_ngrams=most, folder=folder).eval()


class Literal:
    """Probabilities of one document's n-grams, by the formulas, from dictionaries."""

    def __init__(self, text, order):
        self.order = order
        self.counts = []
        for length in range(1, order + 1):
            grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
            lefts = {(text[i - 1] if i else "beginning", *gram) for i, gram in enumerate(grams)}
            places = Counter(gram[1:] for gram in lefts)
            self.counts.append(Counter(grams) if length == order else places)
        self.probability = lru_cache(None)(self._probability)

    def additive(self, context, token):
        length = min(len(context), self.order - 1)
        context = context[len(context) - length :]
        after = {g[-1]: c for g, c in self.counts[length].items() if g[:-1] == context}
        return (after.get(token, 0) + 1) / (sum(after.values()) + VOCAB)

    def _probability(self, context, token):
        """Interpolated Kneser-Ney after at most order - 1 tokens."""
        context = context[max(0, len(context) - self.order + 1) :]
        below = self.probability(context[1:], token) if context else 1 / VOCAB
        counts = self.counts[len(context)]
        after = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        if not after:
            return below
        histogram = Counter(counts.values())
        discounts = estimate_discounts(tuple(histogram[n] for n in (1, 2, 3, 4)))
        total = sum(after.values())
        kept_back = sum(discounts[min(count, 3) - 1] for count in after.values())
        own = after.get(token, 0)
        taken = own - discounts[min(own, 3) - 1] if own else 0.0
        return taken / total + kept_back / total * below


@in_a_folder
@given(text=texts, order=st.integers(1, 5), probe=texts)
def test_kneser_ney_is_the_literal_formula(tmp_path, text, order, probe):
    model, literal = built(text, tmp_path, order=order), Literal(text, order)
    logits = model(torch.tensor([probe]))[0]
    for place in range(len(probe)):
        expected = [literal.probability(tuple(probe[: place + 1]), t) for t in range(VOCAB)]
        if order == 1:
            expected = [literal.probability((), token) for token in range(VOCAB)]
        np.testing.assert_allclose(logits[place].exp().numpy(), expected, rtol=2e-5)


@in_a_folder
@given(text=texts, order=st.integers(1, 4), probe=texts)
def test_additive_is_counts_plus_one(tmp_path, text, order, probe):
    model = built(text, tmp_path, order=order, smoothing="additive")
    literal = Literal(text, order)
    for length in range(1, order):  # raw counts at every order
        grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
        literal.counts[length - 1] = Counter(grams)
    logits = model(torch.tensor([probe]))[0]
    for place in range(len(probe)):
        expected = [literal.additive(tuple(probe[: place + 1]), t) for t in range(VOCAB)]
        np.testing.assert_allclose(logits[place].exp().numpy(), expected, rtol=2e-5)


@in_a_folder
@given(
    text=texts,
    order=st.integers(1, 10),
    most=st.integers(1, 60),
    smoothing=st.sampled_from(["kneser-ney", "additive"]),
    probe=texts,
)
def test_any_distribution_sums_to_one_and_leaves_nothing_out(
    tmp_path, text, order, most, smoothing, probe
):
    model = built(text, tmp_path, order=order, most=most, smoothing=smoothing)
    logits = model(torch.tensor([probe]))[0]
    assert logits.isfinite().all()
    np.testing.assert_allclose(logits.exp().sum(-1).numpy(), 1.0, rtol=1e-5)


@in_a_folder
@given(text=texts, probe=texts, smoothing=st.sampled_from(["kneser-ney", "additive"]))
def test_one_target_alone_has_the_probability_it_has_among_all(tmp_path, text, probe, smoothing):
    model = built(text, tmp_path, order=4, smoothing=smoothing)
    ids = torch.tensor([probe])
    targets = torch.tensor([[*probe[1:], 0]])
    alone = model.likelihoods(model.hidden(ids), targets)
    among_all = model(ids).gather(-1, targets[..., None])[..., 0].exp()
    torch.testing.assert_close(alone, among_all, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", [1, 2, 3, 10])
def test_cached_equals_uncached_in_ragged_rows_of_any_type(tmp_path, order, dtype):
    generator = torch.Generator().manual_seed(3)
    text = torch.randint(70_000, (600,), generator=generator) % 9 + 69_000  # ids of three bytes
    tokens = TokensInMemory(text.numpy().astype(np.uint32), np.array([600]), separated=False)
    config = config_of(order=order, vocab_size=70_000)
    model = count_model(config, tokens, max_ngrams=10_000, folder=tmp_path).eval().to(dtype)
    first, second = text[:12], text[100:107]
    cache = KeyValueCache(config, rows=3, capacity=20, dtype=dtype)
    rows = [cache.allocate() for _ in range(3)][1:]
    got = {row: [] for row in rows}
    for a, b, c, d in ((0, 5, 0, 1), (5, 6, 1, 4), (6, 12, 4, 7)):
        pieces = [first[a:b], second[c:d]]
        batch = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        hidden = model.hidden(batch, cache=cache.view(rows, [b - a, d - c]))
        for row, found, piece in zip(rows, hidden, pieces, strict=True):
            got[row].append(found[: len(piece)])
    for row, whole in zip(rows, (first, second), strict=True):
        assert torch.equal(torch.cat(got[row]), model.hidden(whole[None])[0])
    assert cache.lengths == (0, 12, 7)


def test_ids_of_no_token_are_refused_and_leave_the_cache_alone(tmp_path):
    model = built([0, 1, 2], tmp_path)
    cache = KeyValueCache(model.config, rows=1, capacity=8)
    row = cache.allocate()
    for foreign in (-1, VOCAB):
        with pytest.raises(IndexError, match="0 to 4"):
            model.hidden(torch.tensor([[foreign]]), cache=cache.view([row], [1]))
    assert cache.lengths == (0,)


def test_packed_documents_equal_each_alone(tmp_path):
    text = [0, 1, 2, 3, 0, 1, 1, 2, 0, 3, 1, 2]
    model = built(text, tmp_path, order=4)
    one, other = [0, 1, 2], [3, 0, 1, 2]
    packed = model(
        torch.tensor([one + other]), documents=torch.tensor([[4] * len(one) + [5] * len(other)])
    )[0]
    apart = torch.cat([model(torch.tensor([document]))[0] for document in (one, other)])
    assert torch.equal(packed, apart)
    assert not torch.equal(packed, model(torch.tensor([one + other]))[0])


def test_text_after_an_unseen_word_is_judged_by_the_order_below(tmp_path):
    model = built([0, 1, 2, 0, 1, 3], tmp_path)
    unseen = model(torch.tensor([[4, 1]]))[0, -1]  # no text holds 4
    assert torch.equal(unseen, model(torch.tensor([[1]]))[0, -1])


def test_a_full_vocabulary_row_is_put_together_in_portions(tmp_path, monkeypatch):
    text = [0, 1, 2, 3, 0, 2, 1, 3, 3, 2, 1, 0]
    model, ids = built(text, tmp_path), torch.tensor([text, text[::-1]])
    whole = model(ids)
    monkeypatch.setattr("cloche.model.ngram.GATHERED", 3)
    assert torch.equal(model(ids), whole)


def test_the_number_of_parameters_is_that_of_the_ngrams(tmp_path):
    model = built([0, 1, 0, 1, 2], tmp_path)
    assert model.config.ngrams == (VOCAB, 3, 3)  # 01 10 12; 010 101 012
    assert parameter_count(model) == flops.parameter_count(model.config) == VOCAB + 6
    assert flops.flops_per_token(model.config) == flops.matrix_parameters(model.config) == 0


def test_a_model_without_counts_guesses_evenly():
    logits = build_model(config_of())(torch.tensor([[1, 2]]))
    torch.testing.assert_close(logits, torch.full((1, 2, VOCAB), -math.log(VOCAB)))


def test_what_does_not_fit_a_family_is_refused_by_name():
    problems = ModelOptions(family="ngram", layers=2, width=64).problems()
    assert any("model.layers has no meaning with model.family ngram" in text for text in problems)
    assert any("model.width" in text for text in problems)
    for family in ("qwen3", "gpt", "bigram"):
        assert "model.order" in ModelOptions(family=family, order=3).problems()[0]
    assert "at most 10" in ModelOptions(family="ngram", order=11).problems()[0]
    options = ModelOptions(family="ngram", order=8, context=15)
    with pytest.raises(SettingError, match="at least twice"):
        complete(options, vocab_size=9, layers=1, width=1, context=1)
    with pytest.raises(SettingError, match="stores as many"):
        build_model(replace(config_of(), ngrams=(VOCAB, 3)))
