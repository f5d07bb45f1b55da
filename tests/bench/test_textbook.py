import json
import math
import sys

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cloche.bench import textbook
from cloche.bench.quality import _Positioned
from cloche.bench.textbook import GPT, Recipe
from cloche.data.batches import TokensInMemory
from cloche.evaluation.likelihood import summed_nats

TINY = Recipe(
    layers=2,
    heads=2,
    width=16,
    context=8,
    batch=4,
    steps=30,
    learning_rate=0.01,
    warmup=3,
    eval_every=10,
)
TEXT = "the cat sat by the door.\n" * 30


def as_transformers(model: GPT) -> GPT2LMHeadModel:
    """The same weights in transformers' GPT-2; the biases it also has are zero."""
    recipe = model.recipe
    config = GPT2Config(
        vocab_size=model.tokens.num_embeddings,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    theirs = GPT2LMHeadModel(config).eval()
    names = {
        "tokens.": "transformer.wte.",
        "positions.": "transformer.wpe.",
        "blocks.": "transformer.h.",
        "attention_norm.": "ln_1.",
        "mlp_norm.": "ln_2.",
        "attention.qkv.": "attn.c_attn.",
        "attention.projection.": "attn.c_proj.",
        "up.": "mlp.c_fc.",
    }
    tensors = {}
    for own, tensor in model.state_dict().items():
        name = own
        for ours, others in names.items():
            name = name.replace(ours, others)
        if own.startswith("blocks.") and own.split(".")[2] == "projection":
            name = name.replace("projection.", "mlp.c_proj.")
        if own.startswith("norm."):
            name = name.replace("norm.", "transformer.ln_f.")
        # transformers keeps these matrices the other way round
        tensors[name] = tensor.T if tensor.ndim == 2 and ".h." in name else tensor
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.endswith(".bias") or name == "lm_head.weight" for name in missing)
    theirs.tie_weights()
    return theirs


@torch.no_grad()
def test_it_computes_what_transformers_does_with_the_same_weights():
    torch.manual_seed(0)
    model = GPT(11, TINY)
    for parameter in model.parameters():  # larger than at the start, so that all of it matters
        parameter.normal_(std=0.3)
    ids = torch.randint(11, (3, 8))
    expected = as_transformers(model)(ids).logits
    torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-5)


def test_the_recipe_has_the_published_size():
    count = sum(parameter.numel() for parameter in GPT(65, Recipe()).parameters())
    assert count - 64 * 128 == 795_904  # nanoGPT prints 0.80M, positions left out


def test_an_untrained_model_knows_nothing():
    torch.manual_seed(0)
    model = GPT(65, Recipe())
    ids = torch.randint(65, (2, 64))
    with torch.no_grad():
        loss = textbook.loss_of(model, ids, torch.randint(65, (2, 64)))
    assert float(loss) == pytest.approx(math.log(65), abs=0.1)


def test_the_learning_rate_rises_and_falls_to_its_last_value():
    recipe = Recipe()
    rates = [textbook.learning_rate(step, recipe) for step in range(recipe.steps + 1)]
    assert max(rates) == rates[recipe.warmup] == recipe.learning_rate
    assert rates[0] == pytest.approx(recipe.learning_rate / 101)
    assert rates[-1] == pytest.approx(recipe.last_learning_rate)
    assert rates[recipe.warmup :] == sorted(rates[recipe.warmup :], reverse=True)


def test_only_matrices_decay():
    groups = textbook.build_optimizer(GPT(7, TINY)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.ndim >= 2 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])


def test_training_learns_saves_the_best_and_loads_it_again(tmp_path):
    told = []
    file = tmp_path / "model.safetensors"
    textbook.train(TEXT, file, recipe=TINY, seed=1, tell=told.append)
    assert [each["step"] for each in told] == [0, 10, 20, 30]
    assert told[-1]["validation_loss"] < told[0]["validation_loss"] - 0.2
    model, characters = textbook.load(file)
    assert characters == sorted(set(TEXT))
    assert model.recipe == TINY
    validation = textbook.split(TEXT)[2]
    assert textbook.validation_loss(model, validation) < math.log(len(characters)) - 0.2


def test_the_same_seed_trains_the_same_model(tmp_path):
    files = [tmp_path / name for name in ("one.safetensors", "other.safetensors")]
    for file in files:
        textbook.train(TEXT, file, recipe=TINY, seed=5, tell=lambda _: None)
    one, other = (textbook.load(file)[0].state_dict() for file in files)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_text_is_cut_at_nine_tenths_of_its_characters():
    characters, training, validation = textbook.split("abcdefghij" * 10 + "k")
    assert characters == list("abcdefghijk")
    assert (len(training), len(validation)) == (90, 11)
    assert validation[-1] == 10


def test_the_whole_validation_loss_is_that_of_windows_end_to_end():
    torch.manual_seed(2)
    model = GPT(9, TINY)
    ids = torch.randint(9, (8 * 5 + 1,))  # five whole windows: both cut them alike
    tokens = TokensInMemory(ids.numpy(), np.array([len(ids)]), separated=False)
    nats = summed_nats(_Positioned(model), tokens, bos=None, context=8, stride=8)
    assert textbook.validation_loss(model, ids) == pytest.approx(nats / (len(ids) - 1), rel=1e-5)


def test_the_command_prints_its_progress_and_the_whole_loss(tmp_path, monkeypatch, capsys):
    text, file = tmp_path / "text.txt", tmp_path / "model.safetensors"
    text.write_bytes(("the cat\r\nsat by the door\r\n" * 60).encode())
    monkeypatch.setattr(sys, "argv", ["textbook", str(text), str(file), "--steps", "1"])
    textbook.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("step") for line in lines[:2]] == [0, 1]
    assert lines[2]["saved"] == str(file)
    assert 0 < lines[3]["whole_validation_loss"] < 10
    assert "\r" in textbook.load(file)[1]  # the ends of lines are those of the text
