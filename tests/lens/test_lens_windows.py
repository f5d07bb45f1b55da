"""The view of windows: what a training learns from."""

import json

import numpy as np
import pytest
import torch
from text_models import broken, printed, random_lm, words_of

from cloche.data.batches import TokensInMemory, windows_at
from cloche.errors import RequestError, SettingError, TokenizerError
from cloche.lens.drawing import figure
from cloche.lens.windows import see_windows
from cloche.text.characters import CharacterTokenizer

TEXT = "the dog sat on the cat and so on"


@pytest.fixture
def lm(tmp_path):
    return random_lm(CharacterTokenizer(set(TEXT + "\n")), tmp_path)


def test_the_windows_are_those_a_training_sees_with_the_models_probabilities(lm):
    view = see_windows(lm, TEXT, context=6, count=3)
    ids = np.asarray(lm.tokenizer.encode(TEXT))
    batch = windows_at(
        TokensInMemory(ids, np.asarray([len(ids)]), separated=False),
        np.asarray(view.starts),
        context=6,
    )
    assert view.starts == (0, 6, 12)
    for row, window in enumerate(view.windows):
        assert [piece.id for piece in window[:-1]] == batch.inputs[row].tolist()
        assert [piece.id for piece in window[1:]] == batch.targets[row].tolist()
    probabilities = torch.stack([lm.logits(row.tolist()) for row in batch.inputs]).softmax(dim=-1)
    true = probabilities.gather(2, batch.targets[:, :, None])[:, :, 0].numpy()
    np.testing.assert_allclose(view.probabilities.values, true, rtol=1e-6)
    highest, likeliest = probabilities.max(dim=-1)
    np.testing.assert_allclose(view.likeliest_probabilities.values, highest.numpy(), rtol=1e-6)
    assert [[piece.id for piece in row if piece] for row in view.likeliest] == likeliest.tolist()


def test_a_context_does_not_see_what_follows(lm):
    whole = see_windows(lm, TEXT, context=6, count=1).probabilities.values[0]
    for length in range(1, 7):
        part = see_windows(lm, TEXT[: length + 1], context=length, count=1)
        np.testing.assert_allclose(part.probabilities.values[0], whole[:length], rtol=1e-4)


def test_a_stride_lays_them_over_one_another_and_only_what_fits_is_kept(lm):
    view = see_windows(lm, TEXT, context=8, count=100, stride=3)
    assert view.starts == tuple(range(0, len(TEXT) - 8, 3))
    assert (view.fitting, view.text_tokens) == (len(view.starts), len(TEXT))
    assert view.probabilities.values.shape == (view.fitting, 8)
    exact = see_windows(lm, "the dog s", context=8)
    assert (exact.starts, exact.fitting) == ((0,), 1)


@pytest.mark.parametrize("name", ["context", "count", "stride"])
def test_numbers_below_one_are_refused(lm, name):
    with pytest.raises(SettingError, match=f"{name} must be at least 1, got 0"):
        see_windows(lm, TEXT, **{name: 0})


def test_what_does_not_fit_is_told_with_what_would(lm):
    with pytest.raises(SettingError, match=r"17 tokens is more than the model's context of 16"):
        see_windows(lm, TEXT, context=17)
    with pytest.raises(RequestError, match=r"3 tokens, .* take 9: .* or a context of 2 or fewer"):
        see_windows(lm, "the")
    with pytest.raises(RequestError, match=r"1 tokens, .* give a longer text$"):
        see_windows(lm, "t")
    with pytest.raises(RequestError, match="0 tokens"):
        see_windows(lm, "")
    with pytest.raises(TokenizerError):
        see_windows(lm, "zebra and so on")


def test_a_bigram_finds_the_same_after_the_same_token(tmp_path):
    lm = random_lm(CharacterTokenizer(set("ab\n")), tmp_path, family="bigram")
    values = see_windows(lm, "ababababa", context=8).probabilities.values[0]
    np.testing.assert_allclose(values[::2], values[0], rtol=1e-6)


def test_broken_weights_are_shown_as_such(lm):
    view = see_windows(broken(lm), TEXT, context=4, count=2)
    assert all(piece is None for row in view.likeliest for piece in row)
    assert "NaN" in json.dumps(view.to_json(), allow_nan=False)
    assert "NaN" in printed(view)
    assert "p = NaN" in words_of(figure(view))


def test_the_terminal_has_a_line_for_each_lesson_and_each_window(lm):
    view = see_windows(lm, TEXT, context=15, count=2)
    found = printed(view)
    assert "t h e ␣ d o g ␣ s a t" in found
    assert "… " in found
    assert "0–15" in found
    nats = -np.log(view.probabilities.values[0]).mean()
    assert f"{nats:.2f}" in found
    assert "上下文" in printed(view, "zh")


def test_the_picture_is_a_triangle_and_the_windows_below_it(lm):
    view = see_windows(lm, TEXT, context=5, count=3, stride=4)
    drawn = figure(view, theme="dark")
    written = words_of(drawn)
    assert written.count("t") >= 5  # the first token stands in every context
    assert sum(text.startswith("p = ") for text in written) == 5
    assert "windows over the text: 3 of 7 that fit" in written
    axes = drawn.axes[0]
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    for patch in axes.patches:
        box = patch.get_bbox()
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height


def test_a_wide_window_is_drawn_in_part_and_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr("cloche.lens.figures.windows.LESSONS", 7)
    lm = random_lm(CharacterTokenizer(set(TEXT + "\n")), tmp_path, context=64)
    written = words_of(figure(see_windows(lm, TEXT * 4, context=40, count=1)))
    assert "the first window: its first 7 of 40 contexts" in written
    assert sum(text.startswith("p = ") for text in written) == 7
