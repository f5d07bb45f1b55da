import json
import re
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cloche.errors import TokenizerError
from cloche.text import words as words_module
from cloche.text.patterns import PATTERNS, find_separator
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, SpecialIds, Tokenizer
from cloche.text.words import WordTokenizer, distinct_words, read_words, split_words

SENTENCE = "Hello, do you like tea? <|endoftext|> In the sunlit terraces of the palace."
MARKS = [*',.?!:;_"()', "--", "<|endoftext", "|>"]
KNOWN = [*MARKS, "Hello", "world", "Is", "this", "a", "test", "no", "it's", "中文，好"]
TYPED = {END_OF_TEXT: ["<|endoftext", "|>"], UNKNOWN: ["<|unk", "|>"]}
TEXTS = st.one_of(
    st.lists(
        st.sampled_from([*KNOWN, " ", "  ", "\n", "\x1c", "\u3000", END_OF_TEXT, UNKNOWN, "new"])
    ).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@pytest.fixture(scope="module")
def verdict(shared_data) -> str:
    return (shared_data / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["colons", "no-colons", r"(\d+|[^\w\s])", r"-+|\."])
def tokenizer(request) -> WordTokenizer:
    return WordTokenizer(KNOWN, pattern=request.param)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    tokenizer.save(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')  # as in a checkpoint
    return folder


@pytest.fixture(scope="module")
def automatic(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_spaces_are_split_off_and_dropped_as_published():
    words = split_words("Hello, world. This is a test.", r"(\s)")
    assert words == ["Hello,", "world.", "This", "is", "a", "test."]


def test_words_and_punctuation_are_split_as_published():
    words = split_words("Hello, world. Is this-- a test?", "colons")
    assert words == ["Hello", ",", "world", ".", "Is", "this", "--", "a", "test", "?"]
    assert split_words("a:b; c", "no-colons") == ["a:b;", "c"]


def test_the_verdict_splits_into_the_published_words(verdict):
    assert len(verdict) == 20479
    found = split_words(verdict, "colons")
    assert len(found) == 4690
    assert " ".join(found[:30]) == (
        "I HAD always thought Jack Gisburn rather a cheap genius -- though a good fellow enough -- "
        "so it was no great surprise to me to hear that , in"
    )
    distinct = sorted(set(found))
    assert len(distinct) == 1130
    assert " ".join(distinct[:21]) == (
        "! \" ' ( ) , -- . : ; ? A Ah Among And Are Arrt As At Be Begin"
    )
    assert distinct_words([verdict], pattern="colons") == set(distinct)


def test_the_verdict_has_the_published_vocabulary_ids_and_text(verdict):
    tokenizer = WordTokenizer(distinct_words([verdict], pattern="no-colons"), pattern="no-colons")
    assert tokenizer.vocab_size == 1161
    last = {tokenizer.token_text(number): number for number in range(1156, 1161)}
    assert last == {
        "younger": 1156,
        "your": 1157,
        "yourself": 1158,
        "<|endoftext|>": 1159,
        "<|unk|>": 1160,
    }
    ids = tokenizer.encode(SENTENCE, allowed_special={END_OF_TEXT})
    assert ids == [1160, 5, 362, 1155, 642, 1000, 10, 1159, 57, 1013, 981, 1009, 738, 1013, 1160, 7]
    assert tokenizer.decode_with_special(ids) == (
        "<|unk|>, do you like tea? <|endoftext|> In the sunlit terraces of the <|unk|>."
    )
    assert tokenizer.decode(ids) == ", do you like tea? In the sunlit terraces of the."


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_the_engine_splits_as_the_published_patterns_do_in_python(pattern, text):
    words = split_words(text, pattern)
    expected = [part for word in words for part in TYPED.get(word, [word])]
    if expected:
        tokenizer = WordTokenizer(expected, pattern=pattern)
        assert [tokenizer.token_text(number) for number in tokenizer.encode(text)] == expected


@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_tokenizers_and_transformers_give_the_same_ids_and_text(tokenizer, folder, automatic, text):
    ids = tokenizer.encode(text)
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.encode_special_tokens = True
    assert engine.encode(text).ids == ids
    assert engine.decode(ids) == tokenizer.decode(ids)
    shown = tokenizer.decode_with_special(ids)
    assert engine.decode(ids, skip_special_tokens=False) == shown
    assert automatic.encode(text, split_special_tokens=True) == ids
    assert automatic.decode(ids) == shown
    assert automatic.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_stream_of_any_ids_gives_the_text_of_them_all(tokenizer, folder, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    stream = tokenizer.stream()
    text = "".join(map(stream.push, ids)) + stream.close()
    assert text == tokenizer.decode(ids)
    marks = r'\s+([,.?!"()\'])'
    shown = [tokenizer.token_text(n) for n in ids if n < len(tokenizer.words)]
    assert text == re.sub(marks, r"\1", " ".join(shown))


def test_special_tokens_typed_in_a_text_are_two_words_and_never_one_token(tokenizer):
    ids = tokenizer.encode(f"a {END_OF_TEXT} test")
    assert tokenizer.special_ids.eos not in ids
    assert len(ids) >= 4
    assert tokenizer.encode(END_OF_TEXT, allowed_special=[END_OF_TEXT]) == [
        tokenizer.special_ids.eos
    ]
    with pytest.raises(TokenizerError, match="not a special token"):
        tokenizer.encode("a", allowed_special=["<|im_end|>"])


def test_a_text_that_types_special_tokens_has_words_for_them():
    text = f"end {END_OF_TEXT} or {UNKNOWN} now"
    words = distinct_words([text], pattern="colons")
    assert words == {"end", "<|endoftext", "<|unk", "|>", "or", "now"}
    tokenizer = WordTokenizer(words, special=[])
    assert tokenizer.decode(tokenizer.encode(text)) == "end <|endoftext |> or <|unk |> now"


def test_without_the_unknown_token_an_unknown_word_is_an_error_that_names_it():
    tokenizer = WordTokenizer({"a", "cat"}, special=[END_OF_TEXT])
    with pytest.raises(TokenizerError, match="the word 'dog', number 3 of the text, is not among"):
        tokenizer.encode("a cat dog")
    with pytest.raises(TokenizerError, match="'dog'"):
        tokenizer.encode_array("dog")
    assert tokenizer.encode("a cat a") == [0, 1, 0]


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ((), SpecialIds()),
        ((END_OF_TEXT,), SpecialIds(bos=1, eos=1, pad=1)),
        ((UNKNOWN,), SpecialIds(unk=1)),
        ((UNKNOWN, END_OF_TEXT), SpecialIds(bos=1, eos=1, pad=1, unk=2)),
    ],
)
def test_special_tokens_come_after_the_words(special, expected, tmp_path):
    tokenizer = WordTokenizer(["a"], special=special)
    assert tokenizer.special_ids == expected
    assert isinstance(tokenizer, Tokenizer)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.special_ids, loaded.kind) == (expected, "words")
    assert loaded.fingerprint == tokenizer.fingerprint


def test_saving_and_loading_keeps_words_pattern_bytes_and_fingerprint(tokenizer, folder, tmp_path):
    loaded = load_tokenizer(folder)
    assert isinstance(loaded, WordTokenizer)
    assert (loaded.words, loaded.pattern) == (tokenizer.words, tokenizer.pattern)
    assert loaded.fingerprint == tokenizer.fingerprint
    loaded.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_changed_file_is_not_read_as_ours(tokenizer, folder):
    saved = json.loads((folder / "tokenizer.json").read_bytes())
    saved["decoder"]["decoders"][0]["content"] = "  "
    with pytest.raises(TokenizerError, match="not a word tokenizer as cloche writes it"):
        read_words(saved, b"")


@given(text=st.text(st.sampled_from("ab ,\n\u3000，"), max_size=200), data=st.data())
@settings(max_examples=60, deadline=None)
def test_words_cut_by_the_ends_of_pieces_are_whole(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = distinct_words(filter(None, pieces), pattern="colons")
    assert found == set(split_words(text, "colons"))


def test_an_empty_piece_ends_a_document_and_its_last_word():
    found = distinct_words(["one en", "d", "", "begin", "", "", "two"], pattern="colons")
    assert found == {"one", "end", "begin", "two"}


def test_long_text_is_cut_only_at_white_space(monkeypatch):
    monkeypatch.setattr(words_module, "_PIECE_CHARACTERS", 7)
    text = "one two，three, fourteenandmore 中文字很长很长很长 x\n" * 3
    words = split_words(text, "colons")
    assert distinct_words([text], pattern="colons") == set(words)
    tokenizer = WordTokenizer(words)
    assert [tokenizer.token_text(n) for n in tokenizer.encode(text)] == words


def test_text_without_any_white_space_is_refused_at_some_length(monkeypatch):
    monkeypatch.setattr(words_module, "_LONGEST_WORD", 200_000)
    with pytest.raises(TokenizerError, match="more than 200,000 characters without white space"):
        distinct_words(["x" * 50_000] * 10, pattern="colons")


def test_a_lone_surrogate_is_an_error(tokenizer):
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D"):
        tokenizer.encode("a\ud83db")
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D"):
        distinct_words(["a\ud83db"], pattern="colons")


@pytest.mark.parametrize("number", [-1, 10_000])
def test_an_id_out_of_range_is_an_error(tokenizer, number):
    for decode in (tokenizer.decode, tokenizer.decode_with_special):
        with pytest.raises(TokenizerError, match=f"{number} is no id"):
            decode([number])


def test_tokens_are_bytes_and_text(tokenizer):
    number = tokenizer.words.index("中文，好")
    assert tokenizer.token_bytes(number) == "中文，好".encode()
    assert tokenizer.token_bytes(tokenizer.words.index(",")) == b","
    assert tokenizer.token_bytes(tokenizer.special_ids.unk) == b""
    assert tokenizer.token_text(tokenizer.special_ids.unk) == UNKNOWN


@pytest.mark.parametrize("words", [[], ["two words"], [""], ["<|unk|>"], ["a\x1c"]])
def test_what_is_no_set_of_words_is_refused(words):
    with pytest.raises(TokenizerError, match="word"):
        WordTokenizer(words)


def test_only_known_special_tokens_can_be_had():
    with pytest.raises(TokenizerError, match="cannot be a special token here"):
        WordTokenizer(["a"], special=["<|im_start|>"])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is no regular expression"),
        ("", "is no regular expression"),
        ("colon(s", "colons, no-colons"),
        ("(a)|(b)", "has 2 groups"),
        ("(a)b", "one, around the whole"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_an_error(pattern, message):
    with pytest.raises(TokenizerError, match=message):
        find_separator(pattern)


def test_a_pattern_in_parentheses_keeps_what_it_matches():
    assert distinct_words(["a-b.c"], pattern="([-.])") == {"a", "-", "b", ".", "c"}
    assert distinct_words(["a-b.c"], pattern="[-.]") == {"a", "b", "c"}
    assert find_separator("[-.]").pattern == "[-.]"
    assert find_separator("colons").pattern == "colons"
