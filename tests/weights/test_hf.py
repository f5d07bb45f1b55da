"""Configurations and names in Hugging Face's words, both ways; folders opened by transformers."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM
from weights_parity import assert_equal_logits

from cloche.errors import CheckpointError
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.rope import RopeScaling
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import SpecialIds
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.hf import LAYOUTS, from_hf_config, layout_of, to_hf_config


def tiny_config(family: str = "qwen3", **changes) -> ModelConfig:
    options = ModelOptions(**{"family": family, **changes})
    return complete(options, vocab_size=20, layers=2, width=64, context=16)


QWEN3, LLAMA, GPT2 = tiny_config(kv_heads=1), tiny_config("llama"), tiny_config("gpt2")
MOE = tiny_config("moe", experts=4)
LINEAR, LLAMA3 = RopeScaling("linear", 4.0, 9), RopeScaling("llama3", 8.0, 8, 1.5, 5.0)
YARN = RopeScaling("yarn", 4.0, 4, beta_fast=16.0, beta_slow=2.0, attention_factor=1.5)
GENUINE = {
    "default": ("qwen3", QWEN3),
    "tied with dropout": ("qwen3", replace(QWEN3, tied=True, dropout=0.25, rope_theta=5e5)),
    "biased": ("qwen3", replace(QWEN3, qkv_bias=True, output_bias=True)),
    "linear": ("qwen3", replace(QWEN3, rope_scaling=LINEAR)),
    "llama3": ("llama", replace(LLAMA, rope_scaling=LLAMA3)),
    "yarn": ("qwen3", replace(QWEN3, rope_scaling=YARN)),
    "yarn by itself": ("llama", replace(LLAMA, rope_scaling=RopeScaling("yarn", 4.0, 4))),
    "window": ("qwen3", replace(QWEN3, window=5)),
    "window from the second layer on": ("qwen3", replace(QWEN3, window=5, full_layers=1)),
    "moe": ("qwen3_moe", MOE),
    "moe, not normalised": ("qwen3_moe", replace(MOE, normalised_experts=False, balance=0.1)),
    "moe with a window": ("qwen3_moe", replace(MOE, window=5)),
    "llama": ("llama", LLAMA),
    "llama with biases": (
        "llama",
        replace(LLAMA, qkv_bias=True, output_bias=True, mlp_bias=True, tied=True),
    ),
    "llama with a window": ("mistral", replace(LLAMA, window=5)),
    "qwen2": ("qwen2", replace(LLAMA, qkv_bias=True)),
    "qwen2 with a window": ("qwen2", replace(LLAMA, qkv_bias=True, window=3, full_layers=1)),
    "gpt2": ("gpt2", GPT2),
    "gpt2, untied, exact gelu": ("gpt2", replace(GPT2, tied=False, activation="gelu")),
    "gpt2 with dropout": ("gpt2", replace(GPT2, dropout=0.3, activation="relu_squared")),
}
OWN = {
    "layernorm": replace(QWEN3, norm="layernorm", norm_eps=1e-5),
    "head bias": replace(QWEN3, head_bias=True),
    "own stretching": replace(QWEN3, norm="layernorm", rope_scaling=YARN),
    "gpt": tiny_config("gpt"),
    "gpt2 without biases": replace(GPT2, mlp_bias=False),
    "gpt2 with sinusoidal positions": replace(GPT2, positions="sinusoidal"),
    "qwen2 with odd heads": replace(LLAMA, qkv_bias=True, head_dim=10),
    "moe with a window in some layers": replace(MOE, window=5, full_layers=1),
    "seq2seq": tiny_config("seq2seq"),
    "bigram": complete(ModelOptions(family="bigram"), vocab_size=20, layers=1, width=8, context=16),
    "ngram": complete(ModelOptions(family="ngram"), vocab_size=20, layers=1, width=8, context=16),
}
ALL = {name: config for name, (_, config) in GENUINE.items()} | OWN


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_every_configuration_comes_back_from_json(config: ModelConfig):
    written = json.loads(json.dumps(to_hf_config(config, SpecialIds(bos=0, eos=0))))
    assert from_hf_config(written) == config


@pytest.mark.parametrize(("model_type", "config"), GENUINE.values(), ids=GENUINE)
def test_what_a_class_of_theirs_computes_is_written_as_that_class(model_type, config):
    written = to_hf_config(config, SpecialIds())
    assert written["model_type"] == model_type
    assert layout_of(config).obstacles(config) == []


@pytest.mark.parametrize("config", OWN.values(), ids=OWN)
def test_what_no_class_of_theirs_computes_stays_ours(config):
    assert to_hf_config(config, SpecialIds())["model_type"] == "cloche"


@pytest.mark.parametrize("config", OWN.values(), ids=OWN)
def test_each_layout_says_what_stands_in_its_way(config):
    own = [layout for layout in LAYOUTS[:-1] if config.family in layout.families]
    assert all(layout.obstacles(config) for layout in own)


@pytest.mark.parametrize(
    "config", [config for name, config in ALL.items() if config.family not in ("seq2seq", "ngram")]
)
def test_tensors_come_back_under_their_names(config: ModelConfig):
    torch.manual_seed(0)
    tensors, names = build_model(config).state_dict(), layout_of(config).names
    stored = names.to_stored(tensors, config)
    assert all(names.canonical(name) == name for name in stored)
    assert names.embedding in stored
    read = {
        k: v for name, value in stored.items() for k, v in names.from_stored(name, value).items()
    }
    assert tensors.keys() - read.keys() == ({"lm_head.weight"} if config.tied else set())
    assert all(torch.equal(tensors[name], value) for name, value in read.items())


def test_special_ids_are_written_by_role_zero_included():
    written = to_hf_config(QWEN3, SpecialIds(bos=0, eos=3))
    ids = [written[f"{role}_token_id"] for role in ("bos", "eos", "pad")]
    assert ids == [0, 3, None]


def test_rotary_settings_of_older_transformers_are_read():
    scaled = replace(QWEN3, rope_theta=1e6, rope_scaling=YARN)
    for config in (replace(QWEN3, rope_theta=1e6), scaled):
        written = to_hf_config(config, SpecialIds())
        del written["rope_parameters"]
        assert from_hf_config(written) == config
    written = to_hf_config(scaled, SpecialIds())
    written["rope_scaling"]["type"] = written["rope_scaling"].pop("rope_type")
    assert from_hf_config(written) == scaled


def test_rotary_settings_of_newer_transformers_are_read():
    config = replace(QWEN3, rope_theta=1e6, rope_scaling=YARN)
    written = to_hf_config(config, SpecialIds())
    del written["rope_scaling"], written["rope_theta"]
    assert from_hf_config(written) == config


def test_dynamic_scaling_opens_as_none_up_to_where_it_begins():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    written = to_hf_config(QWEN3, SpecialIds()) | {"rope_parameters": rope}
    assert from_hf_config(written) == QWEN3


def test_deepseeks_two_scales_of_yarn_become_one_factor():
    written = to_hf_config(replace(QWEN3, rope_scaling=RopeScaling("yarn", 8.0, 2)), SpecialIds())
    written["rope_scaling"] |= {"mscale": 1.0, "mscale_all_dim": 0.5}
    scaling = from_hf_config(written).rope_scaling
    assert scaling is not None
    assert scaling.attention_factor == pytest.approx((0.1 * 2.0794415 + 1) / (0.05 * 2.0794415 + 1))


def test_what_old_files_leave_out_has_the_defaults_of_the_class():
    written = to_hf_config(GPT2, SpecialIds())
    for key in ("tie_word_embeddings", "n_inner", "scale_attn_weights", "activation_function"):
        del written[key]
    assert from_hf_config(written) == GPT2
    written = to_hf_config(MOE, SpecialIds())
    written["num_local_experts"] = written.pop("num_experts")  # as transformers 5 has it
    del written["mlp_only_layers"], written["decoder_sparse_step"]
    assert from_hf_config(written) == MOE


def test_gpt2s_three_dropouts_are_one():
    written = to_hf_config(GPT2, SpecialIds())
    assert from_hf_config(written | {"resid_pdrop": 0.2, "attn_pdrop": 0.1}).dropout == 0.2


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (QWEN3, {"model_type": "mamba"}, "'mamba'; cloche opens the types qwen3, qwen3_moe, llama"),
        (QWEN3, {"model_type": None}, "of no type"),
        (QWEN3, {"rope_scaling": {"rope_type": "longrope"}}, "kind 'longrope'"),
        (QWEN3, {"rope_scaling": {"rope_type": "linear"}}, "rope_scaling, lacks factor"),
        (QWEN3, {"rope_scaling": [2]}, "rope_scaling must be an object"),
        (QWEN3, {"partial_rotary_factor": 0.5}, "in a part of each head"),
        (QWEN3, {"rope_theta": "big"}, "rope_theta must be a number"),
        (QWEN3, {"hidden_act": "relu"}, "activation 'relu'"),
        (QWEN3, {"hidden_size": None}, "lacks hidden_size"),
        (QWEN3, {"hidden_size": 1.5}, "hidden_size must be a whole number"),
        (QWEN3, {"vocab_size": 10**30}, "vocab_size must be a whole number"),
        (QWEN3, {"rms_norm_eps": float("nan")}, "rms_norm_eps must be a number from 0 on"),
        (QWEN3, {"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        (QWEN3, {"num_key_value_heads": 3, "num_attention_heads": 4}, "not divisible"),
        (
            QWEN3,
            {
                "use_sliding_window": True,
                "sliding_window": 4,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            "in turns",
        ),
        (QWEN3, {"use_sliding_window": True, "layer_types": ["full_attention"]}, "no list of 2"),
        (QWEN3, {"quantization_config": {"quant_method": "gptq"}}, r"quantized \(gptq\)"),
        (QWEN3, {"quantization_config": {"bits": 4}}, "quantized"),
        (MOE, {"mlp_only_layers": [1]}, "layers with experts and layers without"),
        (MOE, {"decoder_sparse_step": 2}, "layers with experts and layers without"),
        (MOE, {"num_experts_per_tok": 9}, "1 to 4 of 4 experts"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scaled by the layer"),
        (GPT2, {"scale_attn_weights": False}, "unscaled attention"),
        (GPT2, {"activation_function": "tanh"}, "activation 'tanh'"),
        (GPT2, {"add_cross_attention": True}, "encoder"),
        (GPT2, {"n_head": 3}, "3 heads that do not share"),
        (OWN["gpt"], {"layers": -1}, "layers cannot be -1"),
        (OWN["gpt"], {"layers": None}, "lacks layers"),
        (OWN["gpt"], {"norm": "groupnorm"}, "norm: 'groupnorm' is none of"),
        (OWN["gpt"], {"family": "gpt5"}, "family: 'gpt5' is none of"),
        (OWN["gpt"], {"rope_scaling": {"kind": "linear", "fator": 2.0}}, "unknown key fator"),
        (OWN["gpt"], {"rope_scaling": 3}, "rope_scaling must be an object"),
        (OWN["gpt"], {"memory_layers": 3}, "does not know: memory_layers"),
    ],
)
def test_models_that_cloche_does_not_know_are_refused_by_name(config, changes, message):
    with pytest.raises(CheckpointError, match=message):
        from_hf_config(to_hf_config(config, SpecialIds()) | changes)


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_checkpoint_is_at_home_in_transformers(tmp_path, tiny, tokenizer, tied):
    model, config = tiny(tokenizer.vocab_size, ModelOptions(tied=tied, kv_heads=1))
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=tokenizer, card="")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert type(theirs) is Qwen3ForCausalLM
    assert theirs.dtype == torch.float32
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    text = "times, 春眠 😀 it\n  was "
    ids = tokenizer.encode(text)
    assert their_tokenizer(text)["input_ids"] == ids
    assert their_tokenizer.decode(ids) == tokenizer.decode(ids) == text
    window = torch.tensor([ids[:16]])
    with torch.no_grad():
        assert_equal_logits(model(window), theirs(window).logits)
    assert theirs.generation_config.eos_token_id == tokenizer.special_ids.eos


def test_the_saved_tokenizer_is_the_one_that_loads(tmp_path, tiny, tokenizer):
    model, config = tiny(tokenizer.vocab_size)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=tokenizer, card="")
    assert load_tokenizer(tmp_path / "m").fingerprint == tokenizer.fingerprint
