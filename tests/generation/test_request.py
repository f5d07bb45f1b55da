"""Every setting of a request is checked, and all that is wrong is told at once."""

import math
from dataclasses import fields
from typing import Any

import pytest

from cloche.errors import RequestError
from cloche.generation.request import GenerationRequest
from cloche.generation.rules import require_tokenizer

NAN, INF = math.nan, math.inf


def checked(settings: dict[str, Any]) -> None:
    """What making a request checks; in tests, wrong types are else caught before."""
    request = object.__new__(GenerationRequest)
    for field in fields(GenerationRequest):
        object.__setattr__(request, field.name, settings.get(field.name, field.default))
    request.__post_init__()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("prompt", (), "the prompt holds no token"),
        ("prompt", (1, -2), "whole numbers from 0 on, got -2"),
        ("prompt", (1, 2.0), "got 2.0"),
        ("max_tokens", 0, "max_tokens must be at least 1, got 0"),
        ("max_tokens", 3.5, "max_tokens must be a whole number, 1 or more, got 3.5"),
        ("max_tokens", True, "got True"),
        ("temperature", NAN, "temperature must be 0 .greedy. or more, got nan"),
        ("temperature", INF, "got inf"),
        ("temperature", "hot", "got 'hot'"),
        ("top_k", 0, "top_k must be at least 1, got 0; leave it out to keep all"),
        ("top_p", 0, r"top_p must be in \(0, 1\], got 0"),
        ("top_p", NAN, "got nan"),
        ("min_p", -0.1, r"min_p must be in \[0, 1\], got -0.1"),
        ("typical_p", 0.0, r"typical_p must be in \(0, 1\], got 0.0"),
        ("typical_p", INF, "got inf"),
        ("repetition_penalty", 0.0, r"repetition_penalty must be in \[0.01, 100\], got 0.0"),
        ("repetition_penalty", NAN, "got nan"),
        ("presence_penalty", 2.5, r"presence_penalty must be in \[-2, 2\], got 2.5"),
        ("frequency_penalty", -INF, r"frequency_penalty must be in \[-2, 2\], got -inf"),
        ("no_repeat_ngram", 0, "no_repeat_ngram must be at least 1, got 0"),
        ("min_tokens", -1, "min_tokens must be at least 0, got -1"),
        ("seed", 1.5, "seed must be a whole number, got 1.5"),
        ("n", 0, "n must be at least 1, got 0"),
        ("logprobs", -1, "logprobs must be at least 0, got -1"),
        ("logit_bias", ((5, NAN),), r"logit_bias of 5 must be in \[-100, 100\], got nan"),
        ("logit_bias", ((5, 101),), "got 101"),
        ("logit_bias", ((-5, 1.0),), "logit_bias must hold token ids"),
        ("logit_bias", ((5, 1.0), (5, 2.0)), "names the id 5 twice"),
        ("logit_bias", {5: 1.0}, "logit_bias must be a tuple of pairs"),
        ("banned", ((),), "banned holds an empty sequence"),
        ("banned", (5,), "banned must be a tuple of token ids, got 5"),
        ("forced_words", ((1, "a"),), "forced_words must hold token ids"),
        ("stop", ("",), "a stop text is empty"),
        ("stop", "END", "stop must be a tuple of texts, got 'END'"),
        ("stop_ids", (-1,), "stop_ids must hold token ids"),
        ("overflow", "wrap", "overflow must be slide or stop, got 'wrap'"),
        ("constraint", "json", "constraint must come of a ConstraintCompiler, got 'json'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_range(name, value, said):
    with pytest.raises(RequestError, match=said):
        checked({"prompt": (1,)} | {name: value})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens is 9, but max_tokens allows 8"),
        (
            {"forced_words": ((1, 2), (3,)), "max_tokens": 2},
            "the forced words take 3 tokens, but max_tokens allows 2",
        ),
        (
            {"forced_words": ((1, 2, 3),), "banned": ((2, 3),)},
            r"the forced word \(1, 2, 3\) holds the banned sequence \(2, 3\)",
        ),
        ({"typical_p": 0.5, "temperature": 0.0}, "at temperature 0 nothing is drawn"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(RequestError, match=said):
        GenerationRequest((1,), **settings)


def test_all_problems_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        GenerationRequest((), top_p=2.0, temperature=-1.0, presence_penalty=3.0)
    told = str(caught.value)
    assert "4 settings cannot be used" in told
    assert all(name in told for name in ("prompt", "top_p", "temperature", "presence_penalty"))


def test_every_end_of_a_range_is_allowed():
    GenerationRequest(
        (0,),
        temperature=0,
        top_p=1,
        min_p=1,
        typical_p=1,
        presence_penalty=-2,
        frequency_penalty=2,
        repetition_penalty=0.01,
        logit_bias=((0, -100), (1, 100)),
        min_tokens=5,
        max_tokens=5,
        forced_words=((1, 2, 3, 4, 5),),
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"logit_bias": ((257, 1.0),)}, "logit_bias holds the id 257, .* knows 0 to 256"),
        ({"banned": ((1, 300),)}, "banned holds the id 300"),
        ({"forced_words": ((999,),)}, "forced_words holds the id 999"),
    ],
)
def test_ids_that_the_tokenizer_has_not_are_refused(tokenizer, settings, said):
    with pytest.raises(RequestError, match=said):
        require_tokenizer(GenerationRequest((1,), **settings), tokenizer)
