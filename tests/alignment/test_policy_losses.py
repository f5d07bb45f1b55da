"""The losses of PPO, against loops over tokens as the papers write them."""

import math
from typing import Any

import pytest
import torch

from cloche.alignment.policy_losses import (
    clipped_policy_losses,
    clipped_value_losses,
    group_policy_losses,
    loss_count,
    share_clipped,
    weighed_sum,
)
from cloche.alignment.policy_options import KLWeighting


def clipped_by_the_paper(
    new: float, old: float, advantage: float, low: float, high: float
) -> float:
    ratio = math.exp(new - old)
    clipped = max(1 - low, min(1 + high, ratio))
    return -min(ratio * advantage, clipped * advantage)


def some_numbers(seed=0):
    torch.manual_seed(seed)
    old = -3 * torch.rand(40)
    return (old + 0.4 * torch.randn(40)).requires_grad_(), old, torch.randn(40)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.1, 0.3)])
def test_policy_losses_are_the_papers(low, high):
    new, old, advantages = some_numbers()
    found = clipped_policy_losses(new, old, advantages, clip_low=low, clip_high=high)
    expected = [
        clipped_by_the_paper(*numbers, low, high)
        for numbers in zip(new.tolist(), old.tolist(), advantages.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_no_gradient_leads_on_past_the_clip_and_such_tokens_are_counted():
    new, old, advantages = some_numbers()
    clipped_policy_losses(new, old, advantages).sum().backward()
    ratio = (new - old).exp()
    gone = ((ratio > 1.2) & (advantages > 0)) | ((ratio < 0.8) & (advantages < 0))
    assert new.grad is not None
    assert bool(((new.grad == 0) == gone).all())
    share = share_clipped(new, old, advantages)
    assert share == pytest.approx(float(gone.float().mean()))
    assert 0 < share < 1


def test_before_the_first_step_the_gradient_is_that_of_advantage_times_log_probability():
    _, old, advantages = some_numbers()
    new = old.clone().requires_grad_()
    clipped_policy_losses(new, old, advantages).sum().backward()
    torch.testing.assert_close(new.grad, -advantages)


def test_value_losses_are_the_larger_of_both_errors():
    torch.manual_seed(1)
    values, old, returns = torch.randn(3, 30)
    found = clipped_value_losses(values, old, returns, clip=0.2)
    for value, before, wanted, loss in zip(
        values.tolist(), old.tolist(), returns.tolist(), found.tolist(), strict=True
    ):
        near = max(before - 0.2, min(before + 0.2, value))
        larger = max((value - wanted) ** 2, (near - wanted) ** 2)
        assert loss == pytest.approx(0.5 * larger, rel=1e-5, abs=1e-6)
    unclipped = clipped_value_losses(values, old, returns, clip=math.inf)
    torch.testing.assert_close(unclipped, (values - returns).square() / 2)


def test_the_divergence_costs_what_its_coefficient_says():
    new, old, advantages = some_numbers()
    reference = old - 0.3
    plain = group_policy_losses(new, old, advantages, None)
    gap = reference - new
    expected = 0.5 * (gap.exp() - gap - 1)
    weights: dict[KLWeighting, Any] = {"plain": 1.0, "ratio": (new - old).exp()}
    for weighting, weight in weights.items():
        dear = group_policy_losses(
            new, old, advantages, reference, kl_cost=0.5, kl_weighting=weighting
        )
        torch.testing.assert_close(dear - plain, expected * weight)


def test_types_of_loss_weigh_long_and_short_answers_as_they_say():
    losses, owners = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 1])

    def mean(loss_type):
        total = weighed_sum(losses, owners, answers=2, max_tokens=7, loss_type=loss_type)
        return float(total) / loss_count(tokens=3, answers=2, loss_type=loss_type)

    assert mean("grpo") == pytest.approx((2.0 + 10.0) / 2)
    assert mean("dapo") == mean("bnpo") == pytest.approx(14 / 3)
    assert mean("dr_grpo") == pytest.approx(14 / 14)
