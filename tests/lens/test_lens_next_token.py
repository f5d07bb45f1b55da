"""The view of the next token: each step of sampling, and the pick of the engine."""

import io
import json
import math

import pytest
import torch
from rich.console import Console
from text_models import broken, printed, random_lm, words_of

from cloche.errors import RequestError, SettingError
from cloche.generation.sampling import filter_logits
from cloche.lens.drawing import figure
from cloche.lens.next_token import see_next_token
from cloche.lens.rendering import render
from cloche.text.characters import CharacterTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz ,.\n"
PROMPT = "the dog sat"


@pytest.fixture
def lm(tmp_path):
    return random_lm(CharacterTokenizer(set(LETTERS)), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 3.0},
        {"temperature": 0.7, "top_k": 5},
        {"top_p": 0.6, "min_p": 0.02},
        {"temperature": 2.0, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
    ],
)
def test_the_pick_is_what_the_engine_writes_with_the_seed(lm, settings):
    picks = set()
    for seed in range(6):
        view = see_next_token(lm, PROMPT, seed=seed, top=3, **settings)
        asked = {"temperature": 1.0} | settings
        written = lm.generate(PROMPT, max_new_tokens=1, seed=seed, **asked)
        assert view.pick is not None
        assert lm.tokenizer.decode([view.pick.token.id]) == written
        assert view.pick.token in view.tokens
        picks.add(written)
    assert len(picks) > 1


def test_the_number_of_the_seed_falls_into_the_share_of_the_pick(lm):
    for seed in range(6):
        view = see_next_token(lm, PROMPT, temperature=2.0, top_k=9, seed=seed, top=99)
        row = view.probabilities.values[-1]
        shares = sorted(
            (piece.id, float(share)) for piece, share in zip(view.tokens, row, strict=True)
        )
        pick = view.pick
        assert pick is not None
        assert pick.number is not None
        below = math.fsum(share for token_id, share in shares if token_id < pick.token.id)
        assert below <= pick.number + 1e-6
        assert pick.number <= below + pick.probability + 1e-6


def test_the_steps_are_the_engines_in_its_order(lm):
    settings = {"temperature": 2.0, "top_k": 12, "top_p": 0.9, "min_p": 0.05}
    view = see_next_token(lm, PROMPT, top=99, **settings)
    logits = lm.logits(lm.prompt_ids(PROMPT))[-1:]
    assert [stage.name for stage in view.stages] == ["model", *settings]
    assert [stage.setting for stage in view.stages] == [None, *settings.values()]
    ids = [piece.id for piece in view.tokens]
    first = logits.softmax(dim=-1)[0, ids]
    torch.testing.assert_close(torch.from_numpy(view.probabilities.values[0]), first)
    last = filter_logits(logits, **settings).softmax(dim=-1)[0, ids]
    torch.testing.assert_close(torch.from_numpy(view.probabilities.values[-1]), last)
    assert view.stages[-1].kept == int((last > 0).sum())
    assert view.pick is None


def test_each_step_tells_what_it_removed(lm):
    view = see_next_token(lm, PROMPT, temperature=2.0, top_k=6, top_p=0.8, top=4)
    values = view.probabilities.values
    for row, stage in enumerate(view.stages):
        assert values[row].sum() + stage.rest == pytest.approx(1.0, abs=1e-5)
    model, heated, few, nucleus = view.stages
    assert (model.kept, model.removed, heated.removed_mass) == (view.vocab_size, 0, 0.0)
    assert (few.kept, few.removed) == (6, view.vocab_size - 6)
    all_shown = see_next_token(lm, PROMPT, temperature=2.0, top_k=6, top_p=0.8, top=99)
    assert few.removed_mass == pytest.approx(all_shown.probabilities.values[1, 6:].sum(), abs=1e-6)
    assert few.removed == sum(all_shown.probabilities.values[2] == 0)
    assert nucleus.removed == few.kept - nucleus.kept
    assert model.entropy < heated.entropy > few.entropy >= nucleus.entropy


def test_only_what_is_asked_for_is_a_step(lm):
    names = [stage.name for stage in see_next_token(lm, PROMPT, min_p=0.1).stages]
    assert names == ["model", "min_p"]
    whole = see_next_token(lm, PROMPT, top_p=1.0).stages[-1]
    assert (whole.name, whole.removed, whole.removed_mass) == ("top_p", 0, 0.0)


def test_temperature_zero_takes_the_likeliest_without_a_seed(lm):
    view = see_next_token(lm, PROMPT, temperature=0)
    assert [stage.name for stage in view.stages] == ["model", "greedy"]
    assert view.pick is not None
    assert (view.pick.token, view.pick.rank) == (view.tokens[0], 1)
    assert (view.pick.number, view.pick.probability) == (None, 1.0)
    written = lm.generate(PROMPT, max_new_tokens=1, greedy=True)
    assert lm.tokenizer.decode([view.pick.token.id]) == written
    assert view.stages[1].removed_mass == pytest.approx(1 - view.pick.model_probability, abs=1e-5)
    with pytest.raises(RequestError, match=r"at temperature 0 .* top_k has nothing to choose"):
        see_next_token(lm, PROMPT, temperature=0, top_k=3)


def first_rare(lm, *, rank: int, top: int):
    """A view whose pick is beyond that rank."""
    for seed in range(40):
        view = see_next_token(lm, PROMPT, temperature=9.0, seed=seed, top=top)
        if view.pick is not None and view.pick.rank > rank:
            return view, view.pick
    raise AssertionError("every pick was likely")


def test_a_pick_beyond_the_likeliest_is_told_too(lm):
    view, pick = first_rare(lm, rank=4, top=1)
    likeliest = see_next_token(lm, PROMPT, top=1).tokens[0]
    assert view.tokens == (likeliest, pick.token)
    found = view.probabilities.values[-1].sum() + view.stages[-1].rest
    assert found == pytest.approx(1.0, abs=1e-5)


def test_bad_settings_are_told(lm):
    with pytest.raises(SettingError, match="top must be at least 1, got 0"):
        see_next_token(lm, PROMPT, top=0)
    with pytest.raises(RequestError, match=r"temperature must be 0 .*\n.*top_k must be at least 1"):
        see_next_token(lm, PROMPT, temperature=-1.0, top_k=0)
    with pytest.raises(RequestError, match="17 tokens, and the model reads 16"):
        see_next_token(lm, "a" * 17)
    full = see_next_token(lm, "a" * 16, seed=1)
    assert full.pick is not None


def test_an_empty_text_is_the_beginning_of_one(lm):
    view = see_next_token(lm, "")
    assert [piece.text for piece in view.prompt] == ["⏎"]


def test_a_bigram_has_this_view(tmp_path):
    lm = random_lm(CharacterTokenizer(set(LETTERS)), tmp_path, family="bigram")
    one, other = (see_next_token(lm, text, seed=3) for text in ("a dog", "fog"))
    assert one.pick == other.pick
    assert one.to_json()["probabilities"] == other.to_json()["probabilities"]


def test_broken_weights_are_shown_as_such(lm):
    view = see_next_token(broken(lm), PROMPT, temperature=0.5, top_p=0.5, seed=1)
    assert view.pick is None
    assert math.isnan(view.stages[-1].removed_mass)
    assert "NaN" in json.dumps(view.to_json(), allow_nan=False)
    assert "the model gives no usable numbers" in printed(view)
    assert "NaN" in words_of(figure(view))


def test_the_terminal_shows_bars_by_step_and_the_pick(lm):
    view = see_next_token(lm, PROMPT, temperature=1.5, top_k=4, seed=2)
    found = printed(view)
    assert view.pick is not None
    assert "temperature 1.5" in found
    assert "top-k 4" in found
    assert f"{view.pick.number:.6f}" in found
    assert "█" in found
    assert "给出种子" in printed(see_next_token(lm, PROMPT), "zh")


def test_the_picture_has_a_panel_for_each_step_and_marks_the_pick(lm):
    view = see_next_token(lm, PROMPT, temperature=1.5, top_k=4, seed=2, top=6)
    drawn = figure(view)
    assert len(drawn.axes) == 3
    assert sum("◀ pick" in text for text in words_of(drawn)) == 3
    assert words_of(drawn).count("removed") == len(view.tokens) - 4
    assert "4 kept" in drawn.axes[2].get_title()
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert names == [*(piece.text for piece in view.tokens), "all others"]


def test_a_great_many_tokens_are_drawn_as_the_rest_but_for_the_pick(lm, monkeypatch):
    monkeypatch.setattr("cloche.lens.figures.next_token.BARS", 5)
    view, pick = first_rare(lm, rank=10, top=30)
    drawn = figure(view)
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert len(names) == 6
    assert names[4] == pick.token.text
    shown = sum(patch.get_width() for patch in drawn.axes[0].patches)
    assert shown == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("columns", "bars"), [(140, True), (80, False)])
def test_a_narrow_terminal_loses_bars_and_no_token(lm, columns, bars):
    view = see_next_token(lm, PROMPT, temperature=0.8, top_k=3, top_p=0.9, min_p=0.01, seed=1)
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(render(view))
    shown = console.export_text()
    assert all(word in shown for word in ("token", "tokens kept", "entropy (nats)"))
    assert all(f" {piece.text}" in shown for piece in view.tokens)
    assert ("█" in shown) == bars
    assert "…" not in shown.replace("… ", "")
