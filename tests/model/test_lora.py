"""Adapters change nothing at first, learn alone, and merge into what they compute."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from cloche.errors import SettingError
from cloche.model.build import build_network
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.lora import (
    AdapterSet,
    LoraConfig,
    LoraWeights,
    add_lora,
    insert_lora,
    lora_layers,
    lora_weights,
    merge_lora,
    remove_lora,
    unmerge_lora,
)
from cloche.model.lora_layer import DenseLoraLinear
from cloche.model.presets import complete
from cloche.model.quantized import QuantizedLinear, quantize

IDS = torch.arange(24).reshape(2, 12) % 50
KINDS = {
    "lora": LoraConfig(rank=4),
    "rslora": LoraConfig(rank=4, rslora=True),
    "dora": LoraConfig(rank=4, dora=True),
}


def tiny(**options: Any) -> Any:
    config = complete(
        ModelOptions(heads=4, **options), vocab_size=50, layers=2, width=32, context=16
    )
    torch.manual_seed(0)
    return build_network(config).eval()


def learned(model: nn.Module, config: LoraConfig, *, seed: int = 1) -> LoraWeights:
    """Adapters in a model as if they had learned something."""
    add_lora(model, config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0.0, 0.05, generator=generator)
            if layer.lora_magnitude_vector is not None:
                layer.lora_magnitude_vector.mul_(1.5)
    return lora_weights(model, config)


def copies(weights: LoraWeights) -> LoraWeights:
    cloned = {name: tensor.clone() for name, tensor in weights.tensors.items()}
    return replace(weights, tensors=cloned)


def state_bytes(model: nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in model.state_dict().items()
    }


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2"])
def test_fresh_adapters_change_nothing_and_learned_ones_do(kind, family):
    model = tiny(family=family)
    before = logits(model)
    add_lora(model, KINDS[kind], seed=1)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    remove_lora(model)
    learned(model, KINDS[kind])
    assert (logits(model) - before).abs().max() > 0.01


def test_the_scale_is_alpha_over_rank_or_over_its_root():
    assert LoraConfig(rank=16, alpha=32.0).scale == 2.0
    assert LoraConfig(rank=16, alpha=32.0, rslora=True).scale == 8.0


def test_all_linear_layers_but_the_head_have_adapters_that_alone_are_trained():
    model = tiny()
    names = add_lora(model, LoraConfig(rank=4), seed=0)
    assert len(names) == 2 * 7
    assert "layers.1.mlp.down_proj" in names
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {f"{name}.{part}" for name in names for part in ("lora_A", "lora_B")}
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def test_the_plain_models_names_stay_in_the_state_dict():
    plain = set(tiny().state_dict())
    model = tiny()
    add_lora(model, LoraConfig(rank=4), seed=0)
    assert plain < set(model.state_dict())
    assert all("lora_" in name for name in set(model.state_dict()) - plain)


def test_first_weights_are_a_function_of_seed_and_name_alone():
    few, all_layers, other = tiny(), tiny(), tiny()
    add_lora(few, LoraConfig(rank=4, targets=("layers.1.self_attn.o_proj",)), seed=7)
    add_lora(all_layers, LoraConfig(rank=4), seed=7)
    add_lora(other, LoraConfig(rank=4), seed=8)
    name = "layers.1.self_attn.o_proj"
    found = [model.get_submodule(name).lora_A for model in (few, all_layers, other)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    bound = lora_layers(few)[name].in_features ** -0.5
    assert 0.8 * bound < float(found[0].detach().abs().max()) <= bound


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_merged_computes_what_the_adapter_does_and_unmerging_gives_every_byte_back(kind, family):
    model = tiny(family=family)
    learned(model, KINDS[kind])
    before, expected = state_bytes(model), logits(model)
    taken = merge_lora(model)
    assert not lora_layers(model)
    assert [type(model.get_submodule(name)) for name in taken.layers] == [nn.Linear] * len(
        taken.layers
    )
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    unmerge_lora(model, taken)
    assert state_bytes(model) == before


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
def test_removing_adapters_gives_the_plain_model_back_byte_for_byte(bits):
    model = tiny()
    if bits:
        quantize(model, bits)
    before = state_bytes(model)
    learned(model, LoraConfig(rank=4, dora=True))
    remove_lora(model)
    assert state_bytes(model) == before
    assert {type(layer) for layer in model.layers.modules() if hasattr(layer, "in_features")} == {
        QuantizedLinear if bits else nn.Linear
    }


@pytest.mark.parametrize("dora", [False, True])
def test_gradients_are_those_of_the_matrix_written_out(dora):
    torch.manual_seed(0)
    layer = DenseLoraLinear(nn.Linear(24, 40), LoraConfig(rank=4, dora=dora))
    layer.draw(seed=0, name="x")
    layer.requires_grad_(True)
    layer.weight.requires_grad_(False)
    nn.init.normal_(layer.lora_B, std=0.1)
    vectors = torch.randn(3, 5, 24, requires_grad=True)
    slopes = torch.randn(3, 5, 40)
    layer(vectors).backward(slopes)
    parts = [vectors, layer.lora_A, layer.lora_B]
    if layer.lora_magnitude_vector is not None:
        parts.append(layer.lora_magnitude_vector)
    found = [part.grad for part in parts]
    matrix = layer.weight + layer.scale * layer.lora_B @ layer.lora_A
    if layer.lora_magnitude_vector is not None:
        lengths = matrix.detach().norm(dim=1)
        matrix = matrix * (layer.lora_magnitude_vector / lengths)[:, None]
    products = functional.linear(vectors, matrix, layer.bias)
    expected = torch.autograd.grad(products, parts, slopes)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_layer_whose_input_is_frozen_learns_all_the_same():
    layer = DenseLoraLinear(nn.Linear(8, 8), LoraConfig(rank=2))
    layer.draw(seed=0, name="x")
    layer(torch.randn(4, 8)).sum().backward()
    assert layer.lora_B.grad is not None
    assert layer.lora_B.grad.abs().sum() > 0


@pytest.mark.parametrize("config", [KINDS["dora"], LoraConfig(rank=4, dropout=0.5)])
@pytest.mark.parametrize("bits", [None, "int4"])
def test_it_computes_in_the_dtype_of_its_inputs_while_adapters_stay_float32(config, bits):
    model = tiny().bfloat16()
    if bits:
        quantize(model, bits)
    learned(model, config)
    model.train()
    found = model.hidden(IDS)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert {None if g is None else g.dtype for g in gradients} == {torch.float32}


def test_over_a_quantized_base_it_is_moved_to_another_dtype_as_any_model_is():
    model = tiny()
    quantize(model, "int4")
    learned(model, LoraConfig(rank=4))
    expected = logits(model)
    found = logits(model.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    scale = float(expected.square().mean().sqrt())
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1 * scale)


def test_dropout_acts_on_the_adapters_inputs_in_training_alone():
    model = tiny()
    learned(model, LoraConfig(rank=4, dropout=0.5))
    still = logits(model)
    assert torch.equal(logits(model), still)
    model.train()
    torch.manual_seed(3)
    first = logits(model)
    torch.manual_seed(3)
    assert torch.equal(logits(model), first)
    assert not torch.allclose(first, still)


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("config", [KINDS["lora"], KINDS["dora"]])
def test_over_a_quantized_base_logits_and_gradients_are_those_over_what_its_numbers_say(
    bits, config
):
    rounded = tiny(tied=False)
    quantize(rounded, bits)
    said = tiny(tied=False)
    with torch.no_grad():
        said.embed_tokens.weight.copy_(rounded.embed_tokens.table.matrix())
        for name, layer in rounded.named_modules():
            if isinstance(layer, QuantizedLinear) and name != "embed_tokens.table":
                said.get_submodule(name).weight.copy_(layer.matrix())
    found = []
    for model in (rounded, said):
        learned(model, config)
        out = model(IDS)
        out.square().sum().backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        found.append((out.detach(), grads))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
    taken = merge_lora(rounded)
    assert all(type(rounded.get_submodule(name)) is nn.Linear for name in taken.layers)
    torch.testing.assert_close(logits(rounded), found[0][0], rtol=1e-4, atol=1e-4)


def test_over_a_quantized_base_no_matrix_is_kept_for_the_backward_pass():
    model = tiny()
    quantize(model, "int4")
    learned(model, LoraConfig(rank=2))
    sizes: list[int] = []
    matrix_sizes = {
        layer.in_features * layer.out_features
        for layer in (*lora_layers(model).values(), model.lm_head)
    }

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() and tensor.ndim == 2:
            sizes.append(tensor.shape[0] * tensor.shape[1])
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden(IDS[:1, :7])
        model.head(hidden).sum().backward()
    assert sizes
    assert not set(sizes) & matrix_sizes


def test_several_adapters_over_one_base_are_switched_by_name_and_leave_no_trace():
    model = tiny()
    base, base_logits = state_bytes(model), logits(model)
    adapters, expected = {}, {}
    for name, seed, config in (("a", 1, KINDS["lora"]), ("b", 2, KINDS["dora"])):
        adapters[name] = copies(learned(model, config, seed=seed))
        expected[name] = logits(model)
        remove_lora(model)
    adapters["b"].replaced["norm.weight"] = torch.full((32,), 1.5)
    chosen = AdapterSet(model)
    for name, weights in adapters.items():
        chosen.add(name, weights)
    assert chosen.names == ["a", "b"]
    for name in ("a", "b", "a"):
        chosen.activate(name)
        assert chosen.active == name
        # b's own last norm multiplies all logits by its weight, which is 1 in the base
        times = 1.5 if name == "b" else 1.0
        torch.testing.assert_close(logits(model), expected[name] * times, rtol=1e-4, atol=1e-5)
    chosen.activate(None)
    assert state_bytes(model) == base
    assert torch.equal(logits(model), base_logits)
    with pytest.raises(SettingError, match="no adapter c"):
        chosen.activate("c")
    with pytest.raises(SettingError, match="two adapters of the name a"):
        chosen.add("a", adapters["b"])


def test_trained_tensors_beside_the_adapter_come_along_with_a_tied_head():
    model = tiny(tied=True)
    weights = learned(model, LoraConfig(rank=4))
    embedding = torch.randn(50, 32)
    full = replace(copies(weights), replaced={"embed_tokens.weight": embedding})
    remove_lora(model)
    insert_lora(model, full)
    assert model.lm_head.weight is model.embed_tokens.weight
    assert torch.equal(model.embed_tokens.weight, embedding)
    assert model.embed_tokens.weight.requires_grad
    again = lora_weights(model, weights.config)
    assert set(again.replaced) == {"embed_tokens.weight"}
    assert set(again.tensors) == set(weights.tensors)


def test_targets_by_name_mean_the_layers_that_end_in_it():
    model = tiny()
    names = add_lora(model, LoraConfig(targets=("q_proj", "layers.1.mlp.up_proj")), seed=0)
    assert names == [
        "layers.0.self_attn.q_proj",
        "layers.1.self_attn.q_proj",
        "layers.1.mlp.up_proj",
    ]


@pytest.mark.parametrize(
    ("options", "targets", "message"),
    [
        ({}, ("q_prj",), "no linear layer q_prj: did you mean q_proj"),
        ({}, ("proj",), "no linear layer proj"),
        ({}, ("input_layernorm",), "input_layernorm is no linear layer"),
        ({"tied": True}, ("lm_head",), "lm_head is the token embedding, too"),
        ({"family": "moe"}, "all-linear", "mixture of experts can have no adapter"),
        ({"family": "moe"}, ("gate",), "mixture of experts can have no adapter"),
        ({"family": "bigram"}, "all-linear", "Bigram model has no linear layers"),
    ],
)
def test_layers_that_can_have_no_adapter_are_told_by_name(options, targets, message):
    if options.get("family") == "bigram":
        model = build_network(
            ModelConfig("bigram", 50, 16, 50, 0, 1, 1, 50, 0)  # a table alone
        )
    else:
        model = tiny(**options)
    with pytest.raises(SettingError, match=message):
        add_lora(model, LoraConfig(targets=targets), seed=0)
    assert not lora_layers(model)


def test_attention_of_a_mixture_can_have_adapters():
    model = tiny(family="moe")
    names = add_lora(model, LoraConfig(targets=("q_proj", "v_proj")), seed=0)
    assert len(names) == 4


def test_a_layer_of_unknown_kind_is_an_error():
    class Odd(nn.Linear):
        pass

    model = tiny()
    model.layers[0].mlp.up_proj = Odd(32, 88)
    with pytest.raises(SettingError, match="kind Odd"):
        add_lora(model, LoraConfig(), seed=0)


def test_a_second_adapter_in_the_same_layers_is_refused():
    model = tiny()
    add_lora(model, LoraConfig(rank=2), seed=0)
    with pytest.raises(SettingError, match="adapter already"):
        add_lora(model, LoraConfig(rank=2), seed=0)


def test_all_settings_that_cannot_be_used_are_told_at_once():
    problems = LoraConfig(rank=0, alpha=float("nan"), dropout=1.0, targets=()).problems()
    assert [problem.split()[0] for problem in problems] == [
        "lora.rank",
        "lora.alpha",
        "lora.dropout",
        "lora.targets",
    ]


def test_an_adapter_that_does_not_fit_is_refused_with_all_reasons():
    weights = copies(learned(tiny(), LoraConfig(rank=4)))
    weights.tensors["layers.0.mlp.up_proj.lora_A"] = torch.zeros(4, 31)
    del weights.tensors["layers.0.mlp.down_proj.lora_B"]
    weights.tensors["layers.9.mlp.up_proj.lora_A"] = torch.zeros(4, 32)
    model = tiny()
    with pytest.raises(SettingError) as caught:
        insert_lora(model, replace(weights, replaced={"norm.weight": torch.ones(3)}))
    told = str(caught.value)
    assert "no linear layer layers.9.mlp.up_proj" in told
    assert "layers.0.mlp.up_proj.lora_A is [4, 31]" in told
    assert "layers.0.mlp.down_proj.lora_B is missing" in told
    assert "norm.weight is [3], the model's is [32]" in told
    assert not lora_layers(model)
