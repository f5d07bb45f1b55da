"""Held against PEFT: forward, gradients, merged weights, and files both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from weights_parity import assert_equal_logits

from cloche.model.config import Family, ModelOptions
from cloche.model.lora import (
    LoraConfig,
    add_lora,
    lora_layers,
    lora_weights,
    merge_lora,
)
from cloche.weights.adapter_names import stored_tensors
from cloche.weights.adapters import apply_adapter, load_adapter, save_adapter
from cloche.weights.checkpoint import load_network

# PEFT asks transformers in words that are on their way out; all other warnings are errors
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
KINDS = {
    "lora": LoraConfig(rank=4, alpha=6.0),
    "rslora": LoraConfig(rank=4, alpha=6.0, rslora=True),
    "dora": LoraConfig(rank=4, alpha=6.0, dora=True),
}
IDS = torch.arange(22).reshape(2, 11) % 20


FAMILIES: dict[str, Family] = {"lora": "qwen3", "rslora": "llama", "dora": "qwen3"}


@pytest.fixture
def base(kind: str, tmp_path: Path, save) -> Path:
    """The folder of a base, which is of a class of Hugging Face."""
    return save(tmp_path / "base", options=ModelOptions(family=FAMILIES[kind]))


def hugging_face(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").eval()


def learned(base: Path, config: LoraConfig) -> Any:
    model, _ = load_network(base)
    add_lora(model, config, seed=3)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0.0, 0.05)
            if layer.lora_magnitude_vector is not None:
                layer.lora_magnitude_vector.mul_(torch.rand(layer.out_features) + 0.5)
    return model


def with_peft(base: Path, mine: Any, config: LoraConfig) -> Any:
    """PEFT's own model with the same adapter, copied tensor by tensor."""
    theirs = get_peft_model(
        hugging_face(base),
        PeftLoraConfig(
            r=config.rank,
            lora_alpha=int(config.alpha),
            use_rslora=config.rslora,
            use_dora=config.dora,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    named = dict(theirs.named_parameters())
    copied = set()
    with torch.no_grad():
        for name, tensor in stored_tensors(lora_weights(mine, config), mine.config).items():
            layer, part = name.removesuffix(".weight").rsplit(".", 1)
            full = f"{layer}.{part}.default.weight"
            named[full].copy_(tensor)
            copied.add(full)
    assert copied == {name for name, p in named.items() if p.requires_grad}
    return theirs


@pytest.mark.parametrize("kind", KINDS)
def test_logits_gradients_and_merged_weights_are_pefts(base, kind):
    config = KINDS[kind]
    mine = learned(base, config)
    theirs = with_peft(base, mine, config)
    slopes = torch.randn(2, 11, mine.config.vocab_size)
    own, other = mine(IDS), theirs(IDS).logits
    assert_equal_logits(own, other)
    own.backward(slopes)
    other.backward(slopes)
    gradients = {name: p.grad for name, p in mine.named_parameters() if p.requires_grad}
    named = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert len(gradients) == len(named)
    for name, gradient in gradients.items():
        assert gradient is not None
        expected = named[f"base_model.model.model.{name}.default.weight"]
        scale = float(expected.abs().max())
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * scale)
    merge_lora(mine)
    merged = theirs.merge_and_unload().state_dict()
    for name, tensor in mine.state_dict().items():
        stored = name if name.startswith("lm_head.") else f"model.{name}"
        torch.testing.assert_close(tensor, merged[stored], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_peft_opens_what_is_saved_and_gives_equal_logits(base, tmp_path, kind):
    mine = learned(base, KINDS[kind])
    save_adapter(tmp_path / "adapter", mine, KINDS[kind], base=base, base_hash="a" * 64)
    theirs = PeftModel.from_pretrained(hugging_face(base), str(tmp_path / "adapter"))
    with torch.no_grad():
        assert_equal_logits(mine(IDS), theirs(IDS).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_saves_is_opened_with_equal_logits(base, tmp_path, kind):
    theirs = with_peft(base, learned(base, KINDS[kind]), KINDS[kind])
    theirs.save_pretrained(tmp_path / "theirs")
    adapter = load_adapter(tmp_path / "theirs")
    model, _ = load_network(base)
    told: list[str] = []
    apply_adapter(model, adapter, base_hash="b" * 64, warn=told.append)
    assert "does not say by a hash" in told[0]
    assert adapter.config.scale == KINDS[kind].scale
    with torch.no_grad():
        assert_equal_logits(model(IDS), theirs(IDS).logits)


def test_a_trained_embedding_goes_both_ways_with_a_tied_head(tmp_path, save):
    base = save(tmp_path / "base", options=ModelOptions(family="llama", tied=True))
    mine = learned(base, KINDS["lora"])
    embedding = mine.get_parameter("embed_tokens.weight").requires_grad_(True)
    with torch.no_grad():
        embedding.add_(0.1)
    save_adapter(tmp_path / "adapter", mine, KINDS["lora"], base=base, base_hash=None)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["lm_head", "model.embed_tokens"]
    theirs = PeftModel.from_pretrained(hugging_face(base), str(tmp_path / "adapter"))
    with torch.no_grad():
        assert_equal_logits(mine(IDS), theirs(IDS).logits)
    theirs.save_pretrained(tmp_path / "again", save_embedding_layers=False)
    model: Any = load_network(base)[0]
    apply_adapter(model, load_adapter(tmp_path / "again"), base_hash=None, warn=lambda _: None)
    assert model.lm_head.weight is model.embed_tokens.weight
    with torch.no_grad():
        assert_equal_logits(model(IDS), mine(IDS))


def test_pefts_adapter_of_gpt2s_joined_layer_is_opened(tmp_path, save):
    base = save(tmp_path / "base", options=ModelOptions(family="gpt2"))
    theirs = get_peft_model(
        hugging_face(base),
        PeftLoraConfig(
            r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, init_lora_weights=False
        ),
    )
    theirs.save_pretrained(tmp_path / "theirs")
    model, _ = load_network(base)
    layers = apply_adapter(
        model, load_adapter(tmp_path / "theirs"), base_hash=None, warn=lambda _: None
    )
    assert len(layers) == 2 * 4
    with torch.no_grad():
        assert_equal_logits(model(IDS), theirs(IDS).logits)


def test_a_pattern_of_targets_some_layers_and_trained_biases_are_read(tmp_path, save):
    base = save(tmp_path / "base", options=ModelOptions(family="gpt2"))
    theirs = get_peft_model(
        hugging_face(base),
        PeftLoraConfig(
            r=4,
            target_modules=r".*h\.1\.(attn\.c_proj|mlp\.c_fc)",
            fan_in_fan_out=True,
            init_lora_weights=False,
            bias="all",
        ),
    )
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    model: Any = load_network(base)[0]
    adapter = load_adapter(tmp_path / "theirs")
    layers = apply_adapter(model, adapter, base_hash=None, warn=lambda _: None)
    assert layers == ["layers.1.self_attn.o_proj", "layers.1.mlp.up_proj"]
    with torch.no_grad():
        assert_equal_logits(model(IDS), theirs(IDS).logits)
