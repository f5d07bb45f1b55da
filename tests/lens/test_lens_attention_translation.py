"""Attention of an encoder-decoder: three kinds of maps, drawn as those of a decoder are."""

import json

import numpy as np
import pytest
from attention_models import tiny_translator
from rich.console import Console

from cloche.errors import RequestError, SettingError
from cloche.lens import attention_maps
from cloche.lens.attention_translation import see_translation_attention
from cloche.lens.drawing import draw, figure
from cloche.lens.rendering import render


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    return tiny_translator(tmp_path_factory.mktemp("translator"), encoder_layers=1)


def test_each_kind_of_attention_has_its_maps(translator):
    view = see_translation_attention(translator, "abcd", "dc")
    assert view.encoder is not None
    assert view.decoder is not None
    assert view.cross is not None
    assert view.encoder.weights.values.shape == (1, 2, 5, 5)  # the source and its end
    assert view.decoder.weights.values.shape == (2, 2, 3, 3)  # the beginning and the target
    assert view.cross.weights.values.shape == (2, 2, 3, 5)
    for maps in view.kinds.values():
        np.testing.assert_allclose(maps.weights.values.sum(-1), 1, atol=1e-5)
    assert (np.triu(view.decoder.weights.values, 1) == 0).all()
    assert (view.encoder.weights.values > 0).all()
    assert view.cross.previous_token is None
    assert not view.written


def test_without_a_target_it_is_what_the_model_writes(translator):
    view = see_translation_attention(translator, "abc")
    assert view.written
    assert view.target == translator.translate("abc")
    assert view.decoder is not None
    assert len(view.decoder.queries) <= translator.config.context


def test_the_steps_of_a_cross_head_follow_from_one_another(translator):
    view = see_translation_attention(translator, "abc", "cb", layer=1, head=0, kind="cross")
    assert view.encoder is None
    assert view.cross is not None
    stages = view.cross.stages
    assert stages is not None
    assert np.array_equal(stages.scores.values, stages.masked_scores.values)  # nothing is hidden
    np.testing.assert_allclose(
        stages.weights.values @ stages.values.values, stages.gathered.values, atol=1e-5
    )
    assert view.to_json()["cross"]["weights"]["shape"] == [1, 1, 3, 4]
    json.dumps(view.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": 1}, "encoder attention of the model has layer 0 alone, got layer 1"),
        ({"layer": 2, "kind": "cross"}, "cross attention of the model has layers 0 to 1"),
        ({"kind": "sideways"}, "encoder, decoder, cross"),
        ({"head": 0}, "of which layer"),
    ],
)
def test_an_unknown_place_names_those_there_are(translator, asked, message):
    with pytest.raises(SettingError, match=message):
        see_translation_attention(translator, "abc", "cba", **asked)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (" ", None, "empty"),
        (" ", "abc", "no token"),
        ("a" * 24, "abc", "source has 24 tokens, and the model reads 23"),
        ("abc", "a" * 24, "target has 24 tokens, and the model reads 23"),
    ],
)
def test_texts_that_do_not_fit_are_refused(translator, source, target, message):
    with pytest.raises(RequestError, match=message):
        see_translation_attention(translator, source, target)


def test_maps_beyond_memory_are_refused(translator, monkeypatch):
    monkeypatch.setattr(attention_maps, "MOST_NUMBERS", 100)
    with pytest.raises(RequestError, match="give a shorter text"):
        see_translation_attention(translator, "abcdefgh", "ab")


@pytest.mark.parametrize("asked", [{}, {"layer": 0}, {"layer": 0, "head": 1}])
def test_it_is_drawn_and_printed(translator, tmp_path, asked):
    view = see_translation_attention(translator, "abc", "cb", **asked)
    made = figure(view, theme="dark")
    assert len(made.subfigs) == 3
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render(view))
    assert "cross: the target looks at the source" in captured.get()
    if not asked:
        assert draw(view, tmp_path / "maps.svg").stat().st_size > 1000
