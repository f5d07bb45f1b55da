"""Models as GGUF files and back, for every architecture and type, and as others compute them."""

from dataclasses import replace

import pytest
import torch
from gguf_samples import (
    EXTRA_ROWS,
    TEXT,
    build,
    byte_pairs,
    configurations,
    log_probabilities,
    write,
)
from transformers import AutoModelForCausalLM

from cloche.errors import CheckpointError
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import BALANCE, complete
from cloche.model.rope import RopeScaling
from cloche.weights.gguf_architecture import express
from cloche.weights.gguf_checking import TOLERANCES
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp
from cloche.weights.gguf_reading import import_gguf

TOKENIZER = byte_pairs()
CONFIGS = configurations(TOKENIZER.vocab_size + EXTRA_ROWS)
IDS = TOKENIZER.encode(TEXT * 2)[:100]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_from_f32_bit_by_bit(name, tmp_path):
    model = build(CONFIGS[name])
    read = import_gguf(write(tmp_path / "model.gguf", model, TOKENIZER))
    assert read.config == model.config
    wanted, found = model.state_dict(), read.model.state_dict()
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key


@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_computes_what_we_compute(name, tmp_path):
    pytest.importorskip("xllamacpp")
    model = build(CONFIGS[name])
    path = write(tmp_path / "model.gguf", model, TOKENIZER)
    sequences = [IDS[:count] for count in (1, 20, 100)]
    answers = ask_llama_cpp(path, Questions(sequences=sequences, whole=TOKENIZER.encode("a")[0]))
    # llama.cpp takes GPT-2's activation from a table of 16-bit numbers.
    most = 5e-3 if name == "gpt2" else 1e-4
    for ids, likeliest in zip(sequences, answers.likeliest, strict=True):
        ours = log_probabilities(model, ids)
        assert len(likeliest) == 50
        assert all(abs(float(ours[number]) - theirs) < most for number, theirs in likeliest)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("name", ["qwen3", "qwen3moe", "llama", "gpt2"])
def test_smaller_types_change_no_more_than_they_may(name, kind, tmp_path):
    model = build(CONFIGS[name])
    read = import_gguf(write(tmp_path / "model.gguf", model, TOKENIZER, kind=kind))
    with torch.no_grad():
        wanted, found = model(torch.tensor([IDS])), read.model(torch.tensor([IDS]))
    assert 0 < (found - wanted).std() < TOLERANCES[kind].stored * wanted.std()
    for key, tensor in read.model.state_dict().items():
        delicate = tensor.dim() == 1 or key.endswith(("mlp.gate.weight", "embed_positions.weight"))
        assert torch.equal(tensor, model.state_dict()[key]) == delicate, key


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_a_textbook_gpt_becomes_a_gpt2_that_computes_the_same(positions, kv_heads, tmp_path):
    options = ModelOptions(family="gpt", positions=positions, heads=4, kv_heads=kv_heads)
    model = build(complete(options, vocab_size=323, layers=2, width=64, context=64))
    read = import_gguf(write(tmp_path / "model.gguf", model, TOKENIZER))
    assert read.config.family == "gpt2"
    with torch.no_grad():
        ids = torch.tensor([IDS[:64]])
        torch.testing.assert_close(read.model(ids), model(ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_transformers_reads_the_same_model(name, tmp_path):
    pytest.importorskip("accelerate", reason="transformers wants it for GGUF files")
    # It takes every GPT-2 for one of context 1024, the heads of every Qwen3 for 128 long, and heeds
    # no rotary scaling in these files.
    context = 1024 if name == "gpt2" else CONFIGS[name].context
    model = build(replace(CONFIGS[name], context=context))
    write(tmp_path / "model.gguf", model, TOKENIZER)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        ids = torch.tensor([IDS])
        wanted, found = theirs(ids).logits, model(ids)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()))


def test_a_head_that_is_stored_twice_is_the_embedding(tmp_path):
    model = build(CONFIGS["llama"])
    assert isinstance(model, Decoder)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.embed_tokens.weight)
    read = import_gguf(write(tmp_path / "model.gguf", model, TOKENIZER))
    assert read.config.tied
    assert isinstance(read.model, Decoder)
    assert read.model.lm_head.weight is read.model.embed_tokens.weight


def test_what_a_file_does_not_say_is_as_it_is_by_default(tmp_path):
    model = build(replace(CONFIGS["qwen3moe"], dropout=0.1, balance=0.5))
    read = import_gguf(write(tmp_path / "model.gguf", model, TOKENIZER))
    assert (read.config.dropout, read.config.balance) == (0.0, BALANCE)


def test_the_origin_names_file_architecture_and_type(tmp_path):
    path = write(tmp_path / "tale.gguf", build(CONFIGS["llama"]), TOKENIZER, kind="Q8_0")
    assert import_gguf(path).origin == "GGUF file tale.gguf (llama, Q8_0)"


REFUSED = {
    "a head with a bias": (replace(CONFIGS["qwen3"], head_bias=True), "head has a bias"),
    "a window": (replace(CONFIGS["llama"], window=8), "reaches back 8 tokens"),
    "biases beside normalised queries": (replace(CONFIGS["qwen3"], qkv_bias=True), "biases beside"),
    "a bias at the output alone": (replace(CONFIGS["llama"], output_bias=True), "output alone"),
    "layernorm with rotary positions": (
        replace(CONFIGS["llama"], norm="layernorm"),
        "rotary positions with layernorm",
    ),
    "relu": (replace(CONFIGS["gpt2"], activation="relu"), "gelu_tanh alone"),
    "llama3's rule in qwen3": (
        replace(CONFIGS["qwen3"], rope_scaling=RopeScaling("llama3", 8.0, 32)),
        "Llama 3's rule",
    ),
    "other ends of yarn": (
        replace(CONFIGS["llama"], rope_scaling=RopeScaling("yarn", 4.0, 32, beta_fast=16.0)),
        "YaRN has the ends 16 and 1",
    ),
    "weights of experts as they are": (
        replace(CONFIGS["qwen3moe"], normalised_experts=False),
        "sum to 1",
    ),
    "a table": (
        complete(ModelOptions(family="bigram"), vocab_size=20, layers=1, width=8, context=16),
        "family bigram",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_cannot_compute_is_refused_with_the_reason(name):
    config, reason = REFUSED[name]
    with pytest.raises(CheckpointError, match=reason):
        express(build(config), config)


def test_all_reasons_are_told_at_once():
    config = replace(CONFIGS["gpt2"], activation="gelu", head_bias=True)
    with pytest.raises(CheckpointError, match=r"gelu_tanh.*head has a bias"):
        express(build(config), config)


def test_a_window_as_long_as_the_context_is_none(tmp_path):
    config = replace(CONFIGS["llama"], window=128)
    assert express(build(config), config).architecture == "llama"
