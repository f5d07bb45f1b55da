"""The residual stream: norms, and the logit lens, whose last layer is the model itself."""

import json

import numpy as np
import pytest
import torch
from attention_models import FAMILIES, TEXT, tiny_lm
from rich.console import Console

from cloche.errors import RequestError, SettingError
from cloche.lens import residual
from cloche.lens.capture import capture
from cloche.lens.drawing import draw, figure
from cloche.lens.rendering import render
from cloche.lens.residual import logits_of, see_residual
from cloche.lens.wording import Language
from cloche.model.decoder import Decoder


def shown(view, *, lang: Language = "en") -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(render(view, lang=lang))
    return captured.get()


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_lm(tmp_path_factory.mktemp("stream"), family="gpt", heads=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_after_the_last_layer_the_lens_reads_the_models_own_logits(tmp_path, family):
    lm = tiny_lm(tmp_path, **FAMILIES[family])
    assert isinstance(lm.model, Decoder)
    ids = lm.tokenizer.encode(TEXT)
    seen = capture(lm, ids)
    assert torch.equal(logits_of(lm.model, seen.numbers["layers.1.residual"]), lm.logits(ids))


def test_the_last_reading_is_the_models_prediction(lm):
    view = see_residual(lm, TEXT, top=3, positions=None)
    ids = lm.tokenizer.encode(TEXT)
    # a head over fewer rows adds in another order: equal but for rounding
    probabilities, tokens = lm.logits(ids).softmax(-1).topk(3)
    assert np.array_equal(view.top_ids.values[-1], tokens.numpy())
    np.testing.assert_allclose(view.top_probabilities.values[-1], probabilities, atol=1e-5)
    np.testing.assert_allclose(view.divergence.values[-1], 0, atol=1e-5)
    assert (view.divergence.values[:-1] > 0).all()


def test_each_reading_is_the_norm_and_head_of_its_layer(lm):
    view = see_residual(lm, TEXT, positions=3)
    ids = lm.tokenizer.encode(TEXT)
    stream = capture(lm, ids).numbers["layers.0.residual"][-3:]
    final = lm.logits(ids)[-3:].log_softmax(-1)
    logits = lm.model.head(lm.model.norm(stream)).detach()
    read = logits.log_softmax(-1)
    assert view.positions == (6, 7, 8)
    np.testing.assert_allclose(
        view.divergence.values[1], (final.exp() * (final - read)).sum(-1), atol=1e-5
    )
    for place, position in enumerate((6, 7)):
        actual = ids[position + 1]
        rank = 1 + int((logits[place] > logits[place, actual]).sum())
        assert view.actual_rank.values[1, place] == rank
        assert view.actual_probability.values[1, place] == pytest.approx(
            float(read[place, actual].exp()), abs=1e-6
        )
    assert np.isnan(view.actual_rank.values[:, 2]).all()
    assert np.isnan(view.actual_probability.values[:, 2]).all()


def test_norms_are_those_of_the_stream_and_of_what_is_added(lm):
    view = see_residual(lm, TEXT)
    told = capture(lm, lm.tokenizer.encode(TEXT)).numbers
    assert view.places == ("embedding", "0", "1")
    assert view.norms.values[0, 4] == pytest.approx(float(told["embedding"][4].norm()))
    assert view.norms.values[2, 4] == pytest.approx(float(told["layers.1.residual"][4].norm()))
    found = float(told["layers.1.attention.output"][2].norm())
    assert view.attention_norms.values[1, 2] == pytest.approx(found)
    found = float(told["layers.0.mlp.output"][2].norm())
    assert view.mlp_norms.values[0, 2] == pytest.approx(found)


def test_few_positions_at_a_time_read_the_same(lm, monkeypatch):
    whole = see_residual(lm, TEXT)
    monkeypatch.setattr(residual, "MOST_NUMBERS", 8 * lm.config.vocab_size * 2)
    parts = see_residual(lm, TEXT)
    np.testing.assert_allclose(
        whole.top_probabilities.values, parts.top_probabilities.values, atol=1e-6
    )
    assert np.array_equal(whole.top_ids.values, parts.top_ids.values)
    assert parts.actual_rank.values.shape == (3, 9)


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"top": 0}, "top must be from 1"), ({"top": 500}, "got 500"), ({"positions": 0}, "at least")],
)
def test_settings_out_of_range_are_named(lm, asked, message):
    with pytest.raises(SettingError, match=message):
        see_residual(lm, TEXT, **asked)


def test_a_text_that_does_not_fit_the_model_or_memory_is_refused(lm, monkeypatch):
    with pytest.raises(RequestError, match="no token"):
        see_residual(lm, "")
    with pytest.raises(RequestError, match="65 tokens"):
        see_residual(lm, "a" * 65)
    monkeypatch.setattr(residual, "MOST_NUMBERS", 161)
    with pytest.raises(RequestError, match="9 tokens, and the attention of one layer"):
        see_residual(lm, TEXT)


def test_a_model_without_layers_names_the_views_it_has(tmp_path):
    with pytest.raises(RequestError, match=r"no residual stream.*parameters"):
        see_residual(tiny_lm(tmp_path, family="bigram"), TEXT)


def test_broken_weights_are_shown_as_such(tmp_path):
    lm = tiny_lm(tmp_path, heads=2)
    with torch.no_grad():
        next(lm.model.parameters()).fill_(float("nan"))
    view = see_residual(lm, "abc")
    assert (view.top_ids.values == residual.NO_TOKEN).all()
    for table in (view.norms, view.top_probabilities, view.actual_rank, view.divergence):
        assert np.isnan(table.values).all()
    assert "NaN" in shown(view)
    figure(view)
    json.dumps(view.to_json(), allow_nan=False)


def test_a_token_that_only_the_model_has_is_shown_by_its_number(tmp_path):
    lm = tiny_lm(tmp_path, heads=2, spare=2)  # vocabularies are padded to a round number
    view = see_residual(lm, "ab", top=lm.config.vocab_size)
    known = lm.tokenizer.vocab_size
    assert view.texts[known + 1] == f"#{known + 1}"
    assert set(view.texts) == set(range(known + 2))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("text", ["a", "abc" * 10])
def test_a_picture_shows_the_last_positions_and_says_so(lm, tmp_path, text, theme):
    made = figure(see_residual(lm, text), theme=theme)
    assert ("last 16 of 30" in made.get_suptitle()) == (len(text) > 16)
    table = made.axes[0]
    assert len(table.texts) == 3 * min(16, len(text))


def test_a_picture_of_one_layer_is_written(tmp_path):
    view = see_residual(tiny_lm(tmp_path, layers=1, heads=2), "ab", positions=1)
    assert draw(view, tmp_path / "stream.png").stat().st_size > 1000


def test_the_terminal_has_a_line_for_each_layer(lm):
    lines = shown(see_residual(lm, TEXT)).splitlines()
    assert sum(line.split()[:1] in (["embedding"], ["0"], ["1"]) for line in lines) == 3
    assert "–" in shown(see_residual(lm, "a"))
    assert "注意力所加" in shown(see_residual(lm, TEXT), lang="zh")
