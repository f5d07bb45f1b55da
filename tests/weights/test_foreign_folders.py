"""Folders written by transformers open in cloche, and compute the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from weights_parity import assert_equal_models

from cloche.errors import CheckpointError
from cloche.text.tokenizer import SpecialIds
from cloche.weights.checkpoint import load_model, save_checkpoint
from cloche.weights.reading import find_weights

VOCAB, CONTEXT = 50, 64
ROTARY: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
EXPERTS: dict[str, Any] = {
    **ROTARY,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "num_experts": 4,
}
WINDOW: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
SMALL_GPT2: dict[str, Any] = {
    "vocab_size": VOCAB,
    "n_positions": CONTEXT,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
}


def rope(kind: str, **parts: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5e3, **parts}}


LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
THEIRS = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**ROTARY, head_dim=8, attention_bias=True)),
    "qwen3, tied": (Qwen3ForCausalLM, Qwen3Config(**ROTARY, head_dim=16, tie_word_embeddings=True)),
    "qwen3 with yarn": (Qwen3ForCausalLM, Qwen3Config(**ROTARY, head_dim=8, **YARN)),
    "qwen3 with a window": (Qwen3ForCausalLM, Qwen3Config(**ROTARY, head_dim=8, **WINDOW)),
    "qwen3 moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**EXPERTS, num_experts_per_tok=2),
    ),
    "qwen3 moe, normalised": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**EXPERTS, num_experts_per_tok=3, norm_topk_prob=True),
    ),
    "llama": (LlamaForCausalLM, LlamaConfig(**ROTARY, rms_norm_eps=1e-5)),
    "llama 3": (LlamaForCausalLM, LlamaConfig(**ROTARY, **LLAMA3, tie_word_embeddings=True)),
    "llama, linear": (LlamaForCausalLM, LlamaConfig(**ROTARY, **rope("linear", factor=4.0))),
    "llama, dynamic": (LlamaForCausalLM, LlamaConfig(**ROTARY, **rope("dynamic", factor=4.0))),
    "llama with biases": (
        LlamaForCausalLM,
        LlamaConfig(**ROTARY, attention_bias=True, mlp_bias=True, head_dim=16),
    ),
    "mistral": (MistralForCausalLM, MistralConfig(**ROTARY, sliding_window=4)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**ROTARY)),
    "qwen2 with a window": (Qwen2ForCausalLM, Qwen2Config(**ROTARY, **WINDOW)),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**SMALL_GPT2)),
    "gpt2, relu, untied": (
        GPT2LMHeadModel,
        GPT2Config(**SMALL_GPT2, activation_function="relu", tie_word_embeddings=False, n_inner=40),
    ),
}


def made(kind: str) -> PreTrainedModel:
    """A tiny model of theirs, its weights random, norms and biases too."""
    model_class, config = THEIRS[kind]
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name or "ln_" in name else 0.0
            parameter.normal_(centre if name.endswith("weight") else 0.0, 0.2)
    return model


@pytest.mark.parametrize("kind", THEIRS)
def test_a_folder_written_by_transformers_opens(tmp_path, kind):
    theirs = made(kind)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    mine, config = load_model(tmp_path)
    assert (config.vocab_size, config.context) == (VOCAB, CONTEXT)
    assert_equal_models(mine, theirs, vocab_size=VOCAB, time=30)


@pytest.mark.parametrize("kind", ["qwen3", "qwen3 moe", "llama 3", "qwen2", "gpt2", "mistral"])
def test_and_is_written_back_as_it_was(tmp_path, kind, characters, qwen2s_tokenizer):
    theirs = made(kind)
    theirs.save_pretrained(tmp_path / "theirs")
    mine, config = load_model(tmp_path / "theirs")
    folder = tmp_path / "mine"
    tokenizer = qwen2s_tokenizer if kind == "qwen2" else characters
    special = SpecialIds()  # the tokenizer's own are beyond this vocabulary
    save_checkpoint(
        folder, model=mine, config=config, tokenizer=tokenizer, card="", special_ids=special
    )
    described = json.loads((folder / "config.json").read_text())
    assert described["model_type"] == theirs.config.model_type
    again = type(theirs).from_pretrained(folder)
    assert type(again) is type(theirs)
    stored, before = find_weights(folder).headers, find_weights(tmp_path / "theirs").headers
    assert {name: header.shape for name, header in stored.items()} == {
        name: header.shape for name, header in before.items()
    }
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_open_in_float32(tmp_path, dtype):
    made("llama").to(dtype).save_pretrained(tmp_path)
    assert find_weights(tmp_path).dtypes() == (
        {torch.bfloat16: "BF16", torch.float16: "F16"}[dtype],
    )
    mine, _ = load_model(tmp_path)
    assert {parameter.dtype for parameter in mine.parameters()} == {torch.float32}
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert_equal_models(mine, theirs, vocab_size=VOCAB, time=20)


def test_openais_names_without_a_prefix_and_with_masks_open(tmp_path):
    theirs = made("gpt2")
    theirs.save_pretrained(tmp_path)
    tensors = {
        name.removeprefix("transformer."): tensor.clone()
        for name, tensor in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    tensors["h.0.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    mine, _ = load_model(tmp_path)
    assert_equal_models(mine, theirs, vocab_size=VOCAB, time=20)


def test_a_model_too_large_for_memory_is_refused_before_it_is_built(tmp_path: Path):
    made("llama").save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 2**30}))
    with pytest.raises(CheckpointError, match=r"1073741824 layers are asked for.* 2\d tensors"):
        load_model(tmp_path)
