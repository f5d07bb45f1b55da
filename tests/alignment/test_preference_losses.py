"""The losses at points where their values are known."""

import math

import pytest
import torch

from cloche.alignment.preference_losses import (
    dpo_loss,
    ipo_loss,
    kto_loss,
    mismatched_divergence,
)
from cloche.alignment.preference_objectives import PreferredAnswers

ZERO, TWO = torch.zeros(1), torch.full((1,), 2.0)


def test_a_policy_that_is_its_reference_has_learned_one_bit_of_nothing():
    same = torch.tensor([-3.0])
    assert dpo_loss(same, same, same, same, beta=0.1).item() == pytest.approx(math.log(2))


def test_dpo_falls_as_the_chosen_answer_gains_and_rises_as_the_rejected_one_does():
    gained = dpo_loss(TWO, ZERO, ZERO, ZERO, beta=0.5).item()
    lost = dpo_loss(ZERO, TWO, ZERO, ZERO, beta=0.5).item()
    assert gained == pytest.approx(math.log(1 + math.exp(-1.0)))
    assert lost == pytest.approx(math.log(1 + math.exp(1.0)))


def test_smoothing_mixes_the_loss_of_the_choice_with_that_of_its_contrary():
    right = dpo_loss(TWO, ZERO, ZERO, ZERO, beta=0.5)
    wrong = dpo_loss(ZERO, TWO, ZERO, ZERO, beta=0.5)
    smoothed = dpo_loss(TWO, ZERO, ZERO, ZERO, beta=0.5, label_smoothing=0.2)
    torch.testing.assert_close(smoothed, 0.8 * right + 0.2 * wrong)


def test_ipo_wants_mean_log_ratios_that_differ_by_a_set_amount():
    def loss(chosen, tokens):
        return ipo_loss(
            torch.tensor([chosen]),
            ZERO,
            ZERO,
            ZERO,
            beta=0.25,
            chosen_tokens=torch.tensor([tokens]),
            rejected_tokens=torch.tensor([3]),
        ).item()

    assert loss(8.0, 4) == pytest.approx(0.0)  # 8 nats over 4 tokens are the 2 of 1 / (2 beta)
    assert loss(8.0, 8) == pytest.approx(1.0)
    assert loss(12.0, 4) == pytest.approx(1.0)


def test_kto_weighs_good_and_bad_votes_apart():
    losses = kto_loss(
        torch.tensor([5.0, 5.0]),
        torch.tensor([2.0, 2.0]),
        torch.tensor([True, False]),
        divergence=torch.tensor(1.0),
        beta=0.5,
        desirable_weight=2.0,
        undesirable_weight=3.0,
    )
    gain = 1 / (1 + math.exp(-1.0))
    assert losses.tolist() == pytest.approx([2.0 * (1 - gain), 3.0 * gain])


def test_the_divergence_is_never_negative_and_has_no_gradient():
    policy = torch.tensor([-4.0, -2.0], requires_grad=True)
    assert mismatched_divergence(policy, torch.tensor([-1.0, -1.0])).item() == 0.0
    found = mismatched_divergence(policy, torch.tensor([-5.0, -5.0]))
    assert found.item() == 2.0
    assert not found.requires_grad


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_a_weight_of_the_chosen_answer_adds_its_surprise_a_token(loss):
    policy, reference = torch.tensor([[-6.0, -9.0]]), torch.tensor([[-7.0, -8.0]])
    lengths = torch.tensor([[3, 5]])
    alone = PreferredAnswers(loss).of_pairs(policy, reference, lengths)
    both = PreferredAnswers(loss, sft_weight=0.5).of_pairs(policy, reference, lengths)
    torch.testing.assert_close(both - alone, torch.tensor([0.5 * 6.0 / 3]))
