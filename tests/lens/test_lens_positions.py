"""Positions: what is shown is what the model adds, or turns by."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_tables import printed, tiny_config, tiny_lm

from cloche.errors import RequestError, SettingError
from cloche.lens.capture import capture
from cloche.lens.drawing import draw, figure
from cloche.lens.positions import see_positions
from cloche.model.decoder import Decoder
from cloche.model.positions import sinusoidal_positions
from cloche.model.rope import RopeScaling

ADDED = {
    "learned": tiny_config("gpt"),
    "sinusoidal": tiny_config("gpt", positions="sinusoidal"),
}
ROTARY = tiny_config("llama", heads=2)
SCALINGS = {
    "none": None,
    "linear": RopeScaling("linear", 4.0, 8),
    "llama3": RopeScaling("llama3", 8.0, 16),
    "yarn": RopeScaling("yarn", 4.0, 8),
}


@pytest.mark.parametrize("kind", ADDED)
def test_what_is_shown_is_what_is_added_to_the_tokens(kind, tmp_path):
    lm = tiny_lm(tmp_path, ADDED[kind])
    view = see_positions(lm)
    assert (view.kind, view.length, view.rotation) == (kind, 24, None)
    assert view.added is not None
    ids = [1, 5, 5, 2]
    told = capture(lm, ids).numbers["embedding"]
    assert isinstance(lm.model, Decoder)
    plain = lm.model.embed_tokens.weight.detach()[ids]
    np.testing.assert_allclose(view.added.vectors.values[:4], told - plain, atol=1e-6)


def test_the_cosines_between_places_are_those_of_their_vectors(tmp_path):
    view = see_positions(tiny_lm(tmp_path, ADDED["sinusoidal"]), length=7)
    assert view.added is not None
    rows = sinusoidal_positions(torch.arange(7)[None], 16)[0]
    expected = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    np.testing.assert_allclose(view.added.cosines.values, expected, atol=1e-6)
    np.testing.assert_allclose(view.added.norms.values, rows.norm(dim=1), rtol=1e-6)


@pytest.mark.parametrize("kind", SCALINGS)
def test_turning_by_the_angles_shown_gives_the_queries_of_the_model(kind, tmp_path):
    lm = tiny_lm(tmp_path, replace(ROTARY, rope_scaling=SCALINGS[kind]))
    rotation = see_positions(lm).rotation
    assert rotation is not None
    told = capture(lm, [3, 3, 3, 3, 3]).numbers["layers.0.attention.queries"].numpy()
    angles, half = rotation.angles.values[:5], ROTARY.head_dim // 2
    first, second = told[:, :1, :half], told[:, :1, half:]  # at place 0, where nothing is turned
    turned = [
        first * np.cos(angles) - second * np.sin(angles),
        second * np.cos(angles) + first * np.sin(angles),
    ]
    np.testing.assert_allclose(np.concatenate(turned, axis=-1), told, atol=1e-5)
    np.testing.assert_allclose(
        rotation.cosines.values[:5], np.cos(angles) * rotation.sharpening, atol=1e-5
    )


@pytest.mark.parametrize("kind", SCALINGS)
def test_frequencies_with_and_without_the_scaling_are_those_of_its_definition(kind, tmp_path):
    lm = tiny_lm(tmp_path, replace(ROTARY, rope_scaling=SCALINGS[kind]))
    rotation = see_positions(lm).rotation
    assert rotation is not None
    pairs = np.arange(ROTARY.head_dim // 2)
    plain = 10_000.0 ** (-2 * pairs / ROTARY.head_dim)
    np.testing.assert_allclose(rotation.unscaled.values, plain, rtol=1e-5)
    slower = rotation.unscaled.values / rotation.frequencies.values
    most = 1.0 if kind == "none" else SCALINGS[kind].factor
    assert slower.min() >= 1 - 1e-5
    assert slower[-1] == pytest.approx(most, rel=1e-4), "the slowest pair is stretched in full"
    expected = 0.1 * math.log(4.0) + 1 if kind == "yarn" else 1.0
    assert rotation.sharpening == pytest.approx(expected)


def test_the_score_by_distance_is_the_mean_cosine(tmp_path):
    rotation = see_positions(tiny_lm(tmp_path, ROTARY)).rotation
    assert rotation is not None
    expected = np.cos(rotation.angles.values).mean(axis=1)
    np.testing.assert_allclose(rotation.scores.values, expected, atol=1e-5)
    assert rotation.scores.values[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "config",
    [
        tiny_config("bigram"),
        tiny_config("gpt", positions="none"),
        replace(tiny_config("ngram", order=2), ngrams=(tiny_config("bigram").vocab_size, 3)),
    ],
    ids=["bigram", "none", "ngram"],
)
def test_a_model_without_positions_is_refused_with_the_views_it_has(config, tmp_path):
    with pytest.raises(RequestError, match=r"views are tokens, .*parameters"):
        see_positions(tiny_lm(tmp_path, config))


@pytest.mark.parametrize("length", [0, -3, 25])
def test_a_length_that_the_model_has_not_is_refused(length, tmp_path):
    with pytest.raises(SettingError, match="from 1 to 24"):
        see_positions(tiny_lm(tmp_path, ROTARY), length=length)


def test_of_long_contexts_the_first_places_are_shown(tmp_path):
    lm = tiny_lm(tmp_path, replace(ROTARY, context=100_000))
    assert see_positions(lm).length == 256
    with pytest.raises(SettingError, match="from 1 to 4096"):
        see_positions(lm, length=5000)


def test_broken_positions_are_shown_as_such(tmp_path):
    lm = tiny_lm(tmp_path, ADDED["learned"])
    assert isinstance(lm.model, Decoder)
    with torch.no_grad():
        lm.model.embed_positions.weight[2, 3] = math.nan
        lm.model.embed_positions.weight[4] = 0.0
    view = see_positions(lm)
    assert view.added is not None
    broken = np.isnan(view.added.cosines.values)
    assert broken[[2, 4]].all()
    assert not broken[0, 1]
    json.dumps(view.to_json(), allow_nan=False)
    assert "nan" in printed(view).lower()
    draw(view, tmp_path / "broken.svg")


@pytest.mark.parametrize("length", [1, 24])
@pytest.mark.parametrize(
    "config", [*ADDED.values(), replace(ROTARY, rope_scaling=SCALINGS["yarn"])]
)
def test_the_table_is_drawn_as_a_heat_map_and_as_curves(config, length, tmp_path):
    view = see_positions(tiny_lm(tmp_path, config), length=length)
    made = figure(view, theme="dark")
    heat, curves = made.axes[:2]
    table = view.rotation.cosines if view.rotation else None
    if view.added is not None:
        table = view.added.vectors
    assert table is not None
    np.testing.assert_array_equal(heat.images[0].get_array(), table.values.T)
    assert len(curves.lines) == min(5, table.values.shape[1])
    for line in curves.lines:
        assert (table.values == np.asarray(line.get_ydata())[:, None]).all(axis=0).any()


def test_the_scaling_is_said_in_words(tmp_path):
    view = see_positions(tiny_lm(tmp_path, replace(ROTARY, rope_scaling=SCALINGS["yarn"])))
    said = printed(view)
    assert "scaling yarn, factor 4 · from a context of 8 · cosines and sines times 1.139" in said
    assert "no scaling" in printed(see_positions(tiny_lm(tmp_path, ROTARY)))
    assert "旋转" in printed(view, lang="zh")
