"""The view of a text's tokens: split, places, surprisal, ranks."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from text_models import broken, printed, random_lm, words_of

from cloche.errors import RequestError, TokenizerError
from cloche.evaluation.measure import measure_sources
from cloche.lens.drawing import draw, figure
from cloche.lens.figures.tokens import lay_out, shortened, text_widths
from cloche.lens.tokens import see_tokens
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources
from cloche.text.words import WordTokenizer

TEXT = "The cat 春 and [red]the dog.\nThe end é 🙂"


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(["The cat and the dog. " * 20], vocab_size=280, rule="gpt-2")


@pytest.fixture
def lm(bpe, tmp_path):
    return random_lm(bpe, tmp_path)


def test_the_tokens_are_the_text_and_each_tells_where_it_stands(lm):
    view = see_tokens(lm, TEXT)
    assert b"".join(token.data for token in view.tokens) == TEXT.encode()
    assert [token.id for token in view.tokens] == lm.tokenizer.encode(TEXT)
    assert (view.characters, view.utf8_bytes) == (len(TEXT), len(TEXT.encode()))
    for token in view.tokens:
        part = TEXT[token.start : token.end].encode()
        assert token.data in part
    spring = [token for token in view.tokens if token.start == TEXT.index("春")]
    assert [token.text for token in spring] == ["<e6>", "<98>", "<a5>"]
    assert {token.end for token in spring} == {TEXT.index("春") + 1}


def test_the_surprisal_is_what_the_logits_say_and_the_rank_counts_the_likelier(lm):
    text = "The cat and"  # shorter than the context
    view = see_tokens(lm, text)
    ids = lm.tokenizer.encode(text)
    logprobs = lm.logits(ids).log_softmax(dim=-1)
    assert view.tokens[0].surprisal is not None  # after a newline
    for place, token in enumerate(view.tokens[1:]):
        assert token.surprisal == pytest.approx(-float(logprobs[place, token.id]), rel=1e-4)
        assert token.rank == 1 + int((logprobs[place] > logprobs[place, token.id]).sum())
    costs = [token.surprisal or 0.0 for token in view.tokens]
    assert view.mean_surprisal == pytest.approx(np.mean(costs))


def test_a_text_longer_than_the_context_costs_what_the_evaluator_says(lm, tmp_path):
    text = TEXT * 4
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    view = see_tokens(lm, text)
    assert len(view.tokens) > 2 * view.context
    found = measure_sources(lm, find_sources([str(tmp_path / "book.txt")]), encoding="utf-8")
    assert math.fsum(token.surprisal or 0.0 for token in view.tokens) == pytest.approx(
        found.nats, rel=1e-5
    )
    assert len(view.tokens) == found.tokens


def test_a_first_token_that_nothing_predicts_has_no_surprisal(tmp_path):
    words = WordTokenizer(["dog", "the", "sat"], special=("<|endoftext|>", "<|unk|>"))
    view = see_tokens(random_lm(words, tmp_path), "the dog sat")
    assert (view.tokens[0].surprisal, view.tokens[0].rank) == (None, None)
    assert all(token.surprisal for token in view.tokens[1:])
    alone = see_tokens(random_lm(words, tmp_path), "dog")
    assert alone.mean_surprisal is None
    assert "–" in words_of(figure(alone))


def test_a_bigram_has_this_view(tmp_path):
    lm = random_lm(CharacterTokenizer(list("\n abdgost")), tmp_path, family="bigram")
    view = see_tokens(lm, "a dog sat")
    assert len(view.tokens) == 9
    assert all(token.rank for token in view.tokens)


def test_what_cannot_be_read_is_told(tmp_path):
    lm = random_lm(CharacterTokenizer(list("abc")), tmp_path)
    with pytest.raises(TokenizerError, match="character 'z'"):
        see_tokens(lm, "abz")
    with pytest.raises(RequestError, match="no token to look at"):
        see_tokens(lm, "")


def test_broken_weights_are_shown_as_such(lm):
    view = see_tokens(broken(lm), "The cat")
    assert all(math.isnan(token.surprisal or 0.0) for token in view.tokens)
    assert all(token.rank is None for token in view.tokens)
    found = json.dumps(view.to_json(), allow_nan=False)
    assert '"surprisal": "NaN"' in found
    assert "NaN" in words_of(figure(view))
    assert "NaN" in printed(view)


def test_the_json_has_every_token_with_its_bytes(lm):
    found = see_tokens(lm, "The 春").to_json()
    assert found["view"] == "tokens"
    assert "".join(token["data"] for token in found["tokens"]) == "The 春".encode().hex()
    assert {"id", "text", "data", "start", "end", "surprisal", "rank"} == set(found["tokens"][0])


def test_the_terminal_shows_the_split_and_takes_no_orders_from_the_text(lm):
    found = printed(see_tokens(lm, TEXT * 4))
    assert "<e6> <98> <a5>" in found
    assert "[ r e d ]" in found
    assert "longer than the context of 16: read in windows, 8 tokens apart" in found
    assert "the first 100 of" in found
    assert "惊讶度" in printed(see_tokens(lm, "The"), lang="zh")


def test_every_token_is_drawn_inside_the_picture_and_none_over_another(lm):
    view = see_tokens(lm, "The cat and the dog. " * 6 + "春\n")
    for theme in ("light", "dark"):
        drawn = figure(view, theme=theme)
        axes = drawn.axes[0]
        width, height = axes.get_xlim()[1], axes.get_ylim()[0]
        boxes = [patch.get_bbox() for patch in axes.patches][: len(view.tokens)]
        assert all(0 <= box.x0 < box.x1 <= width for box in boxes)
        assert all(0 <= box.y0 < box.y1 <= height for box in boxes)
        for one, other in pairwise(boxes):
            assert one.x1 <= other.x0 or one.y1 <= other.y0
        assert set(words_of(drawn)) >= {token.text for token in view.tokens}


def test_a_long_text_is_cut_and_said_to_be(lm, monkeypatch):
    monkeypatch.setattr("cloche.lens.figures.tokens.DRAWN", 20)
    drawn = figure(see_tokens(lm, "The cat " * 20))
    assert any("the first 20 are drawn" in text for text in words_of(drawn))


def test_boxes_wrap_like_text_and_a_wide_one_stands_alone():
    places = lay_out([50, 60, 30, 500, 20], [False, False, True, False, False], width=120, gap=4)
    assert places == [(0, 0), (54, 0), (0, 1), (0, 2), (0, 3)]
    assert shortened("a" * 30, longest=9) == "aaaa…aaaa"
    widths = text_widths(["i", "iiii", "WWWW"], size=10)
    assert widths["i"] < widths["iiii"] < widths["WWWW"]


def test_a_picture_is_written_in_each_format(lm, tmp_path):
    view = see_tokens(lm, "The cat")
    for name in ("a.svg", "a.html"):
        assert "Tokens, by how much" in draw(view, tmp_path / name).read_text(encoding="utf-8")
