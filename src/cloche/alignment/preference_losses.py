"""Losses that learn from which answer people preferred, one number for each pair or vote.

All of them compare a policy, the model that is trained, with a reference, the same model before
the training. `policy` and `reference` are log probabilities of whole answers in nats: sums over
the learned tokens, the stop token among them. An objective adds the numbers up; the loop divides.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def dpo_loss(
    policy_chosen: Float[Tensor, " pairs"],
    policy_rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " pairs"]:
    """How unlikely the policy makes the people's choice, in nats a pair.

    A reward is hidden in the policy: `beta` times the log ratio of policy and reference. The loss
    is that of a logistic regression on the difference of the two answers' rewards. A larger
    `beta` keeps the policy closer to the reference. `label_smoothing` is the share of choices
    taken to be mistaken, below one half.

    Source: Rafailov et al. 2023, equation 7, https://arxiv.org/abs/2305.18290; with smoothing,
    Mitchell 2023, equation 3, https://ericmitchell.ai/cdpo.pdf
    """
    margins = beta * (policy_chosen - reference_chosen - (policy_rejected - reference_rejected))
    losses = -F.logsigmoid(margins)
    if not label_smoothing:
        return losses
    return (1.0 - label_smoothing) * losses - label_smoothing * F.logsigmoid(-margins)


def ipo_loss(
    policy_chosen: Float[Tensor, " pairs"],
    policy_rejected: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    *,
    beta: float,
    chosen_tokens: Int[Tensor, " pairs"],
    rejected_tokens: Int[Tensor, " pairs"],
) -> Float[Tensor, " pairs"]:
    """The squared distance of the difference in log ratios from 1 / (2 beta).

    The log ratios are means over the learned tokens of an answer, whose numbers are
    `chosen_tokens` and `rejected_tokens`. The paper's equation 17 writes sums, which ask more of
    long answers; TRL takes means, and says that the paper's authors did. `beta` is the paper's
    tau: the policy moves a set way and no further, so pairs on which all agree do not drive it
    to extremes, as they do under DPO.

    Source: Azar et al. 2023, https://arxiv.org/abs/2310.12036
    """
    chosen = (policy_chosen - reference_chosen) / chosen_tokens.clamp(min=1)
    rejected = (policy_rejected - reference_rejected) / rejected_tokens.clamp(min=1)
    return (chosen - rejected - 1.0 / (2.0 * beta)).square()


def kto_loss(
    policy: Float[Tensor, " votes"],
    reference: Float[Tensor, " votes"],
    desirable: Bool[Tensor, " votes"],
    *,
    divergence: Float[Tensor, ""],
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " votes"]:
    """One less the value of each vote, as people value gains and losses; from 0 to its weight.

    A good answer gains by what its log ratio is above `divergence`, see `mismatched_divergence`; a
    bad one by what it is below. Where one kind of vote is rarer, its weight should make up for it:
    the paper advises a ratio of weight times number from 1 to 4/3.

    Source: Ethayarajh et al. 2024, equations 7 and 8, https://arxiv.org/abs/2402.01306
    """
    gains = beta * (policy - reference - divergence)
    losses = 1.0 - torch.where(desirable, gains, -gains).sigmoid()
    return losses * torch.where(desirable, desirable_weight, undesirable_weight)


def mismatched_divergence(
    policy: Float[Tensor, " votes"], reference: Float[Tensor, " votes"]
) -> Float[Tensor, ""]:
    """How far the policy is from the reference, as KTO estimates it; never below 0, no gradient.

    The mean log ratio of answers to prompts that they were not given to: cheap, as no answer has
    to be written, and biased, as none is the policy's own.

    Source: Ethayarajh et al. 2024, section 4.1, https://arxiv.org/abs/2402.01306
    """
    return (policy - reference).detach().mean().clamp(min=0.0)
