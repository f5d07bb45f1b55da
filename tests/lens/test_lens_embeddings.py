"""Embeddings: neighbours and the plane are those of a brute-force search and of the SVD."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_tables import LETTERS, printed, tiny_config, tiny_lm

from cloche.errors import RequestError, SettingError
from cloche.lens import vectors
from cloche.lens.drawing import draw, figure
from cloche.lens.embeddings import see_embeddings
from cloche.lens.vectors import VectorTable, principal_plane
from cloche.model.quantized import quantize
from cloche.text.words import WordTokenizer


@pytest.fixture
def lm(tmp_path):
    return tiny_lm(tmp_path)


def weight(lm) -> torch.Tensor:
    return lm.model.embed_tokens.weight


@pytest.mark.parametrize("chunk", [2**22, 40])
def test_neighbours_are_those_of_a_brute_force_search(lm, chunk, monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", chunk)
    view = see_embeddings(lm, ["c", 2], neighbours=4)
    rows = weight(lm).detach().double()
    for found in view.asked:
        own = rows[found.piece.id]
        cosines = torch.nn.functional.cosine_similarity(rows, own[None], dim=1)
        cosines[found.piece.id] = -2
        best = cosines.topk(4)
        assert [each.piece.id for each in found.neighbours] == best.indices.tolist()
        near = [each.cosine for each in found.neighbours]
        assert near == pytest.approx(best.values.tolist(), abs=1e-6)
        assert found.norm == pytest.approx(float(own.norm()), rel=1e-6)
    assert view.asked[0].piece.text == "c"


@pytest.mark.parametrize("widest", [1024, 4])
def test_the_plane_is_that_of_the_singular_value_decomposition(lm, widest, monkeypatch):
    monkeypatch.setattr(vectors, "WIDEST_SQUARE", widest)
    monkeypatch.setattr(vectors, "CHUNK", 40)
    view = see_embeddings(lm)
    rows = weight(lm).detach().double().numpy()[: len(view.tokens)]
    centred = rows - rows.mean(axis=0)
    left, strengths, right = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * strengths[:2]
    expected *= np.sign(right[:2][np.arange(2), abs(right[:2]).argmax(axis=1)])
    np.testing.assert_allclose(view.projection.values, expected, atol=1e-4)
    shares = strengths**2 / (strengths**2).sum()
    assert view.explained == pytest.approx(tuple(shares[:2]), rel=1e-4)


def test_the_plane_of_a_bigram_is_that_of_its_logits(tmp_path):
    lm = tiny_lm(tmp_path, tiny_config("bigram"))
    view = see_embeddings(lm, ["a"])
    assert view.width == len(view.tokens) == lm.config.vocab_size
    assert len(view.asked[0].neighbours) == 10
    assert "logits" in printed(view)


def test_rounded_tables_are_looked_at_as_they_compute(lm):
    plain = see_embeddings(lm, ["a"], numbers=True)
    quantize(lm.model, "int8")
    view = see_embeddings(lm, ["a"], numbers=True)
    assert view.numbers is not None
    assert plain.numbers is not None
    np.testing.assert_allclose(view.numbers.values, plain.numbers.values, atol=0.05)
    assert np.abs(view.numbers.values - plain.numbers.values).max() > 0


def test_the_table_itself_is_in_the_json_only_when_asked_for(lm):
    assert see_embeddings(lm).to_json()["numbers"] is None
    told = json.loads(json.dumps(see_embeddings(lm, numbers=True).to_json(), allow_nan=False))
    np.testing.assert_array_equal(told["numbers"]["values"], weight(lm).detach().numpy())
    assert told["projection"]["shape"] == [len(told["tokens"]), 2]
    assert told["tied"] is lm.config.tied


def test_a_table_too_large_to_keep_is_refused_when_asked_for(lm, monkeypatch):
    monkeypatch.setattr("cloche.lens.embeddings.MOST_NUMBERS", 10)
    see_embeddings(lm)
    with pytest.raises(RequestError, match="leave the numbers out"):
        see_embeddings(lm, numbers=True)


def test_tokens_are_given_as_text_as_shown_or_by_id(lm):
    special = next(iter(lm.tokenizer.special_tokens), None)
    asked = ["a", "␣", " ", "⏎", 3, *([special] if special else [])]
    ids = [each.piece.id for each in see_embeddings(lm, asked).asked]
    (space,) = lm.tokenizer.encode(" ")
    assert ids[1] == space
    assert ids.count(space) == 1, "given twice, shown once"
    assert lm.tokenizer.encode("\n")[0] in ids
    assert 3 in ids


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("abc", r"is 3 tokens: a \(\d+\) \| b \(\d+\) \| c \(\d+\)\. Give one"),
        ("", "There are"),
        ("Z", "Z"),
        (999, "0 to"),
        (-1, "0 to"),
    ],
)
def test_what_is_no_token_is_refused_with_those_there_are(lm, given, said):
    with pytest.raises(SettingError, match=said):
        see_embeddings(lm, [given])


def test_a_word_that_is_unknown_is_not_the_unknown_token(tmp_path):
    tokenizer = WordTokenizer(["sea", "is", "blue"])
    config = replace(tiny_config(), vocab_size=tokenizer.vocab_size)
    lm = replace(tiny_lm(tmp_path, config), tokenizer=tokenizer)
    assert see_embeddings(lm, ["sea"]).asked[0].piece.text == "sea"
    with pytest.raises(SettingError, match="no token of this model"):
        see_embeddings(lm, ["mountain"])


def test_no_neighbour_is_a_mistake_and_more_than_all_are_all(lm):
    with pytest.raises(SettingError, match="at least 1"):
        see_embeddings(lm, ["a"], neighbours=0)
    (found,) = see_embeddings(lm, ["a"], neighbours=10**6).asked
    assert len(found.neighbours) == lm.tokenizer.vocab_size - 1


def test_a_counted_model_has_no_vectors_and_the_views_it_has_are_named(tmp_path):
    size = tiny_config("bigram").vocab_size
    lm = tiny_lm(tmp_path, replace(tiny_config("ngram", order=2), ngrams=(size, 3)))
    with pytest.raises(RequestError, match="next-token, parameters"):
        see_embeddings(lm)


def test_broken_vectors_are_left_out_and_counted(lm, tmp_path):
    with torch.no_grad():
        weight(lm)[1, 0] = math.nan
        weight(lm)[2, 0] = math.inf
        weight(lm)[3] = 0.0
    view = see_embeddings(lm, [1, 3, 4], neighbours=100)
    assert view.broken == 2
    assert [len(each.neighbours) for each in view.asked] == [0, 0, len(view.tokens) - 4]
    assert np.isnan(view.projection.values[[1, 2]]).all()
    assert np.isfinite(view.projection.values[3:]).all()
    json.dumps(view.to_json(), allow_nan=False)
    assert "2 vectors hold numbers that are none" in printed(view)
    draw(view, tmp_path / "broken.svg")


@pytest.mark.parametrize("value", [math.nan, 0.0, 3e38, 1.5])
def test_a_table_of_one_number_is_shown_as_it_is(lm, value, tmp_path):
    with torch.no_grad():
        weight(lm)[:] = value
    view = see_embeddings(lm, [0])
    assert np.isnan(view.explained).all()
    assert view.broken == (len(view.tokens) if math.isnan(value) else 0)
    printed(view)
    draw(view, tmp_path / "flat.png")


def test_weights_near_the_end_of_float32_have_their_plane(lm):
    with torch.no_grad():
        weight(lm).mul_(1e37)
    assert sum(see_embeddings(lm).explained) < 1
    assert see_embeddings(lm).explained[0] > 0


def test_rows_without_a_token_are_not_looked_at(tmp_path):
    lm = tiny_lm(tmp_path, replace(tiny_config(), vocab_size=40))
    view = see_embeddings(lm)
    assert view.unused_rows == 40 - lm.tokenizer.vocab_size
    assert "more rows" in printed(view)


def test_vectors_of_one_number_lie_on_a_line():
    table = VectorTable(torch.nn.Embedding(5, 1), rows=5)
    places, explained = principal_plane(table, table.norms())
    assert not places[:, 1].any()
    assert explained == pytest.approx((1.0, 0.0))


def test_no_name_covers_another_or_leaves_the_picture(tmp_path):
    lm = tiny_lm(
        tmp_path, replace(tiny_config(), vocab_size=60), letters=LETTERS + "猫犬鱼鸟花" * 3
    )
    made = figure(see_embeddings(lm, ["猫", "a", "b"]), lang="en")
    axes = made.axes[-1]
    made.draw_without_rendering()
    texts = [each for each in axes.texts if each.get_text()]
    assert {"猫", "a", "b"} <= {each.get_text() for each in texts}
    boxes = [each.get_window_extent() for each in texts]
    frame = axes.get_window_extent()
    for number, box in enumerate(boxes):
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_neighbours_of_each_token_are_bars(lm):
    view = see_embeddings(lm, ["a", "b", "c", "d", "e"], neighbours=3)
    panels = figure(view).axes[:5]
    for axes, found in zip(panels, view.asked, strict=True):
        widths = [each.get_width() for each in axes.patches]
        assert widths == [each.cosine for each in found.neighbours]
