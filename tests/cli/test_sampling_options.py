"""The options of sampling become a request; what they say in texts waits for the tokenizer."""

import json

import pytest

from cloche.cli.main import main
from cloche.cli.sampling import SamplingOptions
from cloche.errors import RequestError, SettingError, TokenizerError
from cloche.generation.request import GenerationRequest
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer

LETTERS = CharacterTokenizer('abc .{}":0123456789')


def completed(tokenizer, **options) -> GenerationRequest:
    chosen = SamplingOptions(**options)
    return chosen.with_tokenizer(chosen.request(), tokenizer)


def test_every_number_reaches_the_request():
    request = SamplingOptions(
        max_new_tokens=30,
        typical_p=0.9,
        repetition_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        no_repeat_ngram=3,
        logit_bias=("4=-2.5", "7=1"),
        min_new_tokens=5,
        logprobs=2,
    ).request()
    assert request == GenerationRequest(
        request.prompt,
        max_tokens=30,
        temperature=0.8,
        typical_p=0.9,
        repetition_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        no_repeat_ngram=3,
        logit_bias=((4, -2.5), (7, 1.0)),
        min_tokens=5,
        logprobs=2,
    )


def test_a_banned_text_is_banned_alone_and_behind_a_space():
    bpe = train_bpe(["the cat the cat"] * 9, vocab_size=270, rule="gpt-2")
    banned = completed(bpe, ban=("cat",)).banned
    assert banned == (tuple(bpe.encode("cat")), tuple(bpe.encode(" cat")))
    assert banned[0] != banned[1]


def test_a_vocabulary_without_a_space_bans_the_text_alone():
    assert completed(CharacterTokenizer("ab"), ban=("ab",)).banned == ((0, 1),)


def test_a_forced_text_is_forced_as_it_stands():
    request = completed(LETTERS, force=(" ab", "c", "c"))
    assert request.forced_words == (tuple(LETTERS.encode(" ab")), tuple(LETTERS.encode("c")))


@pytest.mark.parametrize("option", ["ban", "force"])
def test_a_text_that_the_model_cannot_write_is_refused(option):
    with pytest.raises(TokenizerError, match="'z'"):
        completed(LETTERS, **{option: ("az",)})
    with_unknown = CharacterTokenizer("ab", with_unknown=True)
    with pytest.raises((RequestError, TokenizerError), match="z"):
        completed(with_unknown, **{option: ("az",)})


def test_a_schema_and_an_expression_become_constraints(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_bytes(b"\xef\xbb\xbf" + json.dumps({"type": "integer"}).encode())
    assert completed(LETTERS, json_schema=str(schema)).constraint is not None
    assert completed(LETTERS, regex="[abc]+").constraint is not None
    assert completed(LETTERS).constraint is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"greedy": True, "temperature": 0.5}, "--greedy takes no chances"),
        ({"greedy": True, "typical_p": 0.5}, "typical_p"),
        ({"logit_bias": ("5",)}, "--logit-bias needs ID=VALUE such as 50=-3.5, got '5'"),
        ({"logit_bias": ("a=1",)}, "got 'a=1'"),
        ({"logit_bias": ("5=nan",)}, "got nan"),
        ({"ban": ("",)}, "--ban was given an empty text"),
        ({"force": ("a", "")}, "--force was given an empty text"),
        ({"json_schema": "a.json", "regex": "a"}, "give one of them"),
        ({"regex": "a", "force": ("a",)}, "--regex says .* leave out --force"),
        ({"json_schema": "a.json", "min_new_tokens": 3}, "leave out --min-new-tokens"),
        ({"json_schema": "/nowhere/a.json"}, "/nowhere/a.json cannot be read: No such file"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be in"),
        ({"no_repeat_ngram": 0}, "no_repeat_ngram must be at least 1"),
        ({"min_new_tokens": 300}, "min_tokens is 300, but max_tokens allows 200"),
        ({"logprobs": -1}, "logprobs must be at least 0"),
    ],
)
def test_what_cannot_be_is_told_before_a_model_is_opened(options, said):
    with pytest.raises((SettingError, RequestError), match=said):
        SamplingOptions(**options).request()


def test_all_contradictions_are_told_at_once():
    with pytest.raises(SettingError, match="3 settings") as caught:
        SamplingOptions(greedy=True, temperature=1.0, ban=("",), logit_bias=("x",)).request()
    assert all(option in str(caught.value) for option in ("--greedy", "--ban", "--logit-bias"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"logit_bias": ("99=1",)}, "logit_bias holds the id 99, but the tokenizer knows 0 to"),
        ({"regex": "("}, "unclosed group"),
        ({"regex": "z+"}, "the vocabulary has no token"),
        ({"force": ("abc" * 70,)}, "the forced words take 210 tokens, but max_tokens allows 200"),
        ({"force": ("abc",), "ban": ("bc",)}, "holds the banned sequence"),
    ],
)
def test_what_the_tokenizer_shows_to_be_impossible_is_told(options, said):
    with pytest.raises(RequestError, match=said):
        completed(LETTERS, **options)


def test_a_schema_that_is_no_utf8_is_told(tmp_path):
    (tmp_path / "schema.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(SettingError, match="is not UTF-8, as JSON is"):
        SamplingOptions(json_schema=str(tmp_path / "schema.json")).request()


def text_of(capsys, run, *arguments: str) -> str:
    status = main(["generate", str(run), "on", "--seed", "1", "--json", *arguments])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    return json.loads(shown.out)["answers"][0]["text"]


def test_the_command_bans_and_forces_and_constrains(writing_run, capsys):
    assert text_of(capsys, writing_run, "--greedy") == "ce up."
    assert "u" not in text_of(capsys, writing_run, "--ban", "u", "--max-new-tokens", "12")
    forced = text_of(capsys, writing_run, "--force", "cue", "--max-new-tokens", "12")
    assert "cue" in forced
    assert text_of(capsys, writing_run, "--greedy", "--regex", "(pen|pun)+n") in ("penn", "punn")
    assert len(text_of(capsys, writing_run, "--min-new-tokens", "9", "--max-new-tokens", "9")) == 9


def test_a_chat_refuses_log_probabilities(writing_run, capsys):
    assert main(["chat", str(writing_run), "--logprobs", "2"]) == 2
    assert "a chat shows no log probabilities" in capsys.readouterr().err
