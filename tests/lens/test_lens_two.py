"""Two models on one text: against plain sums over the whole vocabulary, and by hand."""

import copy
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_models import TEXT, tiny_lm
from rich.console import Console
from text_models import printed

from cloche.errors import RequestError
from cloche.lens.drawing import figure
from cloche.lens.rendering import render
from cloche.lens.two import see_two
from cloche.lens.two_weights import weight_changes
from cloche.model.quantized import quantize
from cloche.text.characters import CharacterTokenizer


@pytest.fixture
def first(tmp_path):
    return tiny_lm(tmp_path, heads=2)


@pytest.fixture
def second(first):
    """The first with one matrix of the second layer doubled."""
    changed = replace(first, model=copy.deepcopy(first.model))
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight.mul_(2.0)
        changed.model.embed_tokens.weight[3] += 1.0
    return changed


def distributions(*models):
    ids = models[0].tokenizer.encode(TEXT)
    return [lm.logits(ids).double().softmax(-1) for lm in models]


def test_divergence_and_variation_are_those_of_the_whole_vocabulary(first, second):
    view = see_two(first, second, TEXT)
    before, after = distributions(first, second)
    expected = (after * (after / before).log()).sum(-1)
    np.testing.assert_allclose(view.divergence.values, expected, rtol=1e-6)
    np.testing.assert_allclose(view.variation.values, (after - before).abs().sum(-1) / 2, rtol=1e-6)
    assert view.divergence.values.max() > 0.01
    assert view.added.values.max() == 0.0


def test_surprisal_is_that_of_the_tokens_that_came(first, second):
    view = see_two(first, second, TEXT)
    ids = first.tokenizer.encode(TEXT)
    for row, given in zip(view.surprisal.values, distributions(first, second), strict=True):
        assert np.isnan(row[0])
        expected = [-given[place - 1, ids[place]].log().item() for place in range(1, len(ids))]
        np.testing.assert_allclose(row[1:], expected, rtol=1e-6)
    assert "".join(piece.text for piece in view.pieces) == TEXT.replace(" ", "␣")


def test_tokens_that_moved_most_come_first(first, second):
    view = see_two(first, second, TEXT, top=3)
    before, after = distributions(first, second)
    for moves in view.moves:
        change = (after - before)[moves.position]
        assert moves.rose[0].token.id == int(change.argmax())
        assert moves.fell[0].token.id == int(change.argmin())
        assert moves.rose[0].second == pytest.approx(
            float(after[moves.position].take(change.argmax()))
        )
        assert len(moves.rose) <= 3
        assert all(move.second > move.first for move in moves.rose)


def test_equal_models_differ_in_nothing(first):
    view = see_two(first, first, TEXT)
    assert not view.divergence.values.any()
    assert all(not moves.rose and not moves.fell for moves in view.moves)
    assert not view.weights.by_layer.values.any()
    figure(view)


def test_the_change_of_each_weight_stands_at_its_layer_and_kind(first, second):
    changes = see_two(first, second, TEXT).weights
    row = dict(zip(changes.kinds, changes.by_layer.values[1], strict=True))
    assert row.pop("mlp.up_proj") == pytest.approx(1.0)
    assert not any(row.values())
    assert not changes.by_layer.values[0].any()
    table = first.model.embed_tokens.weight.detach()
    expected = table.shape[1] ** 0.5 / float(table.norm())
    assert changes.outside["embed_tokens"] == pytest.approx(expected, rel=1e-5)
    assert changes.apart == []


def test_experts_are_one_kind_and_rounded_matrices_are_named(tmp_path):
    moe = tiny_lm(tmp_path, family="moe", heads=2, experts=4, experts_used=2).model
    kinds = weight_changes(moe, moe).kinds
    assert not any(any(letter.isdigit() for letter in kind) for kind in kinds)
    plain = tiny_lm(tmp_path, heads=2).model
    rounded = copy.deepcopy(plain)
    quantize(rounded, "int8")
    changes = weight_changes(plain, rounded)
    assert "layers.0.self_attn.q_proj.weight" in changes.apart
    assert "self_attn.q_proj" not in changes.kinds


def test_models_of_other_sizes_are_compared_by_what_they_say(first, tmp_path):
    view = see_two(first, tiny_lm(tmp_path, layers=3, heads=2), TEXT)
    assert view.divergence.values.min() > 0
    assert len(view.weights.by_layer.values) == 2
    assert "layers.2.mlp.up_proj.weight" in view.weights.apart


class Extended(CharacterTokenizer):
    """The letters, and a special token after them, or one of these bytes."""

    def __init__(self, characters, *, added=b""):
        super().__init__(characters)
        self.added = added

    @property
    def vocab_size(self):
        return super().vocab_size + 1

    @property
    def fingerprint(self):
        return "another"

    def token_bytes(self, token_id):
        return self.added if token_id == super().vocab_size else super().token_bytes(token_id)


def test_an_added_special_token_is_set_apart(first, tmp_path):
    letters = set("abcdefghijklmnopqrstuvwxyz \n")
    tuned = replace(tiny_lm(tmp_path, heads=2, spare=1), tokenizer=Extended(letters))
    view = see_two(first, tuned, TEXT)
    whole = distributions(tuned)[0]
    np.testing.assert_allclose(view.added.values[1], whole[:, -1], rtol=1e-6)
    shared = whole[:, :-1] / whole[:, :-1].sum(-1, keepdim=True)
    before = distributions(first)[0]
    expected = (shared * (shared / before).log()).sum(-1)
    np.testing.assert_allclose(view.divergence.values, expected, rtol=1e-5)


def test_models_of_different_tokenizers_are_refused(first):
    other = replace(first, tokenizer=CharacterTokenizer(set("bcdefghijklmnopqrstuvwxyz \n!")))
    with pytest.raises(RequestError, match="different tokenizers"):
        see_two(first, other, "bcd")
    grown = replace(first, tokenizer=Extended(set("abcdefghijklmnopqrstuvwxyz \n"), added=b"X"))
    with pytest.raises(RequestError, match=r"only one knows .*'X', which is no special token"):
        see_two(first, grown, "abc")


def test_a_text_beyond_the_context_is_refused(first, second):
    with pytest.raises(RequestError, match="reads 1 to 64 tokens"):
        see_two(first, second, "a" * 65)
    with pytest.raises(RequestError, match="top must be at least 1"):
        see_two(first, second, "a", top=0)


def test_broken_weights_are_shown_as_no_numbers(first, second):
    with torch.no_grad():
        second.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    view = see_two(first, second, TEXT)
    assert np.isnan(view.divergence.values).all()
    told = json.loads(json.dumps(view.to_json(), allow_nan=False))
    assert told["divergence"]["values"][0] == "NaN"
    drawn = figure(view)
    assert any(text.get_text() == "NaN" for axes in drawn.axes for text in axes.texts)


@pytest.mark.parametrize("text", ["a", TEXT])
def test_the_picture_and_the_terminal_show_the_numbers(first, second, text):
    view = see_two(first, second, text)
    drawn = figure(view, theme="dark")
    bars = [patch.get_height() for patch in drawn.axes[0].patches]
    assert bars == pytest.approx(view.divergence.values.tolist())
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render(view))
    said = console.export_text()
    assert f"{view.divergence.values[0]:.3f}" in said
    assert "layers.1.mlp.up_proj" in said


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "weights differs: they are one model"), ("zh", "两者是同一模型")]
)
def test_a_model_against_itself_is_told(first, lang, said):
    shown = printed(see_two(first, first, TEXT), lang=lang)
    assert said in shown
    assert "mlp.up_proj" not in shown


def test_models_without_a_weight_in_common_get_no_table_of_weights(first, tmp_path):
    other = tiny_lm(tmp_path, family="bigram")
    view = see_two(first, other, TEXT)
    assert view.weights.kinds == []
    shown = printed(view)
    assert "weights could not be compared" in shown
    assert "changed most" not in shown


def test_a_bigram_is_compared_too(tmp_path):
    one, other = (tiny_lm(tmp_path, family="bigram") for _ in range(2))
    with torch.no_grad():
        other.model.embed_tokens.weight.mul_(1.5)
    view = see_two(one, other, TEXT)
    assert view.weights.outside == {"embed_tokens": pytest.approx(0.5)}
    figure(view)
