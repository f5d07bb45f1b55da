"""How far a policy has gone from its reference: estimates from samples, and a cost that adapts.

The Kullback-Leibler divergence is a mean over the policy's own answers of log p(policy) less
log p(reference). All estimates here take the tokens that the policy drew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_ERROR = 0.2
"""Of the share by which a divergence misses its target, what counts in one round."""


def k1(
    policy: Float[Tensor, " tokens"], reference: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """The difference of log probabilities: unbiased, often negative, much noise.

    Source: John Schulman 2020, http://joschu.net/blog/kl-approx.html
    """
    return policy - reference


def k2(
    policy: Float[Tensor, " tokens"], reference: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Half the squared difference: never negative, little noise, biased where they are far apart.

    Source: as `k1`.
    """
    return (policy - reference).square() / 2


def k3(
    policy: Float[Tensor, " tokens"], reference: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """The probabilities' ratio less one, less its logarithm: unbiased and never negative.

    Source: as `k1`; used by GRPO, https://arxiv.org/abs/2402.03300, equation 4.
    """
    difference = reference - policy
    return torch.expm1(difference) - difference


@dataclass
class KLCost:
    """What a nat of divergence costs in rewards; a part of a training's state.

    With a `target` it moves so that the divergence of a whole answer comes near it: by at most
    LARGEST_ERROR times the share that `answers` are of `horizon`.

    Source: Ziegler et al. 2019, section 2.2, https://arxiv.org/abs/1909.08593
    """

    coefficient: float
    target: float | None = None
    """Nats an answer; the coefficient stays as it is where None."""
    horizon: int = 10_000
    """Answers over which it may change by the factor e to the LARGEST_ERROR, about."""

    def observe(self, divergence: float, *, answers: int) -> None:
        """Move the coefficient after a round of so many answers that diverged so far, in nats."""
        if self.target is None:
            return
        error = divergence / self.target - 1.0
        error = min(max(error, -LARGEST_ERROR), LARGEST_ERROR)
        self.coefficient *= 1.0 + error * answers / self.horizon

    def state_tensors(self) -> dict[str, Tensor]:
        """None: the coefficient is a value."""
        return {}

    def state_values(self) -> dict[str, Any]:
        """The coefficient as it is now."""
        return {"coefficient": self.coefficient}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Go on with the coefficient as it was."""
        self.coefficient = values["coefficient"]
