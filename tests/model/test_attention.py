"""The two ways to attend, against each other and against sums written by hand."""

import pytest
import torch
from torch import nn

from cloche.model.attention import (
    PLAIN_TRAINING_CONTEXT,
    CrossAttention,
    cross_attention_inputs,
    fused_attention,
    plain_attention,
    prefers_plain,
)
from cloche.model.config import ModelOptions
from cloche.model.masks import additive_bias, allowed_pairs
from cloche.model.presets import complete


def heads(number: int, *, time: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, number, time, 8, generator=torch.Generator().manual_seed(seed))


def by_hand(queries, keys, values, allowed):
    """One query at a time, one head at a time."""
    gathered = torch.zeros_like(queries)
    groups = queries.shape[1] // keys.shape[1]
    for batch, head, time in torch.cartesian_prod(*(torch.arange(n) for n in queries.shape[:3])):
        seen = allowed[batch, 0, time]
        matches = keys[batch, head // groups, seen] @ queries[batch, head, time] / 8**0.5
        gathered[batch, head, time] = matches.softmax(0) @ values[batch, head // groups, seen]
    return gathered


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_both_paths_equal_attention_by_hand(kv_heads):
    queries, keys, values = heads(4), heads(kv_heads, seed=1), heads(kv_heads, seed=2)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 2, 2]])
    allowed = allowed_pairs(6, documents=documents, device=queries.device)
    expected = by_hand(queries, keys, values, allowed)
    bias = additive_bias(allowed, torch.float32)
    torch.testing.assert_close(plain_attention(queries, keys, values, bias=bias), expected)
    fused = fused_attention(queries, keys, values, allowed=allowed, causal=True)
    torch.testing.assert_close(fused, expected)


def test_the_fused_path_is_causal_when_no_mask_is_given():
    queries, keys, values = heads(4), heads(2, seed=1), heads(2, seed=2)
    causal = allowed_pairs(6, documents=None, device=queries.device).expand(2, 1, 6, 6)
    expected = by_hand(queries, keys, values, causal)
    fused = fused_attention(queries, keys, values, allowed=None, causal=True)
    torch.testing.assert_close(fused, expected)


def test_both_paths_give_equal_gradients():
    gradients = []
    for attend in ("plain", "fused"):
        tensors = [heads(4), heads(2, seed=1), heads(2, seed=2)]
        for tensor in tensors:
            tensor.requires_grad_()
        allowed = allowed_pairs(6, documents=None, device=tensors[0].device)
        if attend == "plain":
            gathered = plain_attention(*tensors, bias=additive_bias(allowed, torch.float32))
        else:
            gathered = fused_attention(*tensors, allowed=None, causal=True)
        gathered.pow(2).sum().backward()
        gradients.append([tensor.grad for tensor in tensors])
    for plain, fused in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, fused)


def test_dropped_weights_are_not_those_that_are_told():
    told = {}
    bias = torch.zeros(1, 1, 6, 6)
    torch.manual_seed(0)
    dropped = plain_attention(
        heads(2), heads(2), heads(2), bias=bias, dropout=0.5, record=told.__setitem__
    )
    torch.testing.assert_close(told["weights"].sum(-1), torch.ones(2, 2, 6))
    assert not torch.allclose(dropped, plain_attention(heads(2), heads(2), heads(2), bias=bias))


def test_the_plain_path_is_taken_where_it_must_or_is_faster():
    short = torch.zeros(1, 8, 4, requires_grad=True)
    limit = PLAIN_TRAINING_CONTEXT[torch.float32]
    long = torch.zeros(1, limit + 1, 4, requires_grad=True)
    assert prefers_plain(short, dropout=0.0, watched=False)
    assert not prefers_plain(long, dropout=0.0, watched=False)
    assert prefers_plain(long.bfloat16(), dropout=0.0, watched=False)
    assert prefers_plain(long, dropout=0.1, watched=False)
    assert prefers_plain(long, dropout=0.0, watched=True)
    with torch.no_grad():
        assert not prefers_plain(short, dropout=0.0, watched=False)
    on_accelerator = torch.zeros(1, 8, 4, device="meta", requires_grad=True)
    assert not prefers_plain(on_accelerator, dropout=0.1, watched=False)


def cross_pair() -> tuple[CrossAttention, nn.MultiheadAttention]:
    """Ours and PyTorch's, with the same random weights."""
    config = complete(
        ModelOptions(family="gpt", heads=4, qkv_bias=True),
        vocab_size=5,
        layers=1,
        width=32,
        context=8,
    )
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    mine = CrossAttention(config)
    with torch.no_grad():
        for name, part in (("weight", theirs.in_proj_weight), ("bias", theirs.in_proj_bias)):
            for projection, values in zip("qkv", part.chunk(3), strict=True):
                mine.get_parameter(f"{projection}_proj.{name}").copy_(values)
    mine.o_proj.load_state_dict(theirs.out_proj.state_dict())
    return mine, theirs


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("watched", [False, True], ids=["fused", "plain"])
def test_cross_attention_is_that_of_torch(padded, watched):
    mine, theirs = cross_pair()
    target, memory = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    padding = torch.arange(7)[None] >= torch.tensor([[7], [4]]) if padded else None
    expected, weights = theirs(
        target, memory, memory, key_padding_mask=padding, average_attn_weights=False
    )
    allowed = None if padding is None else ~padding[:, None, None]
    shared = cross_attention_inputs(target, allowed=allowed, watched=watched)
    told: dict[str, torch.Tensor] = {}
    keys, values = mine.project(memory)
    got = mine(target, keys, values, shared, record=told.__setitem__)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    if watched:
        torch.testing.assert_close(told["weights"], weights, rtol=1e-4, atol=1e-6)


def test_keys_of_a_memory_serve_one_target_token_after_another():
    mine, _ = cross_pair()
    target, memory = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    keys, values = mine.project(memory)
    together = mine(target, keys, values, cross_attention_inputs(target, allowed=None))
    for place in range(5):
        token = target[:, place : place + 1]
        alone = mine(token, keys, values, cross_attention_inputs(token, allowed=None))
        torch.testing.assert_close(alone, together[:, place : place + 1])
