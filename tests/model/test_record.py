"""Watching a forward pass: all of it, or routers alone."""

from dataclasses import replace

import torch

from cloche.model.decoder import Decoder
from cloche.model.record import RouterRecord, watches_attention, with_prefix


def test_names_grow_from_inside_out():
    told: dict[str, torch.Tensor] = {}
    inner = with_prefix(with_prefix(told.__setitem__, "layers.0."), "mlp.")
    assert inner is not None
    inner("neurons", torch.ones(1))
    assert list(told) == ["layers.0.mlp.neurons"]
    assert with_prefix(None, "layers.0.") is None


def test_only_a_record_that_wants_attention_forces_it_to_be_written_out():
    assert watches_attention({}.__setitem__)
    assert not watches_attention(RouterRecord())
    assert not watches_attention(None)


def test_routers_are_recorded_layer_by_layer_on_the_fast_path(random_model, tiny_qwen3):
    config = replace(tiny_qwen3, family="moe", experts=4, experts_used=2)
    model = random_model(config)
    assert isinstance(model, Decoder)
    tokens = torch.randint(29, (2, 7), generator=torch.Generator().manual_seed(0))
    router, told = RouterRecord(), {}
    with torch.no_grad():
        fast = model(tokens, record=router)
        assert torch.equal(fast, model(tokens)), "the same path, to the last bit"
        model(tokens, record=told.__setitem__)
    assert router.experts_used == 2
    assert len(router.router_logits) == 3
    for layer, logits in enumerate(router.router_logits):
        assert logits.shape == (2, 7, 4)
        expected = told[f"layers.{layer}.mlp.router_logits"]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
