"""How much better a token, or a whole answer, was than expected: what a policy is pushed by.

PPO compares what followed a token with what the value model had expected there. GRPO has no value
model: it compares an answer with the others to the same prompt.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cloche.alignment.policy_options import RewardScale

SMALLEST_SPREAD = 1e-4
"""Added where a difference of rewards is divided by their standard deviation, as TRL does."""
SMALLEST_VARIANCE = 1e-8


def generalised_advantages(
    rewards: Float[Tensor, "answers time"],
    values: Float[Tensor, "answers time"],
    written: Bool[Tensor, "answers time"],
    *,
    discount: float = 1.0,
    trace: float = 0.95,
) -> Float[Tensor, "answers time"]:
    """The advantage of each token of each answer; 0 where none was `written`.

    The answers begin at the left. `values` are what was expected before each token, `rewards` what
    came with it; nothing follows the last token. `trace` (the paper's lambda) weighs: 0 looks one
    token ahead and trusts the values, 1 sums all rewards that follow.

    Source: Schulman et al. 2015, equation 16, https://arxiv.org/abs/1506.02438
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    for place in reversed(range(rewards.shape[1])):
        here = written[:, place]
        surprise = rewards[:, place] + discount * next_value - values[:, place]
        following = (surprise + discount * trace * following).where(here, 0.0)
        next_value = values[:, place].where(here, 0.0)
        advantages[:, place] = following
    return advantages


def whitened(values: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """The values with mean 0 and variance 1; a single one becomes 0."""
    if len(values) < 2:
        return torch.zeros_like(values)
    return (values - values.mean()) * torch.rsqrt(values.var() + SMALLEST_VARIANCE)


def group_advantages(
    rewards: Float[Tensor, " answers"], *, group: int, scale: RewardScale = "group"
) -> Float[Tensor, " answers"]:
    """Each answer's reward above the mean of its group, the `group` answers to one prompt.

    Divided by the standard deviation within the group, or that of all answers of the round, or
    not at all: dividing by a group's own favours prompts that are nearly always or nearly never
    answered rightly (Dr. GRPO, section 3.1).

    Sources: Shao et al. 2024, section 4.1.2, https://arxiv.org/abs/2402.03300; Liu et al. 2025,
    https://arxiv.org/abs/2503.20783
    """
    assert group >= 2, "one answer has nothing to be compared with"
    assert len(rewards) % group == 0, "every prompt has a whole group"
    groups = rewards.view(-1, group)
    above = groups - groups.mean(dim=1, keepdim=True)
    if scale == "group":
        above = above / (groups.std(dim=1, keepdim=True) + SMALLEST_SPREAD)
    elif scale == "round":
        above = above / (rewards.std() + SMALLEST_SPREAD)
    return above.flatten()


def undecided_groups(rewards: Float[Tensor, " answers"], *, group: int) -> float:
    """The share of groups whose answers all have the same reward: nothing is learned of them."""
    groups = rewards.view(-1, group)
    return float((groups == groups[:, :1]).all(dim=1).float().mean())
