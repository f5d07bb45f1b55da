"""The filters equal those of transformers; the draws follow the probabilities."""

import math
from typing import cast

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cloche.errors import SettingError
from cloche.generation.sampling import (
    answer_generator,
    divide_by_temperature,
    filter_logits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
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
    ):
        theirs = warper(NO_IDS, theirs)
    ours = filter_logits(logits, temperature=0.7, top_k=20, top_p=0.9, min_p=0.05)
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
        (lambda x: keep_min_p(x, -0.1), r"min_p must be in \[0, 1\], got -0.1"),
    ],
)
def test_a_setting_out_of_range_is_refused(logits, call, said):
    with pytest.raises(SettingError, match=said):
        call(logits)


def test_greedy_takes_the_lowest_id_of_a_tie():
    assert pick_likeliest(torch.tensor([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]])).tolist() == [1, 0]


def test_draws_follow_the_probabilities():
    probs = torch.tensor([0.5, 0.25, 0.2, 0.05, 0.0])
    draws = 4000
    logits = probs.log().expand(draws, -1)
    generator = torch.Generator().manual_seed(0)  # shared: only the frequencies matter here
    counts = pick(logits, [generator] * draws).bincount(minlength=5)
    assert counts[4] == 0
    expected = probs[:4] * draws
    chi_square = ((counts[:4] - expected) ** 2 / expected).sum().item()
    assert chi_square < 11.34  # the 99th percentile for 3 degrees of freedom


def test_draws_reach_every_id_of_a_large_vocabulary_evenly():
    draws, vocab = 2000, 50_000
    generator = torch.Generator().manual_seed(3)
    ids = torch.cat([pick(torch.zeros(50, vocab), [generator] * 50) for _ in range(draws // 50)])
    counts = (ids * 10 // vocab).bincount(minlength=10)
    chi_square = ((counts - draws / 10) ** 2 / (draws / 10)).sum().item()
    assert chi_square < 21.67  # the 99th percentile for 9 degrees of freedom


def test_a_row_draws_the_same_alone_and_in_a_batch(logits):
    alone = [pick(logits[[row]], [answer_generator(7, row)]).item() for row in range(6)]
    batch = pick(logits, [answer_generator(7, row) for row in range(6)])
    assert batch.tolist() == alone


def test_a_dropped_token_is_never_drawn_at_either_end():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).expand(500, -1)
    drawn = pick(logits, [torch.Generator().manual_seed(2)] * 500)
    assert set(drawn.tolist()) == {1, 3}


def test_each_seed_and_choice_has_its_own_random_numbers():
    seeds = [(0, 0), (0, 1), (1, 0), (-1, 0), (2**80, 0), (1, 10), (11, 0)]
    first = [torch.rand(1, generator=answer_generator(*pair)).item() for pair in seeds]
    again = [torch.rand(1, generator=answer_generator(*pair)).item() for pair in seeds]
    assert first == again
    assert len(set(first)) == len(seeds)
