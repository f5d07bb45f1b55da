"""What Python callers may ask becomes the request that says the same."""

import re

import pytest
import torch

from cloche.errors import RequestError
from cloche.generation.asking import Asked, make_request
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer


def test_every_name_reaches_the_request(tokenizer):
    request = make_request(
        (1,),
        Asked(
            max_new_tokens=9,
            temperature=0.5,
            top_k=3,
            top_p=0.5,
            min_p=0.1,
            typical_p=0.7,
            seed=4,
            stop=["x", "y"],
            repetition_penalty=1.5,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            no_repeat_ngram=2,
            logit_bias={7: 1.5},
            ban=["ab"],
            force=["cd"],
            min_new_tokens=2,
        ),
        tokenizer=tokenizer,
    )
    assert (request.max_tokens, request.temperature, request.top_k) == (9, 0.5, 3)
    assert (request.top_p, request.min_p, request.typical_p) == (0.5, 0.1, 0.7)
    assert (request.seed, request.stop) == (4, ("x", "y"))
    penalties = (request.repetition_penalty, request.presence_penalty, request.frequency_penalty)
    assert penalties == (1.5, 0.5, -0.5)
    assert (request.no_repeat_ngram, request.min_tokens) == (2, 2)
    assert request.logit_bias == ((7, 1.5),)
    assert request.banned == (tuple(b"ab"), tuple(b" ab"))
    assert request.forced_words == (tuple(b"cd"),)


def test_what_is_not_said_is_as_usual(tokenizer):
    request = make_request((1,), {}, tokenizer=tokenizer)
    assert (request.max_tokens, request.temperature, request.stop) == (200, 0.8, ())
    assert make_request((1,), {"greedy": True, "stop": "x"}, tokenizer=tokenizer).temperature == 0.0


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (
            {"temprature": 1.0},
            TypeError,
            "'temprature' is nothing that can be asked; there are: max",
        ),
        ({"greedy": True, "temperature": 0.5}, RequestError, "leave one out"),
        ({"ban": "word"}, RequestError, r"ban takes a list of texts.*ban=\['word'\]"),
        ({"regex": "a", "json_schema": {}}, RequestError, "give one of them"),
        ({"top_p": float("nan")}, RequestError, "top_p"),
        ({"max_new_tokens": 0}, RequestError, "max_tokens"),
    ],
)
def test_what_cannot_be_asked_is_named(tokenizer, asked, error, said):
    with pytest.raises(error, match=said):
        make_request((1,), asked, tokenizer=tokenizer)


@pytest.fixture
def characters_lm(tmp_path) -> LM:
    """A model of random weights that writes the letters a to d, spaces and line ends."""
    tokenizer = CharacterTokenizer(set("abcd \n"))
    options = ModelOptions(heads=2)
    torch.manual_seed(0)
    size = tokenizer.vocab_size
    model = build_model(complete(options, vocab_size=size, layers=1, width=32, context=64))
    return LM(model.eval(), tokenizer, model.config, tmp_path)


def test_a_model_obeys_what_is_asked(characters_lm):
    lm = characters_lm
    assert re.fullmatch("[ab]{3}", lm.generate("abc", regex="[ab]{3}", seed=1))
    assert "ba" in lm.generate("abc", max_new_tokens=8, force=["ba"], seed=1)
    assert "a" not in lm.generate("b", max_new_tokens=30, ban=["a"], seed=1)
    texts = {"".join(lm.stream("ab", seed=3, max_new_tokens=9)) for _ in range(2)}
    assert texts == {lm.generate("ab", seed=3, max_new_tokens=9)}
