"""MLPs: nonlinearities by hand, and a mixture of experts token by token."""

import copy
from dataclasses import replace

import pytest
import torch

from cloche.model.config import ModelOptions
from cloche.model.mlp import MLP, GatedMLP, MixtureOfExperts, build_mlp
from cloche.model.presets import complete

GPT = complete(ModelOptions(family="gpt", heads=2), vocab_size=5, layers=1, width=8, context=4)
MOE = complete(
    ModelOptions(family="moe", experts=5, experts_used=2, mlp_width=12),
    vocab_size=5,
    layers=1,
    width=8,
    context=4,
)


def hidden(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", lambda x: x.clamp_min(0)),
        ("relu_squared", lambda x: x.clamp_min(0) ** 2),
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
        (
            "gelu_tanh",
            lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        ),
    ],
)
def test_the_nonlinearities_are_those_of_their_papers(activation, expected):
    mlp = MLP(replace(GPT, activation=activation))
    told: dict[str, torch.Tensor] = {}
    answer = mlp(hidden(2, 3), record=told.__setitem__)
    neurons = expected(mlp.up_proj(hidden(2, 3)))
    torch.testing.assert_close(told["neurons"], neurons)
    torch.testing.assert_close(answer, mlp.down_proj(neurons))


def by_hand(mixture: MixtureOfExperts, tokens: torch.Tensor, *, normalised: bool) -> torch.Tensor:
    """Every token by itself, every expert asked alone."""
    answers = []
    for token in tokens.flatten(0, -2):
        probabilities = mixture.gate(token).softmax(-1)
        best = probabilities.argsort(descending=True)[: mixture.experts_used]
        total = probabilities[best].sum() if normalised else 1.0
        parts = [mixture.experts[int(i)](token) * probabilities[i] / total for i in best]
        answers.append(torch.stack(parts).sum(0))
    return torch.stack(answers).view_as(tokens)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("used", [1, 2, 5])
def test_a_mixture_equals_its_experts_asked_token_by_token(used, normalised):
    torch.manual_seed(0)
    config = replace(MOE, experts_used=used, normalised_experts=normalised)
    mixture = MixtureOfExperts(config)
    expected = by_hand(mixture, hidden(3, 4), normalised=normalised)
    torch.testing.assert_close(mixture(hidden(3, 4)), expected)


def test_an_expert_without_tokens_has_zeros_as_gradients():
    mixture = MixtureOfExperts(MOE)
    with torch.no_grad():
        mixture.gate.weight.zero_()
        mixture.gate.weight[:2, 0] = torch.tensor([9.0, 8.0])
    mixture(hidden(2, 3).abs()).sum().backward()
    for number, expert in enumerate(mixture.experts):
        for parameter in expert.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.any()) == (number < 2)


def test_the_router_is_told_and_sums_to_one():
    told: dict[str, torch.Tensor] = {}
    mixture = MixtureOfExperts(MOE)
    mixture(hidden(2, 3), record=told.__setitem__)
    assert told["router_logits"].shape == (2, 3, 5)
    assert told["experts"].shape == told["expert_weights"].shape == (2, 3, 2)
    torch.testing.assert_close(told["expert_weights"].sum(-1), torch.ones(2, 3))
    best = told["router_logits"].softmax(-1).argmax(-1)
    assert torch.equal(told["experts"][..., 0], best)


def test_sixteen_bits_choose_the_experts_of_float32_from_the_same_numbers():
    torch.manual_seed(0)
    low = MixtureOfExperts(MOE).bfloat16()
    exact = copy.deepcopy(low).float()
    tokens, chosen = hidden(4000).bfloat16(), {}
    low(tokens, record=lambda name, numbers: chosen.update({name: numbers}))
    told: dict[str, torch.Tensor] = {}
    exact(tokens.float(), record=told.__setitem__)
    torch.testing.assert_close(chosen["router_logits"], told["router_logits"])
    assert torch.equal(chosen["experts"], told["experts"])
    # what the test is about: rounded to 16 bits, the same logits choose others
    rounded = told["router_logits"].bfloat16().topk(2).indices
    assert not torch.equal(rounded, told["experts"])


def test_experts_are_what_the_activation_asks_for():
    assert isinstance(build_mlp(MOE).get_submodule("experts.0"), GatedMLP)
    config = replace(MOE, activation="relu_squared", mlp_bias=True)
    mixture = MixtureOfExperts(config)
    assert not hasattr(mixture.experts[0], "gate_proj")
    torch.testing.assert_close(
        mixture(hidden(2, 3)), by_hand(mixture, hidden(2, 3), normalised=True)
    )


def test_a_mixture_of_one_expert_is_that_expert():
    mixture = MixtureOfExperts(replace(MOE, experts=1, experts_used=1))
    torch.testing.assert_close(mixture(hidden(2, 3)), mixture.experts[0](hidden(2, 3)))
