"""Advantages are the papers' sums, written out token by token."""

import math
import random

import pytest
import torch

from cloche.alignment.advantages import (
    generalised_advantages,
    group_advantages,
    undecided_groups,
    whitened,
)


def advantages_by_the_paper(
    rewards: list[float], values: list[float], *, discount: float, trace: float
) -> list[float]:
    """Equation 16 as it stands: a sum, for each token, over all that follow."""
    padded = [*values, 0.0]
    surprises = [
        reward + discount * padded[place + 1] - padded[place]
        for place, reward in enumerate(rewards)
    ]
    return [
        sum(
            (discount * trace) ** (later - place) * surprises[later]
            for later in range(place, len(rewards))
        )
        for place in range(len(rewards))
    ]


@pytest.mark.parametrize(("discount", "trace"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_are_the_papers_whatever_lies_behind_an_answer(discount, trace):
    chance = random.Random(1)
    lengths = [5, 1, 3]
    rewards, values = torch.full((3, 5), 9.0), torch.full((3, 5), -7.0)
    written = torch.zeros(3, 5, dtype=torch.bool)
    expected = torch.zeros(3, 5)
    for row, length in enumerate(lengths):
        some = [chance.gauss(0, 1) for _ in range(length)]
        others = [chance.gauss(0, 1) for _ in range(length)]
        rewards[row, :length], values[row, :length] = torch.tensor(some), torch.tensor(others)
        written[row, :length] = True
        expected[row, :length] = torch.tensor(
            advantages_by_the_paper(some, others, discount=discount, trace=trace)
        )
    found = generalised_advantages(rewards, values, written, discount=discount, trace=trace)
    torch.testing.assert_close(found, expected)


def test_with_a_full_trace_an_advantage_and_its_value_are_all_that_followed():
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.3, -0.2, 0.9]])
    written = torch.ones(1, 3, dtype=torch.bool)
    found = generalised_advantages(rewards, values, written, trace=1.0)
    torch.testing.assert_close(found + values, torch.ones(1, 3))


def test_whitened_values_have_mean_0_and_variance_1_and_one_alone_is_0():
    found = whitened(torch.tensor([1.0, 5.0, 3.0, -2.0]))
    assert abs(float(found.mean())) < 1e-6
    assert math.isclose(float(found.var()), 1.0, rel_tol=1e-5)
    assert whitened(torch.tensor([4.0])).tolist() == [0.0]
    assert whitened(torch.tensor([2.0, 2.0])).tolist() == [0.0, 0.0]


def test_a_group_is_compared_with_itself_alone():
    rewards = torch.tensor([0.0, 1.0, 10.0, 14.0])
    found = group_advantages(rewards, group=2)
    half = 0.5 / (math.sqrt(0.5) + 1e-4)
    two = 2.0 / (math.sqrt(8.0) + 1e-4)
    torch.testing.assert_close(found, torch.tensor([-half, half, -two, two]))
    plain = group_advantages(rewards, group=2, scale="none")
    assert plain.tolist() == [-0.5, 0.5, -2.0, 2.0]
    spread = float(rewards.std()) + 1e-4
    torch.testing.assert_close(group_advantages(rewards, group=2, scale="round"), plain / spread)


def test_a_group_of_equal_rewards_pushes_nowhere_and_is_counted():
    rewards = torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert group_advantages(rewards, group=2)[:2].tolist() == [0.0, 0.0]
    assert undecided_groups(rewards, group=2) == 0.5
