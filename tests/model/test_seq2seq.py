from typing import Any

import pytest
import torch
from torch import nn

from cloche.errors import SettingError
from cloche.model.build import build_model, build_network, parameter_count
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.model.seq2seq import EncoderDecoder
from cloche.planning.flops import parameter_count as planned_parameters

VOCAB, CONTEXT = 23, 16
LENGTHS = torch.tensor([7, 4, 1])


def small_config(**options):
    given = {"layers": 2, "encoder_layers": 3, "heads": 2, "width": 16, "dropout": 0.0, **options}
    return complete(
        ModelOptions(family="seq2seq", **given),
        vocab_size=VOCAB,
        layers=2,
        width=16,
        context=CONTEXT,
    )


def small_model(**options) -> Any:
    torch.manual_seed(0)
    model = build_network(small_config(**options))
    assert isinstance(model, EncoderDecoder)
    return model.eval()


@pytest.fixture
def sources():
    torch.manual_seed(1)
    return torch.randint(0, VOCAB, (3, 7))


@pytest.fixture
def targets():
    torch.manual_seed(2)
    return torch.randint(0, VOCAB, (3, 5))


def copy_attention(theirs, ours):
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
    theirs.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
    theirs.out_proj.load_state_dict(ours.o_proj.state_dict())


def reference_of(model) -> Any:
    """PyTorch's own encoder-decoder with the same weights; the embeddings stay ours."""
    config = model.config
    first = config.norm_order == "pre"
    shape = {"dropout": 0.0, "batch_first": True, "norm_first": first}
    width, heads, inner = config.width, config.heads, config.mlp_width
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(width, heads, inner, **shape),
        config.encoder_layers,
        norm=nn.LayerNorm(width) if first else None,
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(width, heads, inner, **shape),
        config.layers,
        norm=nn.LayerNorm(width) if first else None,
    )
    whole = nn.Transformer(
        width, heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
    )  # draws all weights anew
    sides: Any = (encoder, decoder)  # what a stack of PyTorch's holds has no types
    for theirs, ours in zip(sides[0].layers, model.encoder.layers, strict=True):
        copy_attention(theirs.self_attn, ours.self_attn)
        theirs.norm1.load_state_dict(ours.input_layernorm.state_dict())
        theirs.norm2.load_state_dict(ours.post_attention_layernorm.state_dict())
    for theirs, ours in zip(sides[1].layers, model.decoder.layers, strict=True):
        copy_attention(theirs.self_attn, ours.self_attn)
        copy_attention(theirs.multihead_attn, ours.cross_attn)
        theirs.norm1.load_state_dict(ours.input_layernorm.state_dict())
        theirs.norm2.load_state_dict(ours.cross_attention_layernorm.state_dict())
        theirs.norm3.load_state_dict(ours.post_attention_layernorm.state_dict())
    for side, own in zip(sides, (model.encoder, model.decoder), strict=True):
        for theirs, ours in zip(side.layers, own.layers, strict=True):
            theirs.linear1.load_state_dict(ours.mlp.up_proj.state_dict())
            theirs.linear2.load_state_dict(ours.mlp.down_proj.state_dict())
        if first:
            side.norm.load_state_dict(own.norm.state_dict())
    return whole.train()


def reference_logits(reference, model, sources, targets):
    """PyTorch's logits from our embeddings: scaled, with sines and cosines of the places added."""
    places = torch.arange(CONTEXT)[:, None] / 10_000 ** (torch.arange(0, 16, 2) / 16)
    waves = torch.stack([places.sin(), places.cos()], dim=-1).flatten(1)

    def embed(ids):
        return model.embed_tokens(ids) * 4.0 + waves[: ids.shape[1]]

    padding = torch.arange(sources.shape[1])[None] >= LENGTHS[:, None]
    hidden = reference(
        embed(sources),
        embed(targets),
        tgt_mask=torch.ones(targets.shape[1], targets.shape[1]).triu(1).bool(),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    return hidden @ model.embed_tokens.weight.T


@pytest.mark.parametrize("norm_order", ["pre", "post"])
def test_it_equals_the_transformer_of_pytorch_in_logits_and_gradients(norm_order, sources, targets):
    model = small_model(norm_order=norm_order)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # no bias stays zero, no norm one
    model.train()
    reference = reference_of(model)
    expected = reference_logits(reference, model, sources, targets)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    wanted = model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    found = model(targets, sources=sources, source_lengths=LENGTHS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    (found * weights).sum().backward()
    torch.testing.assert_close(model.embed_tokens.weight.grad, wanted, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(model.decoder.layers, reference.decoder.layers, strict=True):
        gradients = [p.weight.grad for p in (ours.cross_attn.q_proj, ours.cross_attn.k_proj)]
        expected_gradients = theirs.multihead_attn.in_proj_weight.grad[:32]
        torch.testing.assert_close(torch.cat(gradients), expected_gradients, rtol=1e-4, atol=1e-4)
    last = reference.encoder.layers[-1].linear2.weight.grad
    torch.testing.assert_close(
        model.encoder.layers[-1].mlp.down_proj.weight.grad, last, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("norm_order", ["pre", "post"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "none"])
@torch.no_grad()
def test_padding_of_a_source_changes_nothing(positions, norm_order, sources, targets):
    model = small_model(positions=positions, norm_order=norm_order)
    together = model(targets, sources=sources, source_lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(targets[row : row + 1], sources=sources[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "none"])
@torch.no_grad()
def test_cached_decoding_equals_decoding_at_once(positions, sources, targets):
    model = small_model(positions=positions, kv_heads=1)
    expected = model(targets, sources=sources, source_lengths=LENGTHS)
    memory = model.encode(sources, lengths=LENGTHS)
    cache = KeyValueCache(model.config, rows=3, capacity=CONTEXT)
    rows = [cache.allocate() for _ in range(3)]
    pieces = [
        model.hidden(piece, memory=memory, cache=cache.view(rows, [piece.shape[1]] * 3))
        for piece in targets.split([2, 1, 2], dim=1)
    ]
    found = model.head(torch.cat(pieces, dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_order", ["pre", "post"])
@torch.no_grad()
def test_a_watched_forward_equals_an_unwatched_one(norm_order, sources, targets):
    model = small_model(norm_order=norm_order)
    seen = {}
    watched = model(targets, sources=sources, source_lengths=LENGTHS, record=seen.__setitem__)
    unwatched = model(targets, sources=sources, source_lengths=LENGTHS)
    torch.testing.assert_close(watched, unwatched, rtol=1e-4, atol=1e-5)
    across = seen["decoder.layers.1.cross_attention.weights"]
    assert across.shape == (3, 2, 5, 7)
    assert (across[2, :, :, 1:] == 0).all()  # the third source is one token and padding
    assert seen["encoder.layers.2.attention.weights"][0, :, 0, -1].min() > 0  # it looks ahead
    assert seen["decoder.layers.0.attention.weights"][0, :, 0, 1:].max() == 0  # it does not


@torch.no_grad()
def test_a_target_token_sees_the_source_and_none_behind_it(sources, targets):
    model = small_model()
    before = model(targets, sources=sources)
    changed = targets.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    torch.testing.assert_close(model(changed, sources=sources)[:, :-1], before[:, :-1])
    other = sources.clone()
    other[:, -1] = (other[:, -1] + 1) % VOCAB
    assert not torch.allclose(model(targets, sources=other)[:, 0], before[:, 0], atol=1e-4)


@torch.no_grad()
def test_rows_of_a_memory_are_those_of_their_sources(sources, targets):
    model = small_model()
    order = torch.tensor([2, 0, 0])
    picked = model.encode(sources, lengths=LENGTHS).rows(order)
    expected = model(targets, sources=sources[order], source_lengths=LENGTHS[order])
    found = model.head(model.hidden(targets, memory=picked))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only(sources, targets):
    model = small_model(dropout=0.5)
    with torch.no_grad():
        assert torch.equal(model(targets, sources=sources), model(targets, sources=sources))
        model.train()
        assert not torch.equal(model(targets, sources=sources), model(targets, sources=sources))


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"positions": "learned"}])
def test_every_weight_is_set_and_learns(options, sources, targets):
    model = small_model(**options)
    initialise(model, seed=3)
    first = {name: weight.clone() for name, weight in model.named_parameters()}
    scale = (model.embed_tokens.weight * 4).std()  # sqrt(width) = 4
    assert 0.8 < scale < 1.2
    initialise(model, seed=3)
    assert all(torch.equal(weight, first[name]) for name, weight in model.named_parameters())
    for parameter in model.parameters():
        parameter.data += 0.02  # what starts at zero passes no gradient on
    model(targets, sources=sources).square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("norm_order", ["pre", "post"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_the_planned_number_of_parameters_is_that_of_the_model(norm_order, positions):
    model = small_model(norm_order=norm_order, positions=positions)
    assert planned_parameters(model.config) == parameter_count(model)


def test_a_language_model_of_this_family_is_refused_with_what_to_use():
    with pytest.raises(SettingError, match="cloche generate"):
        build_model(small_config())
