import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.text.characters import CharacterTokenizer
from cloche.text.choice import (
    TextStatistics,
    TokenizerChoice,
    choose_tokenizer,
    make_tokenizer,
    read_statistics,
    spread_sample,
)
from cloche.text.options import TextOptions
from cloche.text.words import WordTokenizer

LATIN = frozenset("abcdefghijklmnopqrstuvwxyz \n")


def statistics(
    characters: int, *, alphabet: frozenset[str] = LATIN, cjk_share: float = 0.0
) -> TextStatistics:
    return TextStatistics(characters, characters, alphabet, cjk_share)


def choose(train: TextStatistics, validation: TextStatistics | None = None, **options):
    return choose_tokenizer(
        TextOptions(**options),
        train=lambda: train,
        validation=lambda: validation or statistics(1),
    )


def unread() -> TextStatistics:
    raise AssertionError("this part need not be read")


@given(pieces=st.lists(st.text(), max_size=4))
@settings(max_examples=25, deadline=None)
def test_statistics_count_what_there_is(pieces):
    text = "".join(pieces)
    found = read_statistics(iter(pieces))
    assert found.characters == len(text)
    assert found.alphabet == set(text)
    assert found.utf8_bytes == len(text.encode("utf-8", "surrogatepass"))


def test_chinese_japanese_and_korean_letters_count_as_such():
    assert read_statistics(["中文ab"]).cjk_share == 0.5
    assert read_statistics(["かなカナ한국𠮷，"]).cjk_share == 7 / 8
    assert read_statistics([]).cjk_share == 0.0


def test_a_small_text_in_a_small_alphabet_gets_characters():
    choice = choose(statistics(200_000))
    assert (choice.kind, choice.with_unknown) == ("characters", False)
    assert "28 characters" in choice.reason


def test_characters_that_only_the_validation_part_has_lead_to_bpe():
    choice = choose(statistics(200_000), statistics(9, alphabet=frozenset("é")))
    assert choice.kind == "bpe"
    assert "1 characters that the training part lacks" in choice.reason


def test_characters_as_asked_get_an_unknown_token_where_one_is_needed():
    choice = choose(
        statistics(1_000_000), statistics(9, alphabet=frozenset("é")), tokenizer="characters"
    )
    assert (choice.kind, choice.with_unknown) == ("characters", True)
    assert "'é'" in choice.reason


@pytest.mark.parametrize(
    ("characters", "smallest", "largest"),
    [(1_000_000, 1024, 1024), (10_000_000, 4096, 4096), (1_000_000_000, 32_768, 32_768)],
)
def test_large_texts_get_a_vocabulary_that_grows_with_them(characters, smallest, largest):
    choice = choose(statistics(characters))
    assert (choice.kind, choice.rule) == ("bpe", "gpt-2")
    assert smallest <= (choice.vocab_size or 0) <= largest


def test_chinese_gets_bpe_under_its_own_rule_with_room_for_its_characters():
    alphabet = frozenset(map(chr, range(0x4E00, 0x4E00 + 7000)))
    choice = choose(statistics(1_500_000, alphabet=alphabet, cjk_share=0.8))
    assert (choice.kind, choice.rule, choice.vocab_size) == ("bpe", "deepseek-v3", 4096)
    assert "80% of the text is Chinese" in choice.reason


def test_a_short_chinese_text_gets_a_vocabulary_it_can_fill():
    alphabet = frozenset(map(chr, range(0x4E00, 0x4E00 + 3000)))
    choice = choose(statistics(60_000, alphabet=alphabet, cjk_share=0.8))
    assert choice.vocab_size == 1024


def test_what_is_asked_is_done():
    assert choose(statistics(1000), tokenizer="bpe").kind == "bpe"
    assert choose(statistics(1000), vocab_size=700).vocab_size == 700
    assert choose(statistics(10**9), tokenizer="characters").kind == "characters"


@pytest.mark.parametrize("cjk_share", [0.0, 0.8])
def test_a_huge_text_is_sampled_for_training(cjk_share):
    choice = choose(statistics(10**9, cjk_share=cjk_share))
    assert 0 < choice.sample_share <= 0.1


CHOICES = (
    {},
    {"vocab_size": 700},
    {"tokenizer": "bpe", "rule": "llama-bpe"},
    {"tokenizer": "characters", "unknown": "off"},
    {"tokenizer": "words", "pattern": "no-colons", "unknown": "off"},
    {"tokenizer": "gpt2"},
)


@pytest.mark.parametrize("options", CHOICES)
def test_a_choice_comes_back_from_its_values_and_from_its_frozen_options(options):
    lacking = statistics(9, alphabet=frozenset("é"))
    choice = choose(statistics(5_000_000), lacking, **options)
    assert TokenizerChoice(**json.loads(json.dumps(choice.to_values()))) == choice
    frozen = choice.freeze(TextOptions(**options))
    assert frozen.problems() == []
    again = choose_tokenizer(
        frozen, train=lambda: statistics(5_000_000, cjk_share=0.9), validation=lambda: lacking
    )
    chosen = ("kind", "with_unknown", "vocab_size", "rule", "pattern", "name")
    assert [getattr(again, key) for key in chosen] == [getattr(choice, key) for key in chosen]


@pytest.mark.parametrize("tokenizer", ["words", "gpt2", "a/tokenizer.json"])
def test_words_and_named_tokenizers_need_no_reading(tokenizer):
    choice = choose_tokenizer(TextOptions(tokenizer=tokenizer), train=unread, validation=unread)
    assert (choice.kind, choice.name) == (
        ("words", None) if tokenizer == "words" else ("named", tokenizer)
    )


@pytest.mark.parametrize(
    "options", [{"tokenizer": "bpe"}, {"vocab_size": 700}, {"rule": "llama-bpe"}, {}]
)
def test_bpe_needs_no_reading_of_the_validation_part(options):
    choice = choose_tokenizer(
        TextOptions(**options), train=lambda: statistics(10**6), validation=unread
    )
    assert (choice.kind, choice.rule) == ("bpe", options.get("rule", "gpt-2"))


@pytest.mark.parametrize(("unknown", "expected"), [("auto", True), ("on", True), ("off", False)])
def test_words_have_an_unknown_token_unless_told_otherwise(unknown, expected):
    choice = choose(statistics(1000), tokenizer="words", unknown=unknown)
    made = make_tokenizer(choice, ["one two. One", "s two", "", "three"])
    assert isinstance(made, WordTokenizer)
    assert made.words == (".", "Ones", "one", "three", "two")
    assert made.special_ids.eos == 5
    assert (made.special_ids.unk is not None) == choice.with_unknown == expected


@pytest.mark.parametrize(("unknown", "expected"), [("auto", False), ("on", True), ("off", False)])
def test_characters_have_an_unknown_token_where_told(unknown, expected):
    choice = choose(statistics(1000), tokenizer="characters", unknown=unknown)
    assert choice.with_unknown == expected
    lacking = statistics(9, alphabet=frozenset("é"))
    refusing = choose(statistics(1000), lacking, tokenizer="characters", unknown="off")
    assert not refusing.with_unknown
    assert "are errors, such as 'é'" in refusing.reason


def test_a_named_tokenizer_is_opened(tmp_path):
    WordTokenizer(["a", "b"]).save(tmp_path)
    choice = choose(statistics(1000), tokenizer=str(tmp_path))
    assert make_tokenizer(choice, iter(())).encode("b a") == [1, 0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tokenizer": "words", "vocab_size": 700}, "the words of the text are the vocabulary"),
        ({"tokenizer": "gpt2", "vocab_size": 700}, "text.vocab-size has no meaning"),
        ({"tokenizer": "characters", "rule": "gpt-2"}, "text.rule has no meaning"),
        ({"tokenizer": "bpe", "pattern": "no-colons"}, "known patterns: colons, no-colons"),
        ({"pattern": "no-colons"}, "use text.tokenizer words"),
        ({"tokenizer": "words", "pattern": "("}, "no regular expression"),
        ({"tokenizer": "bpe", "unknown": "on"}, "text.unknown has no meaning"),
        ({"tokenizer": "BPE"}, "did you mean bpe?"),
        ({"tokenizer": "gpt-2"}, "did you mean gpt2?"),
        ({"tokenizer": "word"}, "did you mean words?"),
        ({"tokenizer": ""}, "is empty"),
        ({"vocab_size": 100}, "at least 257"),
    ],
)
def test_options_that_cannot_be_used_are_told(options, problem):
    problems = TextOptions(**options).problems()
    assert len(problems) == 1
    assert problem in problems[0]


def test_all_problems_are_told_at_once():
    options = TextOptions(tokenizer="gpt2", vocab_size=5, rule="gpt-2", pattern="(", unknown="on")
    assert len(options.problems()) == 6


def test_the_chosen_tokenizers_are_made():
    pieces = ["a small text\n", "in two pieces"]
    found = read_statistics(pieces)
    made = make_tokenizer(choose(found, found), iter(pieces))
    assert isinstance(made, CharacterTokenizer)
    assert made.characters == tuple(sorted(set("".join(pieces))))
    bpe = make_tokenizer(TokenizerChoice("bpe", "", vocab_size=300, rule="gpt-2"), pieces * 20)
    assert bpe.kind == "bpe"
    assert bpe.decode(bpe.encode("any text 任何")) == "any text 任何"


@given(share=st.floats(0.05, 1.5), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_a_sample_is_spread_evenly(share, sizes):
    pieces = ["x" * size for size in sizes]
    taken = [len(piece) for piece in spread_sample(pieces, share=share)]
    wanted = min(1.0, share) * sum(sizes)
    assert wanted - 1e-6 <= sum(taken) <= wanted + max(sizes)
