"""The terms of a step's loss: next tokens, and the balance of a mixture of experts."""

import pytest
import torch

from cloche.data.batches import IGNORED, Batch
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.objectives import NextToken, balance_loss

MOE = complete(
    ModelOptions(family="moe", experts=4, experts_used=1, heads=2),
    vocab_size=23,
    layers=2,
    width=16,
    context=12,
)


def batch(seed: int = 0) -> Batch:
    drawn = torch.randint(23, (8, 13), generator=torch.Generator().manual_seed(seed))
    targets = drawn[:, 1:].clone()
    targets[0, :5] = IGNORED
    return Batch(inputs=drawn[:, :-1], targets=targets)


def lopsided_model() -> Decoder:
    """All tokens prefer the first expert of each layer."""
    model = build_model(MOE)
    assert isinstance(model, Decoder)
    initialise(model, seed=1)
    with torch.no_grad():
        model.embed_tokens.weight[:, 0] = 3.0  # all tokens have this much in common ...
        for block in model.layers:
            router = block.get_parameter("mlp.gate.weight")
            router[:, 0] = torch.tensor([2.0, 0.0, 0.1, 0.2])  # ... and the router goes by it
    return model


def test_counts_are_those_of_the_terms():
    model = lopsided_model()
    for objective in (NextToken(), NextToken(balance=0.1)):
        terms = objective(model, batch()).terms
        assert {name: term.count for name, term in terms.items()} == objective.counts(batch())
        assert set(terms) == ({"loss", "balance"} if objective.balance else {"loss"})


def test_a_model_without_experts_has_no_balance():
    objective = NextToken()
    assert objective(lopsided_model(), batch()).metrics == {}
    assert set(objective.counts(batch())) == {"loss"}


def test_the_balance_is_the_number_of_experts_used_when_all_are_even():
    even = torch.eye(4).repeat(3, 1)[None] * 5
    assert balance_loss([even], experts_used=1).item() == pytest.approx(1.0, abs=1e-6)
    lopsided = torch.tensor([9.0, 0.0, 0.0, 0.0]).expand(1, 12, 4)
    assert balance_loss([lopsided], experts_used=1) > 3.9
    counted = torch.zeros(1, 12, dtype=torch.bool)
    assert balance_loss([lopsided], experts_used=1, counted=counted) == 0


def test_balancing_spreads_tokens_and_every_expert_learns():
    model = lopsided_model()
    objective = NextToken(balance=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    unevenness, reached = [], set()
    for step in range(30):
        losses = objective(model, batch(step))
        loss = sum(t.weight * t.sum / t.count for t in losses.terms.values())
        optimizer.zero_grad()
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        optimizer.step()
        unevenness.append(losses.metrics["train/balance"])
        reached |= {
            name
            for name, parameter in model.named_parameters()
            if step >= 12 and parameter.grad is not None and parameter.grad.any()
        }
    assert unevenness[0] > 2.0
    assert sum(unevenness[-5:]) / 5 < 1.2
    assert reached == {name for name, _ in model.named_parameters()}


def test_the_balancing_term_is_weighed_as_the_configuration_says():
    model = lopsided_model()
    term = NextToken(balance=0.25)(model, batch()).terms["balance"]
    assert term.weight == 0.25
    assert term.count == 8 * 12 - 5
    uneven = NextToken(balance=0.25)(model, batch()).metrics["train/balance"]
    assert (term.sum / term.count).item() == pytest.approx(uneven)
