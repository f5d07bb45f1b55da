"""The Bradley-Terry loss: by hand, over rankings, in parts, and as TRL has it."""

import math

import numpy as np
import pytest
import torch

from cloche.alignment.scoring import RankedAnswers, RankedGroup, lay_out_groups
from cloche.errors import DataError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.scorer import Scorer, make_scorer
from cloche.tuning.classify_scoring import score_examples, scored_example

PAIR = ((0, 1),)
RANKING = ((0, 1), (0, 2), (1, 2))


@pytest.fixture
def scorer() -> Scorer:
    config = complete(ModelOptions(), vocab_size=30, layers=2, width=32, context=16)
    torch.manual_seed(0)
    decoder = build_model(config)
    assert isinstance(decoder, Decoder)
    return make_scorer(decoder, 1, seed=3)


def group(*lengths: int, pairs: tuple[tuple[int, int], ...], seed: int = 0) -> RankedGroup:
    generator = np.random.default_rng(seed)
    texts = [generator.integers(0, 30, length).tolist() for length in lengths]
    return RankedGroup(tuple(map(scored_example, texts)), pairs)


def total(scorer: Scorer, groups: list[RankedGroup], *, center: float = 0.0) -> torch.Tensor:
    objective = RankedAnswers(center=center)
    batch = lay_out_groups(groups)
    losses = objective(scorer, batch)
    assert {name: term.count for name, term in losses.terms.items()} == objective.counts(batch)
    return torch.stack([t.weight * t.sum / t.count for t in losses.terms.values()]).sum()


def value(scorer: Scorer, groups: list[RankedGroup]) -> torch.Tensor:
    return total(scorer, groups).detach()


def test_the_loss_of_a_pair_is_that_of_the_difference_of_its_scores(scorer):
    pair = group(5, 8, pairs=PAIR)
    better, worse = score_examples(scorer, pair.examples)[:, 0].tolist()
    expected = -math.log(1 / (1 + math.exp(worse - better)))
    assert float(value(scorer, [pair])) == pytest.approx(expected, rel=1e-5)


def test_all_pairs_of_a_ranking_weigh_as_much_as_one_pair(scorer):
    ranking, pair = group(4, 6, 5, pairs=RANKING), group(7, 3, pairs=PAIR, seed=1)
    scores = score_examples(scorer, ranking.examples)[:, 0]
    margins = torch.stack([scores[a] - scores[b] for a, b in RANKING])
    of_ranking = -margins.sigmoid().log().mean()
    both = (of_ranking + value(scorer, [pair])) / 2
    torch.testing.assert_close(value(scorer, [ranking, pair]), both, rtol=1e-5, atol=1e-6)


def test_parts_of_a_step_add_up_to_the_whole_step(scorer):
    groups = [group(4, 6, 5, pairs=RANKING), group(7, 3, pairs=PAIR, seed=1)]
    objective = RankedAnswers(center=0.1)
    whole = objective(scorer, lay_out_groups(groups)).terms
    parts = [objective(scorer, lay_out_groups([part])).terms for part in groups]
    for name, term in whole.items():
        torch.testing.assert_close(term.sum, sum((p[name].sum for p in parts), torch.zeros(())))
        assert term.count == sum(part[name].count for part in parts)


def test_rows_change_no_score(scorer):
    texts = group(4, 6, 5, 9, 1, pairs=RANKING).examples
    together = score_examples(scorer, texts)
    alone = torch.cat([score_examples(scorer, [text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_group_without_a_preference_is_refused():
    with pytest.raises(DataError, match="no answer is preferred"):
        group(3, 3, pairs=())


def test_a_reward_model_learns_one_batch(scorer):
    groups = [group(5, 5, pairs=PAIR, seed=seed) for seed in range(6)]
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        total(scorer, groups).backward()
        optimizer.step()
    assert float(value(scorer, groups)) < 0.1
