"""Configurations and names in Hugging Face's words, both ways; folders opened by transformers."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import SpecialIds
from cloche.weights.checkpoint import load_model, save_checkpoint
from cloche.weights.hf import from_hf_config, from_hf_name, is_qwen3, to_hf_config, to_hf_name

PLAIN = complete(ModelOptions(kv_heads=1), vocab_size=20, layers=2, width=64, context=16)
VARIANTS = {
    "default": PLAIN,
    "tied with dropout": replace(PLAIN, tied=True, dropout=0.25, rope_theta=5e5),
    "biased": replace(PLAIN, qkv_bias=True, output_bias=True),
    "layernorm": replace(PLAIN, norm="layernorm", norm_eps=1e-5),
    "gpt": complete(ModelOptions(family="gpt"), vocab_size=20, layers=2, width=64, context=16),
    "bigram": complete(ModelOptions(family="bigram"), vocab_size=20, layers=1, width=8, context=16),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_configuration_comes_back_from_json(config: ModelConfig):
    written = json.loads(json.dumps(to_hf_config(config, SpecialIds(bos=0, eos=0))))
    assert from_hf_config(written) == config


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_only_a_genuine_qwen3_is_called_one(config: ModelConfig):
    genuine = config in (VARIANTS[n] for n in ("default", "tied with dropout", "biased"))
    assert is_qwen3(config) == genuine
    written = to_hf_config(config, SpecialIds())
    assert written["model_type"] == ("qwen3" if genuine else "cloche")


def test_special_ids_are_written_by_role_zero_included():
    written = to_hf_config(PLAIN, SpecialIds(bos=0, eos=3))
    ids = [written[f"{role}_token_id"] for role in ("bos", "eos", "pad")]
    assert ids == [0, 3, None]


@pytest.mark.parametrize(
    "name", ["embed_tokens.weight", "layers.0.mlp.up_proj.weight", "lm_head.weight", "lm_head.bias"]
)
def test_names_go_both_ways(name):
    assert from_hf_name(to_hf_name(name)) == name


def test_rotary_settings_of_older_transformers_are_read():
    written = to_hf_config(replace(PLAIN, rope_theta=1e6), SpecialIds())
    del written["rope_parameters"]
    assert from_hf_config(written | {"rope_scaling": None}).rope_theta == 1e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "'mamba'; cloche opens the types 'qwen3' and 'cloche'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "kind 'yarn'"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_key_value_heads": 3, "num_attention_heads": 4}, "not divisible"),
    ],
)
def test_models_that_cloche_does_not_know_are_refused_by_name(changes, message):
    with pytest.raises(CheckpointError, match=message):
        from_hf_config(to_hf_config(PLAIN, SpecialIds()) | changes)


def assert_equal_logits(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = theirs.pow(2).mean().sqrt().item()
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * scale)


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


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"], ids=["one file", "sharded"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_written_by_transformers_opens(tmp_path, tied, shard_size):
    torch.manual_seed(0)
    theirs = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            attention_bias=True,
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    model, config = load_model(tmp_path)
    assert (config.context, config.tied, config.qkv_bias) == (64, tied, True)
    window = torch.randint(50, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_equal_logits(model.eval()(window), theirs(window).logits)


def test_the_saved_tokenizer_is_the_one_that_loads(tmp_path, tiny, tokenizer):
    model, config = tiny(tokenizer.vocab_size)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=tokenizer, card="")
    assert load_tokenizer(tmp_path / "m").fingerprint == tokenizer.fingerprint
