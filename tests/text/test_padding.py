import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from cloche.errors import TokenizerError
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import HubTokenizer
from cloche.text.padding import find_pad_id, pad

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=5)


def _engine() -> Tokenizer:
    return Tokenizer(models.WordLevel({str(n): n for n in range(11)}, unk_token="0"))


@given(
    rows=ROWS,
    side=st.sampled_from(["left", "right"]),
    length=st.none() | st.integers(8, 12),
    multiple=st.sampled_from([1, 8]),
)
@settings(max_examples=60, deadline=None)
def test_padding_is_that_of_transformers(rows, side, length, multiple):
    reference = PreTrainedTokenizerFast(
        tokenizer_object=_engine(), pad_token="10", padding_side=side
    )
    expected = reference.pad(
        {"input_ids": rows},
        padding="longest" if length is None else "max_length",
        max_length=length,
        pad_to_multiple_of=None if multiple == 1 else multiple,
    )
    padded = pad(rows, pad_id=10, side=side, length=length, multiple=multiple)
    assert padded.ids.tolist() == expected["input_ids"]
    assert padded.mask.astype(int).tolist() == expected["attention_mask"]
    assert padded.lengths.tolist() == [len(row) for row in rows]


@given(rows=ROWS, side=st.sampled_from(["left", "right"]), length=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_cutting_is_that_of_transformers(rows, side, length):
    reference = PreTrainedTokenizerFast(
        tokenizer_object=_engine(), pad_token="10", truncation_side=side
    )
    words = [[str(number) for number in row] for row in rows]
    expected = reference(
        words, is_split_into_words=True, truncation=True, padding="max_length", max_length=length
    )
    padded = pad(rows, pad_id=10, length=length, truncate=side)
    assert padded.ids.tolist() == expected["input_ids"]
    assert padded.mask.astype(int).tolist() == expected["attention_mask"]


def test_rows_may_be_arrays_of_any_integers_and_none_at_all():
    padded = pad([np.array([1, 2], dtype=np.uint16), [3]], pad_id=0)
    assert padded.ids.tolist() == [[1, 2], [3, 0]]
    assert padded.mask.tolist() == [[True, True], [True, False]]
    assert pad([], pad_id=0).ids.shape == (0, 0)
    assert pad([[]], pad_id=7, length=2).ids.tolist() == [[7, 7]]


def test_a_row_that_is_too_long_is_refused_unless_cutting_is_allowed():
    with pytest.raises(TokenizerError, match="row 1 has 3 ids, more than the length of 2"):
        pad([[1], [1, 2, 3]], pad_id=0, length=2)
    assert pad([[1], [1, 2, 3]], pad_id=0, length=2, truncate="left").ids.tolist() == [
        [1, 0],
        [2, 3],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "top"}, "side must be left or right, got 'top'"),
        ({"truncate": "both"}, "truncate must be error, left or right, got 'both'"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"multiple": 0}, "multiple must be at least 1, got 0"),
        ({"pad_id": -1}, "pad_id must be an id, 0 or more, got -1"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    # Values that type checkers would refuse come from JSON and from the command line.
    unchecked = getattr(pad, "__wrapped__", pad)
    with pytest.raises(TokenizerError, match=message):
        unchecked([[1]], **{"pad_id": 0, **options})


def test_a_row_that_is_no_row_of_ids_is_an_error():
    with pytest.raises(TokenizerError, match="row 1 is no row of ids"):
        pad([[1], np.zeros((1, 2), dtype=np.int64)], pad_id=0)


def test_the_pad_id_is_that_of_the_pad_token_else_of_the_end():
    data = _engine().to_str().encode()
    roles = {"pad": "10", "eos": "9", "bos": None, "unk": None}
    assert find_pad_id(HubTokenizer(data, roles=roles)) == 10
    assert find_pad_id(HubTokenizer(data, roles={**roles, "pad": None})) == 9
    assert find_pad_id(CharacterTokenizer("ab")) == 2
    with pytest.raises(TokenizerError, match="neither a pad nor an eos token"):
        find_pad_id(HubTokenizer(data, roles={**roles, "pad": None, "eos": None}))
