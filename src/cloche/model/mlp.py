"""The part of a block that thinks about each token by itself: one MLP, or a mixture of experts."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.config import Activation, ModelConfig
from cloche.model.record import Record


class MLP(nn.Module):
    """Widen, apply a nonlinearity, narrow again: the MLP of the textbooks' GPT."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activate = _activation(config.activation)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(
        self, hidden: Float[Tensor, "*batch dim"], *, record: Record | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """What is added to the residual stream; `record` is told the `neurons` inside."""
        neurons = self.activate(self.up_proj(hidden))
        if record is not None:
            record("neurons", neurons)
        return self.down_proj(neurons)


class GatedMLP(nn.Module):
    """SwiGLU: one widened copy, passed through SiLU, scales the other number by number.

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(
        self, hidden: Float[Tensor, "*batch dim"], *, record: Record | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """What is added to the residual stream; `record` is told the `neurons` inside."""
        neurons = functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)
        if record is not None:
            record("neurons", neurons)
        return self.down_proj(neurons)


class MixtureOfExperts(nn.Module):
    """Several MLPs, of which a router picks a few for each token and weighs their answers.

    Each expert computes its own tokens only. An expert that got none still takes part in the
    graph, so that its gradients are zeros.

    Source: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; with softmax before the choice
    as in Qwen3, https://arxiv.org/abs/2505.09388
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts_used, self.normalised = config.experts_used, config.normalised_experts
        self.gate = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(_single_mlp(config) for _ in range(config.experts))

    def forward(
        self, hidden: Float[Tensor, "*batch dim"], *, record: Record | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """What is added to the residual stream; `record` is told `router_logits` and each
        token's `experts` and `expert_weights`, the likeliest first.
        """
        # float32: in 16 bits logits that differ little become equal, and other experts are chosen
        router_logits = functional.linear(hidden.float(), self.gate.weight.float())
        weights, chosen = router_logits.softmax(dim=-1).topk(self.experts_used, dim=-1)
        if self.normalised:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        gather = self._gather
        if torch.compiler.is_compiling():
            # how many tokens an expert gets is news at each step, and so is what a record holds:
            # graphs of them would be compiled again and again, so this stays between two graphs
            gather = cast("Callable[..., Tensor]", torch.compiler.disable(gather))
        return gather(hidden, router_logits, chosen, weights, record=record)

    def _gather(
        self,
        hidden: Float[Tensor, "*batch dim"],
        router_logits: Float[Tensor, "*batch experts"],
        chosen: Int[Tensor, "*batch used"],
        weights: Float[Tensor, "*batch used"],
        *,
        record: Record | None,
    ) -> Float[Tensor, "*batch dim"]:
        """The weighted sum of each token's chosen experts."""
        if record is not None:
            record("router_logits", router_logits)
            record("experts", chosen)
            record("expert_weights", weights)
        tokens, picked, shares = hidden.flatten(0, -2), chosen.flatten(), weights.flatten()
        order = picked.argsort(stable=True)  # all of the first expert, all of the second, ...
        sizes = picked.bincount(minlength=len(self.experts)).tolist()
        gathered = torch.zeros_like(tokens)
        for expert, picks in zip(self.experts, order.split(sizes), strict=True):
            places = picks // self.experts_used
            answers = expert(tokens.index_select(0, places))
            share = shares.index_select(0, picks)[:, None].to(answers.dtype)
            gathered = gathered.index_add(0, places, answers * share)
        return gathered.view_as(hidden)


def build_mlp(config: ModelConfig) -> nn.Module:
    """A mixture where the configuration has experts, else the MLP its activation asks for."""
    return MixtureOfExperts(config) if config.experts else _single_mlp(config)


def _single_mlp(config: ModelConfig) -> nn.Module:
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)


def relu_squared(hidden: Tensor) -> Tensor:
    """The square of what is positive, 0 elsewhere: So et al. 2021, https://arxiv.org/abs/2109.08668"""
    return functional.relu(hidden).square()


def _activation(kind: Activation) -> Callable[[Tensor], Tensor]:
    assert kind != "swiglu", "swiglu needs a gate: GatedMLP"
    return {
        "relu": functional.relu,
        "relu_squared": relu_squared,
        "gelu": functional.gelu,
        "gelu_tanh": _gelu_tanh,
    }[kind]


def _gelu_tanh(hidden: Tensor) -> Tensor:
    """GPT-2's GELU, by tanh: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415"""
    return functional.gelu(hidden, approximate="tanh")
