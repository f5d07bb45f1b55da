"""The adapter's likelihoods and answers are those of the harness's own `hf` model."""

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

from cloche.errors import RequestError, TextError
from cloche.evaluation.harness_model import HarnessModel
from cloche.run import load

TEXT = "The cat sat on the mat. A dog ran over the hill, and the bird sang: 春眠不觉晓 Paris!\n"
SIDES = [("bpe", False), ("bpe", True), ("characters", False), ("words", False)]
PAIRS = [
    ("The cat sat on the", " mat"),
    ("The cat sat on the", " hill"),
    ("The cat sat on the ", "mat"),  # the space goes to the continuation
    ("The cat sat on the  ", "mat. A dog"),
    ("The cat sat on the\n", "dog ran"),
    ("", "The dog ran"),
    ("", " and the bird"),
    ("A 春眠", " 不觉晓"),
    ("<|endoftext|>The cat", " sat"),
    ("The cat<|endoftext|>", " sat <|endoftext|>"),
    ("The zebra", " sat over the zebra"),  # unknown to characters and to words
    (TEXT * 9, " Paris"),  # longer than the context
    (TEXT, " the" * 10),
]


def requests(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=given, idx=number)
        for number, given in enumerate(arguments)
    ]


@pytest.fixture(params=SIDES, ids=["bpe", "begins with bos", "characters", "words"])
def sides(request, folder_of):
    """Our adapter and the harness's own model, of the same exported folder."""
    kind, begins = request.param
    folder = folder_of(kind, begins_with_bos=begins)
    arguments = {"pretrained": str(folder), "dtype": "float32", "device": "cpu", "batch_size": 3}
    theirs: Any = get_model("hf").create_from_arg_obj(arguments)
    return HarnessModel(load(folder, device="cpu"), rows=4), theirs


def test_likelihoods_are_those_of_the_harness(sides):
    ours, theirs = (side.loglikelihood(requests("loglikelihood", PAIRS)) for side in sides)
    assert [total for total, _ in ours] == pytest.approx([t for t, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_what_greedy_decoding_writes_is_known_as_such(sides):
    ours, theirs = sides
    written = ours.generate_until(
        requests("generate_until", [("The cat sat", {"until": [], "max_gen_toks": 3})])
    )
    pair = [("The cat sat", written[0])]
    ((_, greedy),) = ours.loglikelihood(requests("loglikelihood", pair))
    assert greedy == theirs.loglikelihood(requests("loglikelihood", pair))[0][1]


def test_rolling_likelihoods_are_those_of_the_harness(sides):
    texts = [(TEXT,), (TEXT * 6,), ("The",), ("The zebra sat.",), ("",)]
    ours, theirs = (
        side.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) for side in sides
    )
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-4)


def test_answers_are_those_of_the_harness(sides):
    arguments = [
        (context, {"until": until, "max_gen_toks": most, **more})
        for context in ("The cat", "A dog ran over the", "The bird sang: ", TEXT * 7)
        for until, most, more in [
            (["\n"], 12, {}),
            (["t", "a d"], 12, {"do_sample": False}),
            ([], 20, {"temperature": 0.0}),
        ]
    ]
    ours, theirs = sides
    theirs.batch_size_per_gpu = 1  # it pads, and a batch ends with its last answer
    found = ours.generate_until(requests("generate_until", arguments))
    # bytes that are no character are one replacement sign here, and several there
    expected = [
        text.split("\ufffd")[0]
        for text in theirs.generate_until(requests("generate_until", arguments))
    ]
    assert [text.split("\ufffd")[0] for text in found] == expected
    assert len(set(found)) > 3


@pytest.fixture
def model(lm):
    return HarnessModel(lm, rows=2)


def test_cut_and_unknown_requests_are_counted(model, folder_of):
    model.loglikelihood(requests("loglikelihood", PAIRS))
    assert (model.cut_requests, model.unknown_tokens) == (1, 0)
    model.generate_until(requests("generate_until", [(TEXT * 9, {"max_gen_toks": 4})]))
    assert model.cut_requests == 2
    letters = HarnessModel(load(folder_of("characters"), device="cpu"), rows=2)
    letters.loglikelihood(requests("loglikelihood", [("The z", "ebra Q z")]))
    assert letters.unknown_tokens == 2


def test_a_continuation_without_a_token_of_its_own_is_refused(model):
    with pytest.raises(TextError, match="how likely '' is after 'The cat'"):
        model.loglikelihood(requests("loglikelihood", [("The cat", "")]))
    with pytest.raises(TextError, match="makes no token"):
        model.loglikelihood(requests("loglikelihood", [("", "")]))


def test_a_continuation_longer_than_the_context_is_refused(model):
    with pytest.raises(RequestError, match="the model reads 48"):
        model.loglikelihood(requests("loglikelihood", [("The", " the cat" * 40)]))


def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused(model):
    with pytest.raises(RequestError, match=r"asks for 256 tokens.*max_gen_toks"):
        model.generate_until(requests("generate_until", [("The", {"until": ["\n"]})]))


def test_an_option_of_writing_that_is_unknown_is_refused_with_those_that_are(model):
    options = {"max_gen_toks": 4, "magic": 1, "num_beams": 1, "top_k": 0}
    with pytest.raises(RequestError, match=r"have magic, which.*top_p"):
        model.generate_until(requests("generate_until", [("The", options)]))


def test_answers_drawn_by_chance_come_again_and_repeats_differ(model):
    options = {"max_gen_toks": 16, "do_sample": True, "temperature": 1.0}
    asked = requests("generate_until", [("The cat", options)] * 3)
    first = model.generate_until(asked)
    assert first == model.generate_until(asked)
    assert len(set(first)) == 3
