"""Where tokens lie in the text they were made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.evaluation.offsets import TokenBytes, byte_ends, count_characters, sizes_between
from cloche.text.characters import CharacterTokenizer
from cloche.text.names import open_tokenizer
from cloche.text.words import WordTokenizer


@pytest.fixture(scope="module")
def gpt2():
    try:
        return open_tokenizer("gpt2")
    except Exception as exc:  # no network here and no cache named
        pytest.skip(f"gpt2 cannot be had: {exc}")


def ends_of(tokenizer, text):
    ids = tokenizer.encode_array(text)
    return ids, byte_ends(TokenBytes(tokenizer), ids, text)


@given(text=st.text(alphabet="abé 春眠🙂\n", min_size=1))
def test_tokens_of_bytes_lie_where_their_bytes_are(text, gpt2):
    ids, ends = ends_of(gpt2, text)
    data, begin = text.encode("utf-8"), 0
    for token_id, end in zip(ids.tolist(), ends.tolist(), strict=True):
        assert data[begin:end] == gpt2.token_bytes(token_id)
        begin = end
    assert begin == len(data)


def test_bytes_and_characters_add_up_to_the_text(gpt2):
    text = "春眠 unbelievable 🙂 é\n" * 5
    _, ends = ends_of(gpt2, text)
    sizes = sizes_between(ends, text)
    assert sizes.sum(axis=0).tolist() == [len(text.encode("utf-8")), len(text)]
    assert (sizes >= 0).all()


def test_words_hold_the_spaces_before_them():
    words = WordTokenizer(["the", "dog", "sat", "."], special=("<|unk|>",))
    text = "the dog  sat.\nthe dog"
    ids, ends = ends_of(words, text)
    begins = [0, *ends.tolist()[:-1]]
    pieces = [text[a:b] for a, b in zip(begins, ends.tolist(), strict=True)]
    assert len(ids) == len(pieces)
    assert [piece.strip() for piece in pieces] == ["the", "dog", "sat", ".", "the", "dog"]
    assert "".join(pieces) == text


def test_what_is_unknown_shares_what_lies_between_its_neighbours():
    words = WordTokenizer(["the", "dog", "sat"], special=("<|unk|>",))
    text = "the quick brown dog sat"
    ids, ends = ends_of(words, text)
    assert ids.tolist().count(words.special_ids.unk) == 2
    assert ends.tolist()[0] == 3
    assert ends.tolist()[3:] == [len("the quick brown dog"), len(text)]
    assert 3 < ends[1] < ends[2] < ends[3]


def test_ends_never_go_back_and_reach_the_end_whatever_the_tokens_are():
    tokenizer = CharacterTokenizer("abc ", with_unknown=True)
    known = TokenBytes(tokenizer)
    rng = np.random.default_rng(0)
    for _ in range(50):  # tokens that were never made of this text
        ids = rng.integers(0, tokenizer.vocab_size, size=rng.integers(1, 30))
        text = "".join(rng.choice(list("abcé春 "), size=rng.integers(1, 60)))
        ends = byte_ends(known, ids, text)
        assert len(ends) == len(ids)
        assert (np.diff(ends) >= 0).all()
        assert ends[-1] == len(text.encode("utf-8"))


def test_sizes_of_tokens_alone_are_those_of_their_bytes(gpt2):
    ids = gpt2.encode_array("春 the the")
    sizes = TokenBytes(gpt2).sizes(ids)
    data = [gpt2.token_bytes(token_id) for token_id in ids.tolist()]
    assert sizes[:, 0].tolist() == [len(piece) for piece in data]
    assert sizes[:, 1].sum() == len("春 the the")
    assert count_characters("é春a".encode()) == 3
    end = gpt2.special_ids.eos
    assert TokenBytes(gpt2).sizes(np.array([end])).tolist() == [[0.0, 0.0]]
