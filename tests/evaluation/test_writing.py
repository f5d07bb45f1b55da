"""Writing judged: a model that is a lookup of its text, one that knows nothing, one that loops."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cloche
from cloche.data.joined import JoinedShards
from cloche.errors import DataError, SettingError
from cloche.evaluation import writing
from cloche.evaluation.excerpts import choose_excerpts
from cloche.evaluation.free_writing import measure_free_writing, write_freely
from cloche.evaluation.writing import WritingSettings, judge_writing, open_own_text
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete

FEW = WritingSettings(prompts=12, samples=6, sample_tokens=40)


def random_text(characters: int, seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice("abcdefghijklmnop \n春眠不觉晓") for _ in range(characters))


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A run whose model knows what followed every six characters of its text."""
    folder = tmp_path_factory.mktemp("writing")
    book = folder / "book.txt"
    book.write_text(random_text(5000, seed=1), encoding="utf-8")
    options = {
        "model.family": "ngram",
        "model.order": 7,
        "text.tokenizer": "characters",
        "train.sample_tokens": 4,
    }
    return cloche.train(book, out=folder / "run", options=options).folder


def with_table(lm: cloche.LM, followers: dict[str, str]) -> cloche.LM:
    """The same tokenizer with a table of what follows which character; all alike for the others."""
    size = lm.tokenizer.vocab_size
    config = complete(
        ModelOptions(family="bigram"), vocab_size=size, layers=1, width=1, context=128
    )
    model = build_model(config)
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
        for now, following in followers.items():
            (row,), (column,) = lm.tokenizer.encode(now), lm.tokenizer.encode(following)
            model.embed_tokens.weight[row, column] = 50.0
    return replace(lm, model=model.eval(), config=config, forwards=None)


def test_a_lookup_of_its_text_recites_all_of_it_and_nothing_else(learned):
    lm = cloche.load(learned)
    report = judge_writing(lm, learned, replace(FEW, temperature=0.0))
    assert report.training_recitation.exact.value == 1.0
    assert report.training_recitation.matching_tokens.value == report.sizes.continuation
    assert report.held_out_recitation.exact.value == 0.0
    assert report.held_out_recitation.shares_by_length[1] < 0.5
    membership = report.membership
    assert membership.separation.value == 1.0
    assert membership.training_nats_per_token.value < membership.held_out_nats_per_token.value / 3
    assert membership.exposure_bits.value > 2 * membership.exposure_by_chance
    assert report.free is not None
    assert report.free.model_copies.tokens.longest > 20
    assert report.free.held_out_copies.tokens.longest < 7
    longest = report.free.model_copies.characters.longest_text
    assert longest in random_text(5000, seed=1)
    assert report.stories is None


def test_a_model_that_knows_nothing_recites_nothing_and_is_told_nothing(learned):
    lm = with_table(cloche.load(learned), {})
    report = judge_writing(lm, learned, FEW)
    for recitation in (report.training_recitation, report.held_out_recitation):
        assert recitation.exact.value == 0.0
        assert recitation.matching_tokens.value < 1
    assert report.membership.separation.value == pytest.approx(0.5, abs=0.01)  # rounding alone
    assert report.free is not None
    assert report.free.model_copies.tokens.longest < 7
    assert report.free.tokens["loops"].model.value == 0.0


def test_a_model_that_turns_in_circles_is_seen_to(learned):
    circle = dict(zip("abcdefghijklmnop \n春眠不觉晓", "bca" * 8, strict=False))
    lm = with_table(cloche.load(learned), circle)
    report = judge_writing(lm, learned, FEW)
    assert report.free is not None
    loops = report.free.tokens["loops"]
    assert (loops.model.value, loops.held_out.value, loops.difference.value) == (1.0, 0.0, 1.0)
    assert report.free.tokens["distinct_3"].difference.value < -0.8
    assert report.free.characters["compression_ratio"].difference.value > 1


def test_the_same_seed_gives_the_same_report_and_another_one_another(learned):
    lm = cloche.load(learned)
    told: list[str] = []
    one, same = (judge_writing(lm, learned, FEW, tell=told.append) for _ in range(2))
    assert one == same
    assert "Looking for them in 4,500 tokens" in " ".join(told)
    other = judge_writing(lm, learned, replace(FEW, seed=7))
    assert other.free is not None
    assert one.free is not None
    assert other.free.example != one.free.example


def test_answers_and_documents_that_end_too_soon_are_left_out(learned):
    lm = cloche.load(learned)
    ends = lm.tokenizer.encode("abcdefghijklmnop \n春眠不觉晓")
    prepared = open_own_text(lm, learned)
    excerpts = choose_excerpts(
        prepared.validation, prefix=8, continuation=8, count=6, seed=0, part="validation"
    )
    at_once = replace(lm, stop_ids=tuple(ends))
    pairs = write_freely(at_once, excerpts, tokens=40, temperature=1.0, seed=0)
    assert [pair.model for pair in pairs] == [()] * 6
    found = measure_free_writing(pairs, prepared.train, tokenizer=lm.tokenizer, least=8)
    assert found is None


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({}, (16, 16, 40)),
        ({"prefix": 10}, (10, 16, 40)),
        ({"continuation": 120}, (8, 120, 120)),
        ({"prefix": 6, "continuation": 5, "sample_tokens": 90}, (6, 5, 90)),
    ],
)
def test_sizes_not_given_are_chosen_by_the_text_and_the_context(learned, sizes, chosen):
    lm = cloche.load(learned)
    settings = replace(FEW, sample_tokens=None if "continuation" in sizes else 40)
    settings = replace(settings, **sizes)
    found = writing.choose_sizes(open_own_text(lm, learned), settings, context=128)
    assert (found.prefix, found.continuation, found.sample) == chosen


def test_sizes_beyond_the_context_are_refused_together(learned):
    lm = cloche.load(learned)
    settings = WritingSettings(prefix=100, continuation=60, sample_tokens=70)
    with pytest.raises(SettingError, match=r"160, but the model's context(?s:.*)170, but"):
        judge_writing(lm, learned, settings)


def test_stories_that_do_not_fit_are_left_out_aloud_unless_asked_for(learned, monkeypatch):
    def fits_none(*_, **__):
        raise DataError("no story fits")

    lm = cloche.load(learned)
    told: list[str] = []
    monkeypatch.setattr(writing, "measure_truth", fits_none)
    monkeypatch.setattr(writing, "language_learned", lambda *_, **__: "en")
    assert judge_writing(lm, learned, FEW, tell=told.append).stories is None
    assert "The stories are left out: no story fits" in told
    with pytest.raises(DataError, match="no story fits"):
        judge_writing(lm, learned, replace(FEW, stories="zh"))


def test_settings_out_of_range_are_told_all_at_once():
    with pytest.raises(SettingError) as caught:
        WritingSettings(
            prompts=1, prefix=0, samples=0, sample_tokens=3, temperature=float("nan"), story_count=0
        )
    assert str(caught.value).startswith("6 settings")


def test_a_run_without_its_text_is_refused(learned, tmp_path):
    lm = cloche.load(learned)
    with pytest.raises(DataError, match="no text of its own"):
        judge_writing(lm, tmp_path, FEW)


def test_an_empty_part_and_another_tokenizer_are_refused(learned, monkeypatch):
    lm = cloche.load(learned)
    prepared = open_own_text(lm, learned)
    nothing = JoinedShards([], metadata=replace(prepared.validation.metadata, count=0))
    monkeypatch.setattr(writing, "open_prepared", lambda _: replace(prepared, validation=nothing))
    with pytest.raises(DataError, match=r"validation part of .* is empty"):
        judge_writing(lm, learned, FEW)
    monkeypatch.undo()
    other = type(lm.tokenizer)("xyz")  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match="made with tokenizer"):
        judge_writing(replace(lm, tokenizer=other), learned, FEW)
