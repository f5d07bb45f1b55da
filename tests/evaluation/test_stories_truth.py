"""Endings of stories, checked: writers that tell the truth, the wrong thing, or nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cloche.data.batches import TokensInMemory
from cloche.data.stories.corpus import story
from cloche.errors import DataError, TokenizerError
from cloche.evaluation import stories_truth
from cloche.evaluation.stories_truth import language_learned, measure_truth
from cloche.generation.engine import Completion
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer

COUNT = 12


def alphabet(language):
    told = [story(index, seed=0, language=language, part="held_out") for index in range(90)]
    return {c for each in told for c in each.text + each.continuation.wrong} | {"\n"}


@pytest.fixture(scope="module", params=["en", "zh"])
def language(request):
    return request.param


@pytest.fixture(scope="module")
def lm(language, tmp_path_factory) -> LM:
    """A table to which all characters are alike, with room for the stories."""
    tokenizer = CharacterTokenizer(alphabet(language))
    config = complete(
        ModelOptions(family="bigram"),
        vocab_size=tokenizer.vocab_size,
        layers=1,
        width=1,
        context=1400,
    )
    model = build_model(config)
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    return LM(model.eval(), tokenizer, config, tmp_path_factory.mktemp("lm"), bos=1)


def endings_of(kind, language):
    def write(lm, prompts, **_):
        told = [story(i, seed=0, language=language, part="held_out") for i in range(COUNT)]
        by_prompt = {
            (1, *lm.tokenizer.encode(each.continuation.prompt)): getattr(each.continuation, kind)
            for each in told
        }
        for prompt in prompts:
            text = by_prompt[prompt].rstrip(".。")
            yield Completion(text, (), "stop")

    return write


@pytest.mark.parametrize(("kind", "true"), [("right", 1.0), ("wrong", 0.0)])
def test_true_and_wrong_endings_are_told_apart(lm, language, kind, true, monkeypatch):
    monkeypatch.setattr(stories_truth, "continue_prompts", endings_of(kind, language))
    found = measure_truth(lm, language=language, count=COUNT, seed=0)
    assert found.stories == COUNT
    assert found.statements.value == 1.0
    assert found.true is not None
    assert found.true.value == true
    assert len(found.false_statements) == (0 if true else 3)
    for each in found.false_statements:
        assert each.said != each.truth


def test_a_model_that_knows_nothing_says_nothing_that_can_be_checked(lm, language):
    found = measure_truth(lm, language=language, count=4, seed=0)
    assert found.statements.value == 0.0
    assert found.true is None
    assert found.false_statements == ()


def test_the_ending_preferred_is_the_one_that_costs_less(lm, language):
    found = measure_truth(lm, language=language, count=COUNT, seed=0)
    told = [story(index, seed=0, language=language, part="held_out") for index in range(COUNT)]
    assert found.left_out == 0
    shorter = [len(each.continuation.right) < len(each.continuation.wrong) for each in told]
    assert found.prefers_truth.value == sum(shorter) / COUNT  # all characters cost the same


def test_a_short_context_takes_the_stories_that_fit(lm, language):
    told = [story(index, seed=0, language=language, part="held_out") for index in range(40)]
    lengths = sorted(len(each.continuation.prompt) for each in told)
    short = replace(lm, config=replace(lm.config, context=lengths[20]))
    found = measure_truth(short, language=language, count=2, seed=0)
    assert found.stories == 2
    assert found.left_out > 0


def test_stories_that_fit_nowhere_and_letters_unknown_are_errors(lm, language):
    small = replace(lm, config=replace(lm.config, context=60))
    with pytest.raises(DataError, match="no story fits into the model's context of 60 tokens"):
        measure_truth(small, language=language, count=4, seed=0)
    other = replace(lm, tokenizer=CharacterTokenizer("xyz"))
    with pytest.raises(TokenizerError, match="cannot write the stories"):
        measure_truth(other, language=language, count=4, seed=0)


def test_the_language_learned_is_known_by_the_first_story(lm, language):
    def tokens(text):
        ids = np.array(lm.tokenizer.encode(text))
        return TokensInMemory(ids, np.array([len(ids)]), separated=False)

    told = story(0, seed=3, language=language).text
    other = story(0, seed=0, language=language, part="held_out").text
    lm = replace(lm, tokenizer=CharacterTokenizer(alphabet(language) | set(told)))
    assert language_learned(lm, tokens(told), seed=3) == language
    assert language_learned(lm, tokens(told), seed=4) is None
    assert language_learned(lm, tokens(other), seed=3) is None
