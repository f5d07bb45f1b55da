import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import open_hub_tokenizer
from cloche.text.merges import MOST_CHARACTERS, merge_history
from cloche.text.tokenizer import Tokenizer

TEXT = "low lower lowest, slow slower slowest; new newer newest. 春眠不覺曉，春曉。 " * 8


@pytest.fixture(scope="module")
def trained() -> BytePairTokenizer:
    return train_bpe([TEXT], vocab_size=320, rule="gpt-2")


def last_pieces(tokenizer: Tokenizer, text: str) -> list[bytes]:
    return [piece for word in merge_history(tokenizer, text) for piece in word.pieces]


@given(
    text=st.text(max_size=40) | st.text(alphabet="lowersnt 春曉眠，\n", min_size=1, max_size=60),
    rule=st.sampled_from(["gpt-2", "llama-bpe", "deepseek-v3"]),
)
@settings(deadline=None, max_examples=60)
def test_the_last_pieces_are_the_tokenizers_tokens(text, rule):
    tokenizer = train_bpe([TEXT], vocab_size=300, rule=rule)
    tokens = [tokenizer.token_bytes(number) for number in tokenizer.encode(text)]
    assert last_pieces(tokenizer, text) == tokens


def test_each_step_merges_two_neighbours_by_the_lowest_rank(trained):
    (word,) = merge_history(trained, " slowest")
    assert word.start == tuple(bytes([byte]) for byte in b" slowest")
    before = word.start
    for step in word.steps:
        place = next(
            place
            for place in range(len(before) - 1)
            if before[place : place + 2] == (step.left, step.right)
        )
        merged = (*before[:place], step.left + step.right, *before[place + 2 :])
        assert step.pieces == merged
        assert trained.token_bytes(step.token_id) == step.left + step.right
        before = step.pieces
    assert word.pieces == before


def test_ranks_count_the_merges_as_they_were_learned(trained):
    merges = json.loads(trained.engine.to_str())["model"]["merges"]
    (word,) = merge_history(trained, "low")
    letters = [merges[step.rank] for step in word.steps]
    assert [tuple(pair) for pair in letters] == [
        (step.left.decode(), step.right.decode()) for step in word.steps
    ]


def test_no_merge_reaches_over_a_word(trained):
    history = merge_history(trained, "low lower")
    assert [word.word for word in history] == [b"low", b" lower"]


def test_a_single_byte_has_no_steps(trained):
    (word,) = merge_history(trained, "z")
    assert word.steps == ()
    assert word.pieces == (b"z",)


def test_nothing_has_no_history(trained):
    assert merge_history(trained, "") == []


def test_a_word_in_the_vocabulary_is_taken_whole_where_the_file_says_so(trained):
    saved = json.loads(trained.engine.to_str())
    saved["model"]["merges"] = []
    saved["model"]["ignore_merges"] = True
    (word,) = merge_history(BytePairTokenizer(json.dumps(saved).encode()), "low")
    assert word.steps == ()
    assert word.taken_whole == trained.encode("low")[0]
    assert word.pieces == (b"low",)


def test_a_downloaded_tokenizer_with_a_normalizer_has_a_history(trained, tmp_path):
    saved = json.loads(trained.engine.to_str()) | {"normalizer": {"type": "NFC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    tokenizer = open_hub_tokenizer(tmp_path)
    text = "low cafe\u0301"  # an accent by itself, which the normalizer joins to its letter
    tokens = [tokenizer.token_bytes(number) for number in tokenizer.encode(text)]
    assert last_pieces(tokenizer, text) == tokens
    assert b"".join(tokens).decode() == "low caf\u00e9"


def test_characters_have_no_merges():
    with pytest.raises(TokenizerError, match=r"byte-level BPE.*\(characters\) is WordLevel"):
        merge_history(CharacterTokenizer("abc"), "abc")


def test_a_long_text_is_refused(trained):
    with pytest.raises(TokenizerError, match="at most 1,000 characters, and the text has 1,001"):
        merge_history(trained, "a" * (MOST_CHARACTERS + 1))


def test_half_a_character_is_refused(trained):
    with pytest.raises(TokenizerError, match="lone surrogate"):
        merge_history(trained, "\ud800")
