"""The filters equal those of transformers; the draws follow the probabilities."""

import math
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from cloche.errors import SettingError
from cloche.generation import sampling
from cloche.generation.sampling import (
    answer_generator,
    divide_by_temperature,
    draw,
    filter_logits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    pick,
    pick_likeliest,
)

NO_IDS = cast("torch.LongTensor", torch.zeros(6, 1, dtype=torch.long))


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(6, 50, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("temperature", [0.1, 0.8, 1.0, 2.5])
def test_temperature_gives_the_probabilities_of_transformers(logits, temperature):
    theirs = TemperatureLogitsWarper(temperature)(NO_IDS, logits)
    ours = divide_by_temperature(logits, temperature)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("top_k", [1, 5, 49, 50, 1000])
def test_top_k_keeps_what_transformers_keeps(logits, top_k):
    logits = logits.round()  # whole numbers, so that there are ties
    torch.testing.assert_close(keep_top_k(logits, top_k), TopKLogitsWarper(top_k)(NO_IDS, logits))


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 0.999, 1.0])
def test_top_p_keeps_what_transformers_keeps(logits, top_p):
    torch.testing.assert_close(keep_top_p(logits, top_p), TopPLogitsWarper(top_p)(NO_IDS, logits))


@pytest.mark.parametrize("typical_p", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_typical_keeps_what_transformers_keeps(logits, typical_p):
    theirs = TypicalLogitsWarper(typical_p)(NO_IDS, logits)
    torch.testing.assert_close(keep_typical(logits, typical_p), theirs)
    few = keep_top_k(logits, 12)
    theirs = TypicalLogitsWarper(typical_p)(NO_IDS, few)
    torch.testing.assert_close(keep_typical(few, typical_p), theirs)


def test_typical_may_drop_the_likeliest_token():
    probs = torch.tensor([[0.4, *[0.06] * 10]])
    assert keep_typical(probs.log(), 0.5).isfinite().tolist() == [[False, *[True] * 10]]


@settings(deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=40),
    st.floats(0.001, 0.9999),
    st.integers(1, 5),
)
def test_top_p_is_the_same_however_few_tokens_are_ranked_first(values, top_p, first):
    logits = torch.tensor([values], dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_RANKS_FIRST", first)
        few = keep_top_p(logits, top_p)
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    probs = logits.softmax(dim=-1).gather(-1, order)
    dropped = probs.cumsum(-1).roll(1, -1) >= top_p
    dropped[:, 0] = False
    whole = logits.masked_fill(dropped.scatter(-1, order, dropped), -math.inf)
    assert few.tolist() == whole.tolist()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.99), st.integers(1, 5))
def test_filters_of_a_mass_are_the_same_in_any_company(seed, mass, first):
    logits = 4 * torch.randn(3, 60, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_RANKS_FIRST", first)
        for keep in (keep_top_p, keep_typical):
            together = keep(logits, mass)
            assert all(
                torch.equal(keep(row[None], mass)[0], kept)
                for row, kept in zip(logits, together, strict=True)
            )


@pytest.mark.parametrize("min_p", [0.0, 0.01, 0.3, 1.0])
def test_min_p_keeps_what_transformers_keeps(logits, min_p):
    torch.testing.assert_close(keep_min_p(logits, min_p), MinPLogitsWarper(min_p)(NO_IDS, logits))


def test_the_filters_together_equal_those_of_transformers_in_the_same_order(logits):
    theirs = logits
    for warper in (
        TemperatureLogitsWarper(0.7),
        TopKLogitsWarper(20),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.05),
        TypicalLogitsWarper(0.9),
    ):
        theirs = warper(NO_IDS, theirs)
    ours = filter_logits(logits, temperature=0.7, top_k=20, top_p=0.9, min_p=0.05, typical_p=0.9)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=1e-4, atol=1e-7)


def test_keep_top_p_keeps_the_fewest_tokens_that_reach_the_mass():
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
    assert keep_top_p(logits, top_p=0.85).isfinite().tolist() == [[False, True, True]]


def test_top_p_keeps_the_lowest_ids_of_equally_likely_tokens():
    kept = keep_top_p(torch.zeros(1, 4), top_p=0.5).isfinite()
    assert kept.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e30, 1e300])
def test_extreme_temperatures_still_give_probabilities(logits, temperature):
    masked = keep_top_k(logits, 10)
    probs = divide_by_temperature(masked, temperature).softmax(-1)
    torch.testing.assert_close(probs.sum(-1), torch.ones(6))
    assert probs.argmax(-1).tolist() == logits.argmax(-1).tolist() or temperature > 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: divide_by_temperature(x, 0.0), "temperature must be above 0"),
        (lambda x: keep_top_k(x, 0), "top_k must be at least 1, got 0"),
        (lambda x: keep_top_p(x, 0.0), r"top_p must be in \(0, 1\], got 0.0"),
        (lambda x: keep_top_p(x, 1.5), "got 1.5"),
        (lambda x: keep_typical(x, 0.0), r"typical_p must be in \(0, 1\], got 0.0"),
        (lambda x: keep_min_p(x, -0.1), r"min_p must be in \[0, 1\], got -0.1"),
    ],
)
def test_a_setting_out_of_range_is_refused(logits, call, said):
    with pytest.raises(SettingError, match=said):
        call(logits)


def test_greedy_takes_the_lowest_id_of_a_tie():
    assert pick_likeliest(torch.tensor([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]])).tolist() == [1, 0]


def uniforms(count: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def p_value(counts: torch.Tensor, probs: torch.Tensor) -> float:
    """How likely draws with these probabilities are to miss them by as much as these counts."""
    assert counts[probs == 0].sum() == 0
    expected = probs[probs > 0].double() / probs.double().sum() * counts.sum()
    return chisquare(counts[probs > 0].double().numpy(), expected.numpy()).pvalue


def kept_by_definition(probs: list[float], **chosen: float) -> list[float]:
    """The filters as their papers write them, one token after the other."""
    order = sorted(range(len(probs)), key=lambda i: -probs[i])
    if "top_k" in chosen:
        dropped = order[int(chosen["top_k"]) :]
    elif "min_p" in chosen:
        dropped = [i for i in order if probs[i] < chosen["min_p"] * max(probs)]
    else:
        if "typical_p" in chosen:
            entropy = -sum(p * math.log(p) for p in probs)
            order.sort(key=lambda i: abs(-math.log(probs[i]) - entropy))
        mass = chosen.get("top_p", chosen.get("typical_p", 1.0))
        sums = [sum(probs[i] for i in order[:rank]) for rank in range(len(order))]
        dropped = [i for i, before in zip(order, sums, strict=True) if before >= mass]
    return [0.0 if i in dropped else p for i, p in enumerate(probs)]


@pytest.mark.parametrize(
    "filters",
    [{}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.2}, {"typical_p": 0.5}],
    ids=lambda chosen: next(iter(chosen), "temperature"),
)
@pytest.mark.parametrize("temperature", [0.7, 1.6])
def test_draws_follow_the_exact_probabilities(filters, temperature):
    draws = 20_000
    logits = torch.tensor([0.3, -1.0, 2.0, 1.1, -0.4, 1.7, 0.0, -2.5])
    shares = [math.exp(value / temperature) for value in logits.tolist()]
    exact = kept_by_definition([share / sum(shares) for share in shares], **filters)
    filtered = filter_logits(logits[None], temperature=temperature, **filters)
    drawn = pick(filtered.expand(draws, -1), uniforms(draws))
    assert p_value(drawn.bincount(minlength=8), torch.tensor(exact)) > 1e-4


def test_draws_reach_every_id_of_a_large_vocabulary_evenly():
    draws, vocab = 2000, 50_000
    numbers = uniforms(draws, seed=3).split(50)
    ids = torch.cat([pick(torch.zeros(50, vocab), some) for some in numbers])
    assert p_value((ids * 10 // vocab).bincount(minlength=10), torch.ones(10)) > 1e-4


@pytest.mark.parametrize("top_k", [None, 1, 7, 30, 60])
@pytest.mark.parametrize("others", [{}, {"top_p": 0.8, "min_p": 0.05}, {"typical_p": 0.7}])
def test_looking_at_the_top_k_alone_draws_what_looking_at_all_draws(top_k, others):
    logits = 2 * torch.randn(200, 60, generator=torch.Generator().manual_seed(8))
    logits[::3] = logits[::3].round()  # whole numbers tie, also with the last of the k
    filtered = filter_logits(logits, temperature=0.9, top_k=top_k, **others)
    ids, logprobs = draw(logits, uniforms(200), temperature=0.9, top_k=top_k, **others)
    assert ids.tolist() == pick(filtered, uniforms(200)).tolist()
    expected = filtered.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected, rtol=1e-4, atol=1e-6)
    for row in range(6):
        alone = draw(logits[[row]], uniforms(200)[[row]], temperature=0.9, top_k=top_k, **others)
        assert (alone[0].item(), alone[1].item()) == (ids[row].item(), logprobs[row].item())


def test_a_row_draws_the_same_alone_and_in_a_batch(logits):
    numbers = uniforms(6)
    alone = [pick(logits[[row]], numbers[[row]]).item() for row in range(6)]
    assert pick(logits, numbers).tolist() == alone


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53])
def test_a_dropped_token_is_never_drawn_at_either_end(number):
    logits = torch.tensor([[-math.inf, 0.3, -math.inf, 0.1, -math.inf]])
    for scale in (1.0, 0.1, 3.0, 30.0):
        drawn = pick(logits * scale, torch.tensor([number], dtype=torch.float64)).item()
        assert drawn in (1, 3)


def test_ids_share_the_unit_interval_in_their_order():
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log().expand(4, -1)
    numbers = torch.tensor([0.1, 0.21, 0.49, 0.51], dtype=torch.float64)
    assert pick(logits, numbers).tolist() == [0, 1, 1, 2]


def test_each_seed_and_choice_has_its_own_random_numbers():
    seeds = [(0, 0), (0, 1), (1, 0), (-1, 0), (2**80, 0), (1, 10), (11, 0)]
    first = [torch.rand(1, generator=answer_generator(*pair)).item() for pair in seeds]
    again = [torch.rand(1, generator=answer_generator(*pair)).item() for pair in seeds]
    assert first == again
    assert len(set(first)) == len(seeds)
