import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.byte_stream import REPLACEMENT
from cloche.text.characters import CharacterTokenizer
from cloche.text.visible import Part, TokenReader, one_line, readable, visible, visible_bytes
from cloche.text.words import WordTokenizer


@pytest.fixture(scope="module")
def trained() -> BytePairTokenizer:
    return train_bpe(["low lower lowest " * 4], vocab_size=262, rule="gpt-2")


def test_text_is_shown_as_it_is_and_the_rest_as_hex():
    assert readable("a 龘".encode()) == "a 龘"
    assert readable("龘".encode()[:2]) == "<E9 BE>"
    assert readable(b" " + "龘".encode()[:1]) == " <E9>"
    assert readable("龘".encode()[2:] + "é".encode()) == "<98>é"


def test_white_space_gets_signs():
    assert visible("a b\tc\r\nd") == "a·b→c␍↵d"
    assert one_line("a b\n") == "a b↵"


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", "␛"),  # would begin a command to the terminal
        ("\x7f", "<U+007F>"),
        ("\u200d", "<U+200D>"),  # joins what stands beside it
        ("\u202e", "<U+202E>"),  # turns the direction of writing
        ("\u3000", "<U+3000>"),  # the wide space of Chinese
        ("\ufeff", "<U+FEFF>"),
        ("\u0301", "\u25cc\u0301"),  # would sit on the character before
    ],
)
def test_what_a_terminal_would_swallow_is_shown(character, shown):
    assert visible(character) == shown


@given(st.binary(max_size=30))
def test_nothing_that_cannot_be_printed_is_left(data):
    shown = "".join(part.shown for part in visible_bytes(data))
    assert shown.isprintable()
    assert " " not in shown or "<" in shown  # hex alone has spaces
    assert REPLACEMENT not in shown or REPLACEMENT.encode() in data


@given(st.text(max_size=30, alphabet=st.characters(codec="utf-8")))
def test_whole_text_reads_as_itself(text):
    assert readable(text.encode()) == text


def test_parts_tell_text_from_spaces_and_hex():
    assert visible_bytes(b" ab\xe9") == [
        Part("·", "space"),
        Part("ab", "text"),
        Part("<E9>", "hex"),
    ]


def test_special_tokens_are_shown_by_name(trained):
    reader = TokenReader(trained)
    end = trained.special_tokens["<|endoftext|>"]
    assert reader.is_special(end)
    assert reader.text(end) == "<|endoftext|>"
    assert reader.parts(end) == [Part("<|endoftext|>", "special")]
    assert not reader.is_special(0)


def test_a_token_with_part_of_a_character_is_not_whole(trained):
    reader = TokenReader(trained)
    first, *_ = trained.encode("é")
    assert not reader.is_whole(first)
    assert reader.text(first) == "<C3>"
    assert reader.is_whole(trained.encode("low")[0])


def test_tokens_together_complete_their_characters(trained):
    reader = TokenReader(trained)
    ids = trained.encode("low 龘")
    assert reader.together(ids) == "low 龘"
    assert reader.together(ids[:-1]) == "low <E9 BE>"
    assert reader.together(ids[-2:]) == "<BE 98>"


def test_special_tokens_stand_between_the_text_of_others():
    tokenizer = CharacterTokenizer("ab")
    end = tokenizer.special_tokens["<|endoftext|>"]
    assert TokenReader(tokenizer).together([0, end, 1]) == "a<|endoftext|>b"


def test_words_are_joined_as_they_are_written():
    tokenizer = WordTokenizer(["tea", ",", "like"])
    ids = tokenizer.encode("like coffee, tea")
    assert TokenReader(tokenizer).together(ids) == "like <|unk|>, tea"
