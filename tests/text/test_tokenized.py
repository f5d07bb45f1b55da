import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import TextError, TokenizerError
from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenized import Kept, tokenize_text


@pytest.fixture(scope="module")
def trained() -> BytePairTokenizer:
    return train_bpe(["low lower lowest " * 4], vocab_size=262, rule="gpt-2")


def test_counts_and_kept_tokens_are_those_of_the_whole_text(trained):
    text = "lower than the lowest 龘\n" * 9_000
    pieces = [text[start : start + 7_001] for start in range(0, len(text), 7_001)]
    found = tokenize_text(trained, [pieces], keep=Kept())
    ids = trained.encode(text)
    assert found.kept.tolist() == ids
    assert found.counts.tolist() == np.bincount(ids, minlength=trained.vocab_size).tolist()
    assert found.tokens == len(ids)
    assert (found.characters, found.utf8_bytes) == (len(text), len(text.encode()))
    assert found.bytes_per_token == found.utf8_bytes / len(ids)


@given(start=st.integers(0, 40_000), length=st.none() | st.integers(0, 40_000))
def test_any_range_of_tokens_can_be_kept(start, length):
    text = "ab cd " * 30_000  # longer than a piece
    tokenizer = CharacterTokenizer(text)
    stop = None if length is None else start + length
    found = tokenize_text(tokenizer, [[text]], keep=Kept(start, stop))
    assert found.kept.tolist() == tokenizer.encode(text)[start:stop]


def test_the_end_of_text_stands_between_documents(trained):
    end = trained.special_ids.eos
    found = tokenize_text(trained, [["lo", "w"], ["low"]], keep=Kept())
    assert found.kept.tolist() == [*trained.encode("low"), end, *trained.encode("low")]
    assert found.characters == 6


def test_special_tokens_are_text_unless_allowed(trained):
    text = "low<|endoftext|> lower"
    plain = tokenize_text(trained, [[text]], keep=Kept())
    assert plain.kept.tolist() == trained.encode(text)
    allowed = tokenize_text(trained, [[text]], allowed_special=["<|endoftext|>"], keep=Kept())
    assert allowed.kept.tolist() == trained.encode(text, allowed_special=["<|endoftext|>"])
    assert len(allowed.kept) < len(plain.kept)


def test_an_unknown_special_token_is_named(trained):
    with pytest.raises(TokenizerError, match="'<pad>' is not a special token"):
        tokenize_text(trained, [["low"]], allowed_special=["<pad>"])


def test_unknown_characters_become_the_unknown_token():
    tokenizer = CharacterTokenizer("ab", with_unknown=True)
    found = tokenize_text(tokenizer, [["axb"]], keep=Kept())
    assert found.kept.tolist() == [0, tokenizer.special_ids.unk, 1]


@pytest.mark.parametrize("documents", [[], [[]], [[""]]])
def test_no_text_is_an_error(trained, documents):
    with pytest.raises(TextError, match="there is no text"):
        tokenize_text(trained, documents)


def test_half_a_character_is_an_error(trained):
    with pytest.raises(TextError, match=r"lone surrogate U\+D800"):
        tokenize_text(trained, [["a\ud800"]])
