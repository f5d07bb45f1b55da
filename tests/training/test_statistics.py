"""Figures of a step: each against the plain computation of what it says it is."""

import math
import mmap

import pytest
import torch
from torch import nn

from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.training.statistics import (
    first_nonfinite,
    first_nonfinite_output,
    gradient_metrics,
    layer_of,
    memory_metrics,
    norms_by_layer,
    statistics_due,
    tensor_norms,
    update_metrics,
    weights_now,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = complete(
        ModelOptions(layers=2, width=32, context=16), vocab_size=11, layers=2, width=32, context=16
    )
    return build_network(config)


def gradients(model):
    return [(name, parameter.grad) for name, parameter in model.named_parameters()]


def learn(model):
    model(torch.arange(8)[None]).square().sum().backward()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("layers.0.self_attn.q_proj.weight", "layers.0"),
        ("layers.11.mlp.experts.3.up_proj.weight", "layers.11"),
        ("encoder.layers.1.input_layernorm.bias", "encoder.layers.1"),
        ("embed_tokens.weight", "embed_tokens"),
        ("decoder.norm.weight", "decoder.norm"),
        ("lm_head.weight", "lm_head"),
        ("table", "table"),
    ],
)
def test_a_parameter_belongs_to_its_block_or_its_module(name, layer):
    assert layer_of(name) == layer


def test_gradient_norms_by_layer_add_up_to_the_norm_of_the_whole_gradient(model):
    learn(model)
    metrics = gradient_metrics(gradients(model))
    assert {"train/grad_norm/layers.0", "train/grad_norm/layers.1"} <= metrics.keys()
    assert "train/grad_norm/embed_tokens" in metrics
    inside = torch.cat([g.flatten() for name, g in gradients(model) if "layers.1." in name])
    assert metrics["train/grad_norm/layers.1"] == pytest.approx(float(inside.norm()), rel=1e-5)
    total = float(nn.utils.get_total_norm(g for _, g in gradients(model)))
    together = math.sqrt(sum(value**2 for value in metrics.values()))
    assert together == pytest.approx(total, rel=1e-5)


def test_gradient_norms_of_a_broken_gradient_say_so():
    broken = torch.tensor([1.0, float("nan")])
    metrics = gradient_metrics([("layers.0.w", torch.ones(4)), ("layers.1.w", broken)])
    assert metrics["train/grad_norm/layers.0"] == 2.0
    assert math.isnan(metrics["train/grad_norm/layers.1"])


def test_norms_by_layer_survive_squares_too_large_for_float32():
    norms = norms_by_layer(["layers.0.a", "layers.0.b"], torch.tensor([3e30, 4e30]))
    assert norms["layers.0"] == pytest.approx(5e30)


def test_no_tensors_have_no_norms():
    assert norms_by_layer([], tensor_norms([])) == {}


def test_update_ratio_is_the_change_over_the_weights_before_it(model):
    before = weights_now(model.named_parameters())
    kept = {name: weight.clone() for name, weight in before.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers.0." in name:
                parameter.mul_(1.01)
            elif "lm_head" in name:
                parameter.mul_(0.5)
    ratios = update_metrics(before, model.named_parameters())
    assert ratios["train/update_ratio/layers.0"] == pytest.approx(0.01, rel=1e-4)
    assert ratios["train/update_ratio/lm_head"] == pytest.approx(0.5)
    assert ratios["train/update_ratio/layers.1"] == 0.0
    assert torch.equal(model.layers[1].mlp.up_proj.weight, kept["layers.1.mlp.up_proj.weight"])


def test_a_layer_of_zeros_has_no_update_ratio():
    weight = nn.Parameter(torch.zeros(3))
    before = weights_now([("layers.0.bias", weight)])
    with torch.no_grad():
        weight.add_(1.0)
    assert update_metrics(before, [("layers.0.bias", weight)]) == {}


def test_memory_grows_by_what_is_held_and_the_peak_stays():
    device = torch.device("cpu")
    before = memory_metrics(device)
    held = mmap.mmap(-1, 48 * 2**20)  # not from what the process freed and kept
    held.write(bytes(48 * 2**20))
    during = memory_metrics(device)
    assert during["perf/memory_bytes"] - before["perf/memory_bytes"] > 40 * 2**20
    held.close()
    after = memory_metrics(device)
    if "perf/peak_memory_bytes" in after:
        counted_late = 2**20  # Linux gathers its counts in small lots
        assert after["perf/peak_memory_bytes"] >= during["perf/memory_bytes"] - counted_late
        assert after["perf/peak_memory_bytes"] >= after["perf/memory_bytes"]


def test_the_broken_gradient_nearest_to_the_output_is_where_it_began(model):
    learn(model)
    assert first_nonfinite(gradients(model)) is None
    model.layers[1].mlp.down_proj.weight.grad[0, 0] = float("inf")
    model.layers[0].mlp.down_proj.weight.grad[0, 0] = float("nan")  # what follows from it
    model.embed_tokens.weight.grad[0, 0] = float("nan")
    assert first_nonfinite(gradients(model)) == "layers.1"


def test_a_gradient_that_is_large_is_no_broken_one():
    assert first_nonfinite([("layers.0.w", torch.full((4,), 3e38))]) is None


def test_the_innermost_part_with_a_broken_output_is_named_and_hooks_are_gone(model):
    ids = torch.arange(8)[None]
    assert first_nonfinite_output(model, lambda: model(ids)) is None
    with torch.no_grad():
        model.layers[1].self_attn.v_proj.weight[0, 0] = float("inf")
    assert first_nonfinite_output(model, lambda: model(ids)) == "layers.1.self_attn.v_proj"
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_gone_where_the_pass_itself_fails(model):
    with pytest.raises(ZeroDivisionError):
        first_nonfinite_output(model, lambda: 1 // 0)
    assert not any(module._forward_hooks for module in model.modules())


def test_figures_by_layer_are_due_at_evaluations_or_as_often_as_asked():
    assert [s for s in range(1, 13) if statistics_due(s, every=0, eval_every=6)] == [6, 12]
    assert [s for s in range(1, 13) if statistics_due(s, every=4, eval_every=6)] == [4, 8, 12]


@pytest.mark.parametrize("shape", [(700, 300), (3,), (1025, 1030)])
def test_norms_of_bfloat16_tensors_are_those_of_their_float32_copies(shape):
    torch.manual_seed(0)
    tensor = (torch.randn(shape) * 3).bfloat16()
    (found,) = tensor_norms([tensor])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, tensor.float().norm(), rtol=1e-4, atol=0)
