"""What a policy is kept near: itself, before it learned."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.alignment.rollouts import adapters_off, token_scores
from cloche.data.examples import Example
from cloche.model.decoder import Decoder


@runtime_checkable
class Reference(Protocol):
    """Gives the log probabilities that answers had before the training."""

    def logprobs(
        self, policy: Decoder, examples: Sequence[Example], *, temperature: float
    ) -> Float[Tensor, " learned"]:
        """Of each learned token, in nats, example after example, on the CPU."""
        ...


@dataclass(frozen=True, eq=False)
class FrozenReference:
    """A copy of the model from before the training."""

    model: Decoder

    def logprobs(
        self,
        policy: Decoder,  # noqa: ARG002  it has changed
        examples: Sequence[Example],
        *,
        temperature: float,
    ) -> Float[Tensor, " learned"]:
        """Of each learned token, in nats, example after example, on the CPU."""
        return token_scores(self.model, examples, temperature=temperature).logprobs


@dataclass(frozen=True)
class WithoutAdapters:
    """The policy itself with its adapters off: no second model is kept."""

    def logprobs(
        self, policy: Decoder, examples: Sequence[Example], *, temperature: float
    ) -> Float[Tensor, " learned"]:
        """Of each learned token, in nats, example after example, on the CPU."""
        with adapters_off(policy):
            return token_scores(policy, examples, temperature=temperature).logprobs


def frozen_copy(model: Decoder, *, dtype: torch.dtype, device: torch.device) -> FrozenReference:
    """The model as it is now, in the precision of the passes."""
    copied = copy.deepcopy(model).to(device=device, dtype=dtype)
    return FrozenReference(copied.requires_grad_(False).eval())
