"""Constrained answers parse and validate, whatever the model would rather write."""

import json
import re

import jsonschema
import pytest
import torch

from cloche.errors import RequestError
from cloche.generation.constraints import ConstrainedText, ConstraintCompiler
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.generation.rules import require_tokenizer
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenizer import END_OF_TEXT
from cloche.text.words import WordTokenizer

END = 256
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 3},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def compiler(tokenizer):
    return ConstraintCompiler(tokenizer)


def answers(model, tokenizer, constraint, **asked):
    engine = Engine(model, tokenizer, context=16, rows=4)
    settings = {"max_tokens": 120, "n": 4, "seed": 3, "temperature": 1.0} | asked
    request = GenerationRequest(tuple(b"I"), constraint=constraint, **settings)
    return engine.generate([request])[0]


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_answers_of_a_random_model_are_json_of_the_schema(model, tokenizer, compiler, temperature):
    constraint = compiler.json_schema(PERSON)
    for answer in answers(model, tokenizer, constraint, temperature=temperature):
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.text), PERSON)


def test_a_greedy_answer_is_json_too(model, tokenizer, compiler):
    constraint = compiler.json_schema(json.dumps(PERSON))
    (answer,) = answers(model, tokenizer, constraint, temperature=0.0, n=1)
    jsonschema.validate(json.loads(answer.text), PERSON)


@pytest.mark.parametrize(
    "pattern", [r"(yes|no)!", r"[0-9]{4}-[0-9]{2}", "春眠|秋月", r"[a-z]+ [^a-z]{2}"]
)
def test_answers_match_the_whole_expression(model, tokenizer, compiler, pattern):
    for answer in answers(model, tokenizer, compiler.regex(pattern)):
        assert answer.finish_reason == "length" or re.fullmatch(pattern, answer.text)


def test_tokens_of_several_characters_follow_a_grammar_too():
    bpe = train_bpe(['{"name": "Bo", "age": 31} ' * 9], vocab_size=290, rule="gpt-2")
    text = ConstrainedText(ConstraintCompiler(bpe).json_schema(PERSON), stop_ids=[])
    for token_id in bpe.encode('{"name": "Bo", "age": 31, "tags": []}'):
        assert text.apply(torch.zeros(bpe.vocab_size))[token_id] == 0
        text.accept(token_id)
    assert text.complete


def test_the_end_is_let_through_exactly_where_the_grammar_may_end(compiler):
    text = ConstrainedText(compiler.regex("ab|abab+"), stop_ids=[END])
    ends = []
    for byte in b"abab":
        ends.append(bool(text.apply(torch.zeros(257))[END].isfinite()))
        text.accept(byte)
    assert ends == [False, False, True, False]
    assert text.apply(torch.zeros(257)).isfinite().nonzero().flatten().tolist() == [ord("b"), END]
    assert not text.complete


def test_an_answer_ends_with_the_grammar_and_needs_no_end_token(model, tokenizer, compiler):
    (answer,) = answers(model, tokenizer, compiler.regex("ok"), n=1, stop_ids=())
    assert (answer.text, answer.finish_reason, len(answer.token_ids)) == ("ok", "stop", 2)


def test_a_token_that_ends_answers_is_none_of_the_grammar(compiler):
    text = ConstrainedText(compiler.regex("[ab]c"), stop_ids=[ord("a")])
    assert text.apply(torch.zeros(257)).isfinite().nonzero().flatten().tolist() == [ord("b")]


def test_one_constraint_serves_many_answers_that_do_not_meet(compiler):
    constraint = compiler.regex("a[bc]")
    first, second = (ConstrainedText(constraint, stop_ids=[]) for _ in range(2))
    first.accept(ord("a"))
    assert second.apply(torch.zeros(257)).isfinite().nonzero().flatten().tolist() == [ord("a")]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"type": "strin"}', "Invalid type: strin"),
        ("{", "cannot be read as JSON: Expecting property name"),
        ("[1]", r"an object, true or false, got \[1\]"),
        ("false", "Unsatisfiable"),
        ('{"$ref": "#/nowhere"}', "/nowhere"),
        ('{"type": "string", "format": "poem"}', "Unknown format: poem"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "minimum"),
        ('{"x-guidance": {"lenient": true}, "not": {"type": "string"}}', "not"),
        ('{"type":"array","items":' * 5000 + "true" + "}" * 5000, "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_with_a_schema_is_named(compiler, schema, said):
    with pytest.raises(RequestError, match=said):
        compiler.json_schema(schema)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "unclosed group"),
        ("(?=x)y", "look-around"),
        (r"(a)\1", "backreferences"),
        ("", "nothing but an empty answer"),
        ("a{99999999999}", "decimal literal invalid"),
        ("a\ud800", "half a character at 2"),
    ],
)
def test_what_is_wrong_with_an_expression_is_named(compiler, pattern, said):
    with pytest.raises(RequestError, match=said) as caught:
        compiler.regex(pattern)
    assert len(str(caught.value)) < 1000


def test_a_vocabulary_that_cannot_write_the_grammar_is_refused():
    letters = ConstraintCompiler(CharacterTokenizer('abc":, '))
    with pytest.raises(RequestError, match="at the beginning: the vocabulary has no token"):
        letters.json_schema(PERSON)


def test_a_grammar_that_gets_stuck_is_an_error_of_its_answer_alone(model, tokenizer):
    known = CharacterTokenizer("ab")
    constraint = ConstraintCompiler(known).regex("abc|bac")
    text = ConstrainedText(constraint, stop_ids=[])
    text.accept(known.encode("a")[0])
    assert text.trouble == ""
    text.accept(known.encode("b")[0])
    assert "after 2 tokens: the vocabulary has no token for what must come" in text.trouble


def test_words_that_are_parted_by_spaces_are_refused():
    words = WordTokenizer(["yes", "no", "{", "}"], special=(END_OF_TEXT,))
    with pytest.raises(RequestError, match="sets spaces between them"):
        ConstraintCompiler(words)


def test_a_constraint_for_another_tokenizer_is_refused(compiler):
    request = GenerationRequest((1,), constraint=compiler.regex("a"))
    with pytest.raises(RequestError, match="made for another tokenizer"):
        require_tokenizer(request, CharacterTokenizer("ab"))
