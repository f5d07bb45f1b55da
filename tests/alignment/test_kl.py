"""Estimates of a divergence, and its adapting cost."""

import math

import pytest
import torch

from cloche.alignment.kl import KLCost, k1, k2, k3


def test_k1_and_k3_are_right_on_average_and_k3_is_never_negative():
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 12).log_softmax(dim=-1)
    true = float((policy.exp() * (policy - reference)).sum())
    for estimate in (k1, k3):
        assert math.isclose(
            float((policy.exp() * estimate(policy, reference)).sum()), true, rel_tol=1e-5
        )
    assert bool((k3(policy, reference) >= 0).all())
    assert bool((k1(policy, reference) < 0).any())


def test_all_three_nearly_agree_where_policy_and_reference_are_near():
    torch.manual_seed(0)
    policy = torch.randn(12).log_softmax(dim=-1)
    reference = (policy + 0.01 * torch.randn(12)).log_softmax(dim=-1)
    found = [float((policy.exp() * k(policy, reference)).sum()) for k in (k1, k2, k3)]
    assert found == pytest.approx([found[0]] * 3, rel=0.05)


def test_a_cost_without_a_target_stays():
    cost = KLCost(0.1)
    cost.observe(50.0, answers=1000)
    assert cost.coefficient == 0.1


@pytest.mark.parametrize(
    ("divergence", "share"), [(6.6, 0.1), (60.0, 0.2), (5.4, -0.1), (0.0, -0.2)]
)
def test_a_cost_moves_by_the_missed_share_of_its_target_and_no_more_than_a_fifth(divergence, share):
    cost = KLCost(0.5, target=6.0, horizon=1000)
    cost.observe(divergence, answers=100)
    assert cost.coefficient == pytest.approx(0.5 * (1 + share * 0.1))
