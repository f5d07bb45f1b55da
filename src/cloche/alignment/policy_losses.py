"""What PPO and GRPO minimise, token by token, and how the tokens are weighed together.

Everything is one row of numbers: the learned tokens of a batch, in the batch's order.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cloche.alignment.kl import k3
from cloche.alignment.policy_options import KLWeighting, LossType


def clipped_policy_losses(
    logprobs: Float[Tensor, " tokens"],
    old_logprobs: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Float[Tensor, " tokens"]:
    """The loss of each token: minus its advantage times how much likelier it has become.

    Where the probability has risen by more than `clip_high`, or fallen by more than `clip_low`, in
    the direction that the advantage wants, the loss is flat: no gradient leads further away from
    the policy that drew the answers.

    Source: Schulman et al. 2017, equation 7, https://arxiv.org/abs/1707.06347; a higher bound of
    its own: Yu et al. 2025 (DAPO), https://arxiv.org/abs/2503.14476
    """
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def clipped_value_losses(
    values: Float[Tensor, " tokens"],
    old_values: Float[Tensor, " tokens"],
    returns: Float[Tensor, " tokens"],
    *,
    clip: float = 0.2,
) -> Float[Tensor, " tokens"]:
    """Half the squared error of each value, the larger of it and of the value kept near the old.

    Source: the value loss of OpenAI's PPO, https://github.com/openai/baselines (ppo2), which the
    paper's equation 9 leaves unclipped; a `clip` of infinity is the paper's.
    """
    near = torch.minimum(torch.maximum(values, old_values - clip), old_values + clip)
    return torch.maximum((values - returns).square(), (near - returns).square()) / 2


def share_clipped(
    logprobs: Float[Tensor, " tokens"],
    old_logprobs: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> float:
    """The share of tokens whose loss is flat."""
    if not len(logprobs):
        return 0.0
    ratio = torch.exp(logprobs - old_logprobs)
    above = (ratio > 1.0 + clip_high) & (advantages > 0)
    below = (ratio < 1.0 - clip_low) & (advantages < 0)
    return float((above | below).float().mean())


def group_policy_losses(
    logprobs: Float[Tensor, " tokens"],
    old_logprobs: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    reference_logprobs: Float[Tensor, " tokens"] | None,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_cost: float = 0.0,
    kl_weighting: KLWeighting = "ratio",
) -> Float[Tensor, " tokens"]:
    """GRPO's loss of each token: the clipped one, and `kl_cost` times the divergence's k3.

    "plain" is the paper's divergence, whose gradient is not that of the divergence itself. With
    "ratio" it is multiplied by how much likelier the token has become since it was drawn, which
    mends that; TRL's default, too.

    Sources: Shao et al. 2024, equation 3, https://arxiv.org/abs/2402.03300; the ratio: DeepSeek
    2025, https://arxiv.org/abs/2512.02556
    """
    losses = clipped_policy_losses(
        logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high
    )
    if kl_cost == 0.0:
        return losses
    assert reference_logprobs is not None, "a divergence is from something"
    divergences = k3(logprobs, reference_logprobs)
    if kl_weighting == "ratio":
        divergences = divergences * torch.exp(logprobs - old_logprobs)
    return losses + kl_cost * divergences


def weighed_sum(
    losses: Float[Tensor, " tokens"],
    owners: Int[Tensor, " tokens"],
    *,
    answers: int,
    max_tokens: int,
    loss_type: LossType,
) -> Float[Tensor, ""]:
    """The sum that `loss_count` divides; `owners` numbers the answer of each token.

    "dapo" and "bnpo" sum all tokens. In "grpo" an answer weighs the same however long it is, so
    that a token of a long one weighs less. In "dr_grpo" each token is divided by `max_tokens`, a
    constant, so that length has no influence at all.

    Sources: Yu et al. 2025, https://arxiv.org/abs/2503.14476; Shao et al. 2024,
    https://arxiv.org/abs/2402.03300; Liu et al. 2025, https://arxiv.org/abs/2503.20783
    """
    if loss_type == "dr_grpo":
        return losses.sum() / max_tokens
    if loss_type != "grpo":
        return losses.sum()
    lengths = owners.bincount(minlength=answers).clamp(min=1)
    return (losses / lengths[owners]).sum()


def loss_count(*, tokens: int, answers: int, loss_type: LossType) -> int:
    """What the sum of losses is divided by, over an optimizer step: its tokens, or its answers.

    TRL's "bnpo" divides by the tokens of one part of a step; here it is always the whole step, so
    that parts change nothing, and "bnpo" is "dapo".
    """
    return answers if loss_type in ("grpo", "dr_grpo") else tokens
