"""The view of memory: training text against held-out text, and what is recited."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from text_models import broken, printed, random_lm, random_text, words_of

import cloche
from cloche.errors import DataError, RequestError, SettingError, TokenizerError
from cloche.lens.drawing import figure
from cloche.lens.memory import see_memory, texts_of_run
from cloche.lens.tokens import see_tokens
from cloche.text.characters import CharacterTokenizer
from cloche.text.words import WordTokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose model knows what followed every six characters of its text."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "book.txt").write_text(random_text(5000, seed=1), encoding="utf-8")
    options = {
        "model.family": "ngram",
        "model.order": 7,
        "text.tokenizer": "characters",
        "train.sample_tokens": 4,
    }
    return cloche.train(folder / "book.txt", out=folder / "run", options=options).folder


@pytest.fixture(scope="module")
def lm(run):
    return cloche.load(run)


@pytest.fixture(scope="module")
def view(run, lm):
    training, held_out = texts_of_run(run, lm)
    return see_memory(lm, training=training, held_out=held_out)


def test_a_run_has_excerpts_of_what_it_learned_from_and_of_what_it_did_not(run, lm):
    text = random_text(5000, seed=1)
    training, held_out = texts_of_run(run, lm)
    cut = text.index(held_out[0])
    assert len(training) == len(held_out)
    assert {len(each) for each in (*training, *held_out)} == {len(training[0])}
    learned = text[:4500]  # a tenth is held out
    assert all(each in learned for each in training)
    assert all(each in text and each not in learned for each in held_out)
    assert cut >= 4500
    assert texts_of_run(run, lm) == (training, held_out)
    assert texts_of_run(run, lm, seed=1) != (training, held_out)


def test_a_folder_without_text_says_how_to_give_one(lm, tmp_path):
    with pytest.raises(DataError, match="or give two texts"):
        texts_of_run(tmp_path, lm)


def test_what_was_learned_by_heart_costs_less_and_is_recited(view):
    assert view.training.mean_surprisal < 0.5 * view.held_out.mean_surprisal
    assert view.training.likeliest > 0.9
    assert view.training.recited_share > 0.8
    assert view.held_out.recited_share < 0.05
    assert view.separation > 0.9
    assert view.training.perplexity == pytest.approx(math.exp(view.training.mean_surprisal))


def test_what_is_recited_is_what_the_model_writes(lm, view):
    span = view.training.recited[0]
    passage = view.training.passages[span.passage]
    first = passage.tokens[span.start]
    written = lm.generate(passage.text[: first.start], max_new_tokens=span.tokens, greedy=True)
    assert written == span.text
    assert passage.text[first.start :].startswith(span.text)
    lengths = [each.tokens for each in view.training.recited]
    assert lengths == sorted(lengths, reverse=True)


def test_the_surprisal_is_that_of_the_view_of_tokens(lm, view):
    passage = view.held_out.passages[0]
    assert passage.tokens == see_tokens(lm, passage.text).tokens
    tokens = [token for each in view.held_out.passages for token in each.tokens]
    assert view.held_out.scored == len(tokens)
    mean = np.mean([token.surprisal or 0.0 for token in tokens])
    assert view.held_out.mean_surprisal == pytest.approx(mean)


def test_fewer_tokens_in_a_row_are_more_recited_spans(lm):
    texts = {"training": random_text(300, seed=1), "held_out": random_text(300, seed=7)}
    few, many = (see_memory(lm, **texts, least_recited=least) for least in (1, 20))
    assert len(few.held_out.recited) > len(many.held_out.recited)
    assert all(span.tokens >= 20 for span in many.training.recited)
    with pytest.raises(SettingError, match="least_recited must be at least 1, got 0"):
        see_memory(lm, **texts, least_recited=0)


def test_a_model_that_knows_nothing_knows_both_alike(tmp_path):
    lm = random_lm(CharacterTokenizer(set(random_text(900, 1))), tmp_path, family="bigram")
    found = see_memory(lm, training=random_text(600, 1), held_out=random_text(600, 2))
    assert found.separation == pytest.approx(0.5, abs=0.05)


def test_what_is_unknown_is_counted_where_the_vocabulary_has_a_token_for_it(tmp_path):
    words = WordTokenizer(["dog", "the", "sat"], special=("<|endoftext|>", "<|unk|>"))
    lm = random_lm(words, tmp_path)
    found = see_memory(lm, training="the dog sat", held_out=["the zebra sat", "a dog"])
    assert (found.training.unknown, found.held_out.unknown) == (0, 2)
    assert (found.training.scored, found.held_out.scored) == (2, 3)
    assert "unknown tokens" in printed(found)
    letters = random_lm(CharacterTokenizer(set("the dog\n")), tmp_path)
    with pytest.raises(TokenizerError):
        see_memory(letters, training="the dog", held_out="zebra")


def test_nothing_to_score_is_told_with_which_text(lm, tmp_path):
    with pytest.raises(RequestError, match="nothing to score in the held-out text"):
        see_memory(lm, training="abc", held_out="")
    words = WordTokenizer(["dog", "the", "sat"], special=("<|endoftext|>", "<|unk|>"))
    with pytest.raises(RequestError, match="nothing to score in the training text"):
        see_memory(random_lm(words, tmp_path), training="dog", held_out="the dog")


def test_broken_weights_are_shown_as_such(tmp_path):
    lm = broken(random_lm(CharacterTokenizer(set("the dog\n")), tmp_path))
    found = see_memory(lm, training="the dog", held_out="dot get")
    assert math.isnan(found.separation)
    assert math.isnan(found.training.perplexity)
    assert not found.training.recited
    assert '"mean_surprisal": "NaN"' in json.dumps(found.to_json(), allow_nan=False)
    assert "NaN" in printed(found)
    assert "NaN" in words_of(figure(found))


def test_the_terminal_shows_numbers_texts_and_spans_of_both(view):
    found = printed(view)
    assert f"{view.training.mean_surprisal:.4f}" in found
    assert "recited spans of the held-out text" in found
    assert f"{view.training.recited[0].tokens} tokens:" in found
    assert "█" in found
    assert "训练文本" in printed(view, "zh")


def test_the_picture_has_two_strips_on_one_scale_and_all_recited_spans(view):
    drawn = figure(view, theme="dark")
    strips = drawn.axes[:2]
    for axes, side in zip(strips, (view.training, view.held_out), strict=True):
        spans = [line for line in axes.lines if line.get_ydata()[0] < 0]
        assert len(spans) == len(side.recited)
        assert axes.get_xlim()[1] == sum(len(each.tokens) for each in side.passages)
    assert strips[0].images[0].get_clim() == strips[1].images[0].get_clim()
    assert any("recited word for word" in text for text in words_of(drawn))


def test_a_long_text_is_drawn_in_cells_of_several_tokens(lm, view):
    passage = view.training.passages[0]
    many = replace(view.training, passages=(passage,) * 40)
    axes = figure(replace(view, training=many)).axes[0]
    assert axes.images[0].get_array().shape[1] <= 800
    assert "tokens a cell" in axes.get_xlabel()
