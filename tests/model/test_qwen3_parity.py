"""The default family against its reference, transformers' Qwen3, with the same random weights."""

import pytest
import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from cloche.model.build import build_model
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelConfig


def reference(*, kv_heads: int, tied: bool) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=31,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=16,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.3)
    return model


def ours(theirs: Qwen3ForCausalLM) -> nn.Module:
    config = theirs.config
    model = build_model(
        ModelConfig(
            family="qwen3",
            vocab_size=config.vocab_size,
            context=config.max_position_embeddings,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_dim=config.head_dim,
            mlp_width=config.intermediate_size,
            rope_theta=5000.0,
            tied=config.tie_word_embeddings,
        )
    )
    names = {name.removeprefix("model."): values for name, values in theirs.state_dict().items()}
    model.load_state_dict(names)
    return model.eval()


@pytest.fixture(params=[(4, False), (2, False), (1, True)], ids=["all heads", "grouped", "tied"])
def pair(request):
    theirs = reference(kv_heads=request.param[0], tied=request.param[1])
    return theirs, ours(theirs)


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(31, shape, generator=torch.Generator().manual_seed(2))


def test_logits_are_those_of_transformers(pair):
    theirs, mine = pair
    with torch.no_grad():
        expected = theirs(tokens(3, 20)).logits
        torch.testing.assert_close(mine(tokens(3, 20)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine(tokens(3, 20)), expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_transformers(pair):
    theirs, mine = pair
    inputs, targets = tokens(2, 13)[:, :-1], tokens(2, 13)[:, 1:]
    for logits in (theirs(inputs).logits, mine(inputs)):
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    expected = {name.removeprefix("model."): p.grad for name, p in theirs.named_parameters()}
    gradients = {name: p.grad for name, p in mine.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_cached_decoding_is_that_of_transformers(pair):
    theirs, mine = pair
    cache = KeyValueCache(mine.config, rows=1, capacity=16)
    row = cache.allocate()
    past = None
    with torch.no_grad():
        for piece in tokens(1, 16).split((5, 1, 1, 6, 3), dim=1):
            answer = theirs(piece, past_key_values=past, use_cache=True)
            past = answer.past_key_values
            logits = mine(piece, cache=cache.view([row], [piece.shape[1]]))
            torch.testing.assert_close(logits, answer.logits, rtol=1e-4, atol=1e-5)
