"""The two ways to attend, against each other and against sums written by hand."""

import pytest
import torch
from torch import nn

from cloche.model.attention import (
    Attention,
    CrossAttention,
    MultiHead,
    fused_attention,
    plain_attention,
)
from cloche.model.attention_inputs import (
    PLAIN_TRAINING_CONTEXT,
    cross_attention_inputs,
    prefers_plain,
    self_attention_inputs,
)
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.flex import (
    prefers_flex,
    sparse_attention,
    sparse_cached_mask,
    sparse_mask,
)
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
    assert prefers_plain(short, dropout=0.0)
    assert not prefers_plain(long, dropout=0.0)
    assert prefers_plain(long.bfloat16(), dropout=0.0)
    assert prefers_plain(long, dropout=0.1)
    with torch.no_grad():
        assert not prefers_plain(short, dropout=0.0)
    on_accelerator = torch.zeros(1, 8, 4, device="meta", requires_grad=True)
    assert not prefers_plain(on_accelerator, dropout=0.1)


def config_of(heads: int) -> ModelConfig:
    options = ModelOptions(family="gpt", heads=heads, qkv_bias=True)
    return complete(options, vocab_size=5, layers=1, width=32, context=8)


def reference(heads: int) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, heads, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    return theirs


@torch.no_grad()
def take_weights(mine: MultiHead, theirs: nn.MultiheadAttention) -> None:
    for name, part in (("weight", theirs.in_proj_weight), ("bias", theirs.in_proj_bias)):
        for projection, values in zip("qkv", part.chunk(3), strict=True):
            mine.get_parameter(f"{projection}_proj.{name}").copy_(values)
    mine.o_proj.load_state_dict(theirs.out_proj.state_dict())


def cross_pair() -> tuple[CrossAttention, nn.MultiheadAttention]:
    """Ours and PyTorch's, with the same random weights."""
    mine, theirs = CrossAttention(config_of(4)), reference(4)
    take_weights(mine, theirs)
    return mine, theirs


MASKS = {
    "causal": {"causal": True},
    "bidirectional": {"causal": False},
    "padded": {"causal": True, "documents": torch.tensor([[1, 1, 0, 0, 0, 0], [0] * 6])},
    "padded, bidirectional": {
        "causal": False,
        "documents": torch.tensor([[0, 0, 0, 0, 1, 1], [0] * 6]),
    },
    "packed": {"causal": True, "documents": torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 2, 2]])},
    "window": {"causal": True, "window": 3},
    "window, packed": {
        "causal": True,
        "window": 2,
        "documents": torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 2, 2]]),
    },
    "window, bidirectional": {"causal": False, "window": 2},
    "shared beginning": {
        "causal": True,
        "documents": torch.tensor([[-1, -1, 0, 0, 1, 1], [-1, 0, 0, 1, 2, 2]]),
        "positions": torch.tensor([[0, 1, 2, 3, 2, 3], [0, 1, 2, 1, 1, 2]]),
    },
    "shared beginning, window": {
        "causal": True,
        "window": 3,
        "documents": torch.tensor([[-1, -1, 0, 0, 1, 1], [-1, 0, 0, 1, 2, 2]]),
        "positions": torch.tensor([[0, 1, 2, 3, 2, 3], [0, 1, 2, 1, 1, 2]]),
    },
}


@pytest.mark.parametrize("heads_", [1, 4], ids=["single-head", "multi-head"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_self_attention_is_that_of_torch(mask, heads_):
    mine, theirs = Attention(config_of(heads_), layer=0), reference(heads_)
    take_weights(mine, theirs)
    hidden = torch.randn(2, 6, 32)
    allowed = allowed_pairs(6, **{"documents": None, **mask}, device=hidden.device)
    barred = ~allowed.expand(2, heads_, 6, 6).flatten(0, 1)
    expected, _ = theirs(hidden, hidden, hidden, attn_mask=barred)
    for learns in (True, False):
        shared = self_attention_inputs(hidden, learns=learns, **mask)
        assert shared.plain == learns
        torch.testing.assert_close(mine(hidden, shared), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("learns", [True, False], ids=["plain", "fused"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_watching_attention_changes_no_number_and_tells_every_step(mask, learns):
    attention, hidden = Attention(config_of(4), layer=0), torch.randn(2, 6, 32)
    told: dict[str, torch.Tensor] = {}
    watched = self_attention_inputs(hidden, learns=learns, watched=True, **mask)
    unwatched = self_attention_inputs(hidden, learns=learns, **mask)
    assert watched.plain == unwatched.plain == learns
    seen = attention(hidden, watched, record=told.__setitem__)
    assert torch.equal(seen, attention(hidden, unwatched, record=None))
    scores = told["queries"] @ told["keys"].transpose(-2, -1) / told["queries"].shape[-1] ** 0.5
    torch.testing.assert_close(told["scores"], scores)
    torch.testing.assert_close(told["gathered"], told["weights"] @ told["values"])
    allowed = allowed_pairs(6, **{"documents": None, **mask}, device=hidden.device)
    expected = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
    torch.testing.assert_close(told["weights"], expected)


def test_a_window_over_a_shared_beginning_counts_what_stands_between_in_the_text():
    allowed = allowed_pairs(6, **MASKS["shared beginning, window"], device=torch.device("cpu"))[
        :, 0
    ].long()
    assert allowed[0].tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 1],
    ]


def test_layers_that_learn_behind_a_frozen_embedding_take_the_path_of_training():
    hidden = torch.zeros(2, 6, 4)
    assert self_attention_inputs(hidden, learns=True).plain
    assert not self_attention_inputs(hidden).plain
    with torch.no_grad():
        assert not self_attention_inputs(hidden, learns=True).plain


def attend(path: str, tensors: list[torch.Tensor], mask: dict) -> torch.Tensor:
    """What the queries gather by one of the paths under one of MASKS."""
    hidden = torch.zeros(2, 6, 4)
    if path == "flex":
        blocks = sparse_mask(
            2, 6, **{"documents": None, "window": None, **mask}, device=hidden.device
        )
        return sparse_attention(tensors[0], tensors[1], tensors[2], blocks=blocks)
    shared = self_attention_inputs(hidden, watched=path == "plain", **mask)
    if path == "plain":
        return plain_attention(tensors[0], tensors[1], tensors[2], bias=shared.bias)
    return fused_attention(
        tensors[0], tensors[1], tensors[2], allowed=shared.allowed, causal=shared.causal
    )


@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["multi-head", "grouped", "multi-query"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_all_paths_agree_under_every_mask_forward_and_back(mask, kv_heads):
    found = {}
    for path in ("plain", "fused"):
        tensors = [heads(4), heads(kv_heads, seed=1), heads(kv_heads, seed=2)]
        for tensor in tensors:
            tensor.requires_grad_()
        gathered = attend(path, tensors, mask)
        gathered.pow(2).sum().backward()
        found[path] = [gathered.detach(), *(tensor.grad for tensor in tensors)]
    for plain, fused in zip(found["plain"], found["fused"], strict=True):
        torch.testing.assert_close(plain, fused)


@pytest.fixture
def uncompiled(monkeypatch):
    """PyTorch's switch to compute flex attention step by step, without its compiler."""
    monkeypatch.setattr(
        "torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True
    )


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kv_heads", [4, 2], ids=["multi-head", "grouped"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_flex_attention_equals_the_plain_path(mask, kv_heads):
    tensors = [heads(4), heads(kv_heads, seed=1), heads(kv_heads, seed=2)]
    torch.testing.assert_close(attend("flex", tensors, mask), attend("plain", tensors, mask))


@pytest.mark.usefixtures("uncompiled")
def test_flex_attention_over_a_cache_equals_the_plain_path():
    cache = KeyValueCache(config_of(4), rows=2, capacity=9)
    rows = [cache.allocate(), cache.allocate()]
    for counts in ([5, 2], [2, 4]):
        view = cache.view(rows, counts)
        if counts == [5, 2]:
            view.commit()
    places = view.mask.shape[-1]
    queries, keys, values = heads(4, time=4), heads(2, time=places), heads(2, time=places, seed=3)
    shared = self_attention_inputs(torch.zeros(2, 4, 32), cache=view, window=3, watched=True)
    expected = plain_attention(queries, keys, values, bias=shared.bias)
    blocks = sparse_cached_mask(view.positions, keys=places, window=3)
    torch.testing.assert_close(sparse_attention(queries, keys, values, blocks=blocks), expected)


def test_flex_attention_is_kept_for_16_bit_tensors_on_cuda():
    on_cpu = torch.zeros(1, 256, 32, dtype=torch.bfloat16)
    assert not prefers_flex(on_cpu, head_dim=64, dropout=0.0)
    assert self_attention_inputs(on_cpu, window=4, head_dim=64).blocks is None


def test_scores_can_be_seen_unscaled():
    told: dict[str, torch.Tensor] = {}
    queries, keys, values = heads(2), heads(2, seed=1), heads(2, seed=2)
    allowed = allowed_pairs(6, documents=None, device=queries.device)
    plain = plain_attention(
        queries,
        keys,
        values,
        bias=additive_bias(allowed, torch.float32),
        scale=1.0,
        record=told.__setitem__,
    )
    torch.testing.assert_close(told["scores"], queries @ keys.transpose(-2, -1))
    fused = fused_attention(queries, keys, values, allowed=allowed, causal=True, scale=1.0)
    torch.testing.assert_close(plain, fused)


def test_a_window_of_one_is_the_token_itself():
    allowed = allowed_pairs(4, documents=None, device=torch.device("cpu"), window=1)
    assert torch.equal(allowed[0, 0], torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
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
    assert bool(told) == watched
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
