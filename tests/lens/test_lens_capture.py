"""A forward that is watched gives the numbers of one that is not, and tells them all."""

import pytest
import torch
from attention_models import FAMILIES, TEXT, tiny_lm, tiny_translator

from cloche.errors import RequestError
from cloche.lens import see_attention, see_next_token, see_residual, see_two
from cloche.lens.capture import (
    capture,
    capture_translation,
    ending_in,
    read_once,
    require_decoder,
)

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
STEPS = ("queries", "keys", "values", "scores", "masked_scores", "weights", "gathered")


@pytest.mark.parametrize("family", FAMILIES)
def test_watching_changes_no_logit(tmp_path, family):
    lm = tiny_lm(tmp_path, **FAMILIES[family])
    unwatched = lm.logits(IDS)
    assert torch.equal(capture(lm, IDS).logits, unwatched)
    assert torch.equal(capture(lm, IDS, wanted=ending_in("residual")).logits, unwatched)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_is_told_by_its_name(tmp_path, family):
    lm = tiny_lm(tmp_path, **FAMILIES[family])
    told = capture(lm, IDS).numbers
    mlp = ("router_logits", "experts", "expert_weights") if family == "moe" else ("neurons",)
    each = [*(f"attention.{step}" for step in (*STEPS, "output")), "mlp.output", "residual"]
    each += [f"mlp.{name}" for name in mlp]
    wanted = {f"layers.{layer}.{name}" for layer in range(2) for name in each}
    assert set(told) == {*wanted, "embedding", "norm"}
    assert told["layers.1.attention.weights"].shape == (lm.config.heads, 8, 8)
    assert told["layers.1.attention.keys"].shape == (lm.config.kv_heads, 8, lm.config.head_dim)
    assert told["norm"].shape == (8, 16)
    assert all(numbers.dtype == torch.float32 for numbers in told.values())


def test_the_stream_is_the_sum_of_what_was_added(tmp_path):
    told = capture(tiny_lm(tmp_path, heads=2), IDS).numbers
    stream = told["embedding"]
    for layer in range(2):
        added = [told[f"layers.{layer}.{branch}.output"] for branch in ("attention", "mlp")]
        stream = stream + added[0] + added[1]
        torch.testing.assert_close(told[f"layers.{layer}.residual"], stream)
        stream = told[f"layers.{layer}.residual"]


def test_only_what_is_wanted_is_kept(tmp_path):
    lm = tiny_lm(tmp_path, heads=2)
    told = capture(lm, IDS, wanted=ending_in("attention.weights", "norm")).numbers
    assert set(told) == {"layers.0.attention.weights", "layers.1.attention.weights", "norm"}


def see_some(lm):
    text = TEXT
    return [
        see_attention(lm, text),
        see_attention(lm, text, layer=1, head=0),
        see_residual(lm, text, positions=None),
        see_next_token(lm, text),
        see_two(lm, lm, text),
    ]


@pytest.mark.parametrize(("most", "forwards"), [(10**6, 2), (0, 8)])
def test_views_of_one_text_share_its_forward(tmp_path, monkeypatch, most, forwards):
    monkeypatch.setattr("cloche.lens.capture.MOST_SHARED", most)
    lm = tiny_lm(tmp_path, heads=2)
    apart = [view.to_json() for view in see_some(lm)]
    counted = []
    lm.model.register_forward_hook(lambda *_: counted.append(1))
    with read_once():
        together = [view.to_json() for view in see_some(lm)]
    assert len(counted) == forwards  # of the text, and of what induction is measured on
    assert together == apart
    capture(lm, IDS)
    capture(lm, IDS)
    assert len(counted) == forwards + 2


@pytest.mark.parametrize("norm_order", ["pre", "post"])
def test_watching_a_translation_changes_no_logit(tmp_path, norm_order):
    model = tiny_translator(tmp_path, norm_order=norm_order).model
    source, target = IDS, [0, 7, 8, 9]
    with torch.no_grad():
        unwatched = model(torch.tensor([target]), sources=torch.tensor([source]))[0]
    seen = capture_translation(model, source, target)
    assert torch.equal(seen.logits, unwatched)
    assert seen.ids == tuple(target)
    places = [(side, "attention") for side in ("encoder", "decoder")]
    for side, kind in [*places, ("decoder", "cross_attention")]:
        for step in STEPS:
            assert f"{side}.layers.1.{kind}.{step}" in seen.numbers
    assert seen.numbers["decoder.layers.0.cross_attention.weights"].shape == (2, 4, 8)


def test_broken_weights_are_told_as_they_are(tmp_path):
    lm = tiny_lm(tmp_path, heads=2)
    with torch.no_grad():
        next(lm.model.parameters()).fill_(float("nan"))
    seen = capture(lm, IDS)
    assert seen.logits.isnan().all()
    assert seen.numbers["layers.0.attention.weights"].isnan().any()


def test_a_text_that_does_not_fit_is_refused_before_it_is_read(tmp_path):
    lm = tiny_lm(tmp_path, heads=2, context=4)
    with pytest.raises(RequestError, match="8 tokens, and the model reads 4"):
        capture(lm, IDS)
    with pytest.raises(RequestError, match="no token"):
        capture(lm, [])


def test_a_model_without_layers_names_the_views_it_has(tmp_path):
    lm = tiny_lm(tmp_path, family="bigram")
    with pytest.raises(RequestError, match=r"a bigram model has no attention.*windows"):
        require_decoder(lm, "attention")
