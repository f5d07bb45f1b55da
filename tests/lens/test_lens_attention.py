"""Maps of attention: rows that sum to one, scores of heads known beforehand, one head in full."""

import json

import numpy as np
import pytest
import torch
from attention_models import FAMILIES, TEXT, tiny_lm
from matplotlib.figure import Figure
from rich.console import Console

from cloche.errors import RequestError, SettingError
from cloche.lens import attention_maps
from cloche.lens.attention import decoder_site, see_attention
from cloche.lens.attention_induction import induction_score, measure_induction, repeated_tokens
from cloche.lens.attention_maps import choose, mean_entropy, previous_token_score
from cloche.lens.capture import capture
from cloche.lens.drawing import draw, figure
from cloche.lens.rendering import render
from cloche.lens.wording import Language


def shown(view, *, lang: Language = "en") -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(render(view, lang=lang))
    return captured.get()


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_lm(tmp_path_factory.mktemp("grouped"), heads=4, kv_heads=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_token_gives_to_others_sums_to_one(tmp_path, family):
    view = see_attention(tiny_lm(tmp_path, **FAMILIES[family]), TEXT)
    weights = view.maps.weights.values
    assert weights.shape == (2, len(view.maps.heads), 9, 9)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert (np.triu(weights, 1) == 0).all()
    assert [piece.text for piece in view.maps.keys] == list("abcd␣abcd")
    assert (view.maps.relative_entropy.values <= 1 + 1e-5).all()


def test_a_window_is_all_that_a_token_can_look_at(tmp_path):
    weights = see_attention(tiny_lm(tmp_path, heads=2, window=3), TEXT).maps.weights.values
    assert (np.tril(weights, -3) == 0).all()
    assert (np.diagonal(weights, -2, 2, 3) > 0).all()
    site = decoder_site(tiny_lm(tmp_path, heads=2, window=3).config)
    assert site.reach(0, queries=5, keys=5).tolist() == [1, 2, 3, 3, 3]


def test_the_steps_of_a_head_follow_from_one_another(lm):
    view = see_attention(lm, TEXT, layer=1, head=3)
    stages = view.maps.stages
    assert stages is not None
    assert stages.kv_head == 1  # of four heads, two share each key head
    np.testing.assert_allclose(
        stages.queries.values @ stages.keys.values.T * stages.scale,
        stages.scores.values,
        atol=1e-5,
    )
    allowed = np.tril(np.ones((9, 9), dtype=bool))
    expected = np.where(allowed, stages.scores.values, -np.inf)
    assert np.array_equal(stages.masked_scores.values, expected)
    softmaxed = torch.from_numpy(expected).softmax(-1).numpy()
    np.testing.assert_allclose(stages.weights.values, softmaxed, atol=1e-6)
    np.testing.assert_allclose(
        stages.weights.values @ stages.values.values, stages.gathered.values, atol=1e-5
    )
    assert np.array_equal(view.maps.weights.values[0, 0], stages.weights.values)


def test_the_heads_of_a_layer_are_those_of_all_layers(lm):
    everything, layer = see_attention(lm, TEXT), see_attention(lm, TEXT, layer=1)
    assert layer.maps.layers == (1,)
    for name in ("weights", "entropy", "relative_entropy", "previous_token"):
        whole, part = (getattr(view.maps, name).values for view in (everything, layer))
        assert np.array_equal(whole[1:], part)
    assert np.array_equal(everything.induction.score.values[1:], layer.induction.score.values)


def test_entropy_and_the_token_before_are_those_of_heads_made_by_hand():
    uniform = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    before = np.eye(4, k=-1)
    before[0, 0] = 1
    weights = np.stack([uniform, before]).astype(np.float32)
    assert mean_entropy(weights) == pytest.approx([np.log([1, 2, 3, 4]).mean(), 0])
    assert previous_token_score(weights[None])[0] == pytest.approx([(1 / 2 + 1 / 3 + 1 / 4) / 3, 1])


def test_a_head_that_sees_all_alike_has_the_largest_entropy(tmp_path):
    lm = tiny_lm(tmp_path, family="gpt", heads=2)
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if "q_proj" in name:
                weight.zero_()
    view = see_attention(lm, TEXT)
    np.testing.assert_allclose(view.maps.relative_entropy.values, 1, atol=1e-6)


def test_a_head_that_looks_behind_the_earlier_occurrence_is_an_induction_head():
    length = 3
    weights = np.zeros((2, 7, 7), dtype=np.float32)  # a beginning, then three tokens twice
    for query in range(7):
        weights[0, query, max(0, query - length + 1)] = 1
        weights[1, query, query] = 1
    assert induction_score(weights, length=length) == pytest.approx([1, 0])


def test_induction_is_measured_on_the_tokens_of_the_seed(lm):
    site = decoder_site(lm.config)
    chosen = choose(site, layer=None, head=None)
    found = measure_induction(lm, site, chosen, seed=5)
    start, drawn = repeated_tokens(lm, seed=5)
    assert start == ()
    assert len(set(drawn)) == len(drawn) == 25
    assert not set(drawn) & set(lm.tokenizer.special_tokens.values())
    assert found.ids == (*drawn, *drawn)
    weights = capture(lm, found.ids).numbers["layers.1.attention.weights"]
    by_hand = [float(weights[2, 25 + n, n + 1]) for n in range(25)]
    assert found.score.values[1, 2] == pytest.approx(np.mean(by_hand))
    assert repeated_tokens(lm, seed=6) != (start, drawn)
    view = see_attention(lm, TEXT, seed=5)
    assert view.induction.ids == found.ids
    assert view.provenance.seed == 5


def test_what_a_single_token_cannot_tell_is_not_a_number(tmp_path):
    view = see_attention(tiny_lm(tmp_path, heads=2, context=3), "a")
    assert view.maps.previous_token is not None
    for table in (view.maps.relative_entropy, view.maps.previous_token, view.induction.score):
        assert np.isnan(table.values).all()
    assert view.induction.ids == ()
    assert "NaN" in shown(view)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": 2}, "layers 0 to 1, got layer 2"),
        ({"layer": -1}, "layers 0 to 1, got layer -1"),
        ({"layer": 0, "head": 4}, "heads 0 to 3, got head 4"),
        ({"head": 1}, "head 1 of which layer"),
    ],
)
def test_an_unknown_layer_or_head_names_those_there_are(lm, asked, message):
    with pytest.raises(SettingError, match=message):
        see_attention(lm, TEXT, **asked)


def test_a_text_without_a_token_or_too_long_is_refused(lm):
    with pytest.raises(RequestError, match="no token"):
        see_attention(lm, "")
    with pytest.raises(RequestError, match="65 tokens, and the model reads 64"):
        see_attention(lm, "a" * 65)


def test_maps_beyond_memory_are_refused_with_a_way_on(lm, monkeypatch):
    monkeypatch.setattr(attention_maps, "MOST_NUMBERS", 1000)
    see_attention(lm, TEXT, layer=0)
    with pytest.raises(RequestError, match="name one layer"):
        see_attention(lm, "abcdabcdabcd")


def test_broken_weights_are_shown_as_such(tmp_path):
    lm = tiny_lm(tmp_path, heads=2)
    with torch.no_grad():
        next(lm.model.parameters()).fill_(float("nan"))
    view = see_attention(lm, "abc", layer=0, head=1)
    assert json.loads(json.dumps(view.to_json()))["maps"]["entropy"]["values"] == [["NaN"]]
    assert "NaN" in shown(view)
    figure(view)
    figure(see_attention(lm, "abc"))
    assert "NaN" in shown(see_attention(lm, "abc", layer=1))


def test_the_json_has_every_number(lm):
    kept = json.loads(json.dumps(see_attention(lm, TEXT, layer=1, head=0).to_json()))
    assert kept["view"] == "attention"
    assert kept["maps"]["weights"]["shape"] == [1, 1, 9, 9]
    assert kept["maps"]["stages"]["masked_scores"]["values"][0][8] == "-Infinity"
    assert kept["provenance"]["text"] == TEXT


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("asked", [{}, {"layer": 0}, {"layer": 0, "head": 3}])
def test_a_picture_is_drawn_of_all_heads_of_a_layer_and_of_one(lm, tmp_path, asked, theme):
    view = see_attention(lm, "ab a", **asked)
    made = figure(view, theme=theme)
    assert isinstance(made, Figure)
    assert lm.folder.name in made.get_suptitle()
    panels = [axes for axes in made.axes if axes.get_images()]
    assert len(panels) == {0: 4, 1: 4, 2: 7}[len(asked)]


def test_a_picture_of_many_layers_lies_on_its_side(tmp_path):
    view = see_attention(tiny_lm(tmp_path, layers=6, heads=2), "ab")
    path = draw(view, tmp_path / "attention.png")
    assert path.stat().st_size > 1000
    sheet = figure(view).axes[0]
    assert sheet.get_xlabel() == "layer"
    assert len(sheet.get_images()) == 12


def test_the_terminal_lists_heads_and_the_numbers_of_one(lm):
    assert "looks most at" in shown(see_attention(lm, TEXT))
    assert "归纳分数" in shown(see_attention(lm, TEXT), lang="zh")
    one = shown(see_attention(lm, "abc", layer=1, head=2))
    for title in ("1 queries", "4 masked", "-∞", "7 gathered"):
        assert title in one
    assert "--json" not in one  # three tokens and four dimensions are shown whole
    assert "9 tokens" not in one


def test_the_terminal_says_what_it_leaves_out(lm):
    assert "the first 10 of 20 tokens" in shown(see_attention(lm, "ab" * 10, layer=1, head=2))


def test_many_heads_become_strips_with_the_highest_named(tmp_path):
    text = shown(see_attention(tiny_lm(tmp_path, layers=7, heads=4), TEXT))
    assert "highest: induction" in text
    assert "▁" in text
