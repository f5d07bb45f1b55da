"""What must hold of every model: causality, packing, watching, dtypes."""

from dataclasses import replace

import pytest
import torch

from cloche.errors import SettingError
from cloche.model.build import build_model, parameter_count
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelOptions
from cloche.model.presets import complete


def ids(*shape: int, vocab: int = 29) -> torch.Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(1))


def test_forward_is_head_of_hidden(config, random_model):
    model = random_model(config)
    tokens = ids(2, 9)
    hidden = model.hidden(tokens)
    assert hidden.shape == (2, 9, config.width)
    assert model(tokens).shape == (2, 9, config.vocab_size)
    assert torch.equal(model(tokens), model.head(hidden))


def test_no_token_sees_what_comes_after_it(config, random_model):
    model = random_model(config)
    tokens = ids(1, 12)
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 29
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_order_matters_to_every_model_with_positions(decoder_config, random_model):
    model = random_model(decoder_config)
    swapped = ids(1, 6)[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(model(ids(1, 6))[:, -1], model(swapped)[:, -1], atol=1e-4)


@pytest.mark.parametrize("learns", [True, False], ids=["plain path", "fused path"])
def test_packed_documents_equal_separate_ones(config, random_model, learns):
    model = random_model(config)
    first, second = ids(1, 5), ids(1, 8) % 11
    packed = torch.cat((first, second), dim=1)
    positions = torch.cat((torch.arange(5), torch.arange(8)))[None]
    documents = torch.tensor([[0] * 5 + [1] * 8])
    with torch.set_grad_enabled(learns):
        together = model(packed, positions=positions, documents=documents)
        separate = torch.cat((model(first), model(second)), dim=1)
    torch.testing.assert_close(together, separate, rtol=1e-4, atol=1e-5)


def test_packing_would_leak_without_documents(decoder_config, random_model):
    model = random_model(decoder_config)
    packed = torch.cat((ids(1, 5), ids(1, 8) % 11), dim=1)
    documents = torch.tensor([[0] * 5 + [1] * 8])
    assert not torch.allclose(model(packed), model(packed, documents=documents), atol=1e-3)


def test_training_and_inference_paths_give_equal_logits(decoder_config, random_model):
    model = random_model(decoder_config)
    plain = model(ids(2, 16))
    with torch.no_grad():
        fused = model(ids(2, 16))
    torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-5)


def test_watching_tells_the_models_own_numbers(decoder_config, random_model):
    model = random_model(decoder_config)
    told: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        hidden = model.hidden(ids(2, 10), record=told.__setitem__)
        torch.testing.assert_close(hidden, model.hidden(ids(2, 10)), rtol=1e-4, atol=1e-5)
    last = f"layers.{decoder_config.layers - 1}."
    assert torch.equal(told["norm"], hidden)
    assert torch.equal(model.norm(told[last + "residual"]), hidden)
    weights = told[last + "attention.weights"]
    assert weights.shape == (2, decoder_config.heads, 10, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, decoder_config.heads, 10))
    assert torch.equal(told[last + "attention.masked_scores"].isinf(), weights == 0)
    assert told["layers.0.attention.scores"].isfinite().all()
    moved = told["layers.0.attention.output"] + told["layers.0.mlp.output"]
    torch.testing.assert_close(told["embedding"] + moved, told["layers.0.residual"])


def test_a_bfloat16_copy_stays_near_the_float32_model(config, random_model):
    model = random_model(config)
    with torch.no_grad():
        exact = model(ids(2, 32))
        rounded = model.to(torch.bfloat16)(ids(2, 32))
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()
    assert error < 0.05


def test_a_bfloat16_copy_can_be_trained(config, random_model):
    model = random_model(config).to(torch.bfloat16).train()
    model(ids(2, 32)).float().logsumexp(-1).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_dropout_acts_in_training_only(decoder_config, random_model):
    model = random_model(replace(decoder_config, dropout=0.3))
    assert torch.equal(model(ids(1, 8)), model(ids(1, 8)))
    model.train()
    assert not torch.allclose(model(ids(1, 8)), model(ids(1, 8)))


def test_dropout_is_settled_by_the_seed(decoder_config, random_model):
    model = random_model(replace(decoder_config, dropout=0.3)).train()
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(model(ids(1, 8)))
    assert torch.equal(*draws)


def test_a_tied_head_is_the_embedding_itself_and_stays_so(random_model):
    config = complete(ModelOptions(tied=True), vocab_size=29, layers=1, width=32, context=8)
    model = random_model(config)
    assert model.lm_head.weight is model.embed_tokens.weight
    model.to(torch.bfloat16)
    assert model.lm_head.weight is model.embed_tokens.weight
    untied = build_model(replace(config, tied=False))
    assert parameter_count(untied) - parameter_count(model) == 29 * 32


def test_a_cache_refuses_packed_documents(decoder_config, random_model):
    cache = KeyValueCache(decoder_config, rows=1, capacity=4)
    view = cache.view([cache.allocate()], [2])
    with pytest.raises(ValueError, match="one document"):
        random_model(decoder_config).hidden(ids(1, 2), documents=ids(1, 2), cache=view)


def test_what_cannot_be_built_is_told_all_at_once(decoder_config):
    broken = replace(decoder_config, heads=5, kv_heads=3, head_dim=7, positions="rotary")
    with pytest.raises(SettingError, match=r"(?s)kv-heads 3.*rotary"):
        build_model(broken)


def test_modules_of_the_gpt_are_drawn_in_the_order_of_the_textbook():
    config = complete(
        ModelOptions(family="gpt", heads=2), vocab_size=7, layers=1, width=4, context=3
    )
    torch.manual_seed(123)
    expected = [
        torch.nn.Embedding(7, 4).weight,
        torch.nn.Embedding(3, 4).weight,
        *(torch.nn.Linear(4, 4, bias=False).weight for _ in range(3)),
        *torch.nn.Linear(4, 4).parameters(),
        *torch.nn.Linear(4, 16).parameters(),
        *torch.nn.Linear(16, 4).parameters(),
        torch.nn.Linear(4, 7, bias=False).weight,
    ]
    torch.manual_seed(123)
    model = build_model(config)
    drawn = [p for name, p in model.named_parameters() if "norm" not in name]
    assert len(drawn) == len(expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(drawn, expected, strict=True))


def test_a_window_reaches_its_tokens_and_no_further(random_model, tiny_qwen3):
    config = replace(tiny_qwen3, layers=1, window=3)
    model = random_model(config)
    changed = ids(1, 8).clone()
    changed[0, 3] = (changed[0, 3] + 1) % 29
    moved = (model(ids(1, 8)) - model(changed)).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False, False, False, True, True, True, False, False]


def test_the_first_full_layers_heed_no_window(random_model, tiny_qwen3):
    config = replace(tiny_qwen3, window=3, full_layers=1)
    told: dict[str, torch.Tensor] = {}
    random_model(config)(ids(1, 8), record=told.__setitem__)
    reach = [(told[f"layers.{n}.attention.weights"][0, 0, 7] > 0).sum().item() for n in range(3)]
    assert reach == [8, 3, 3]


@pytest.mark.parametrize("learns", [True, False], ids=["plain path", "fused path"])
def test_windows_are_heeded_by_a_cache_and_by_packing(random_model, tiny_qwen3, learns):
    model = random_model(replace(tiny_qwen3, window=3, full_layers=1))
    cache = KeyValueCache(model.config, rows=1, capacity=12)
    row, tokens = cache.allocate(), ids(1, 12)
    with torch.set_grad_enabled(learns):
        whole = model(tokens)
        documents = torch.zeros(1, 12, dtype=torch.long)
        torch.testing.assert_close(model(tokens, documents=documents), whole)
    with torch.no_grad():
        pieces = [
            model(piece, cache=cache.view([row], [piece.shape[1]]))
            for piece in tokens.split((5, 1, 1, 4, 1), dim=1)
        ]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)
