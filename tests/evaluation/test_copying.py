"""Copied spans: the automaton against looking for every span."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.evaluation.copying import BREAK, SpanFinder, copied_lengths, covered_share

units = st.lists(st.integers(0, 2), max_size=14)


def occurs(span, text):
    return any(text[start : start + len(span)] == span for start in range(len(text)))


def longest_by_looking(row, text):
    return [
        max(
            (length for length in range(1, end + 1) if occurs(row[end - length : end], text)),
            default=0,
        )
        for end in range(1, len(row) + 1)
    ]


@given(st.lists(units, min_size=1, max_size=4), st.lists(st.integers(-1, 3), max_size=40))
def test_the_longest_spans_are_those_found_by_looking_for_each(rows, text):
    finder = SpanFinder(rows)
    finder.read(text)
    assert finder.found() == [longest_by_looking(row, text) for row in rows]


@given(st.lists(units, min_size=1, max_size=4), st.lists(st.integers(0, 2), max_size=40))
def test_pieces_of_the_text_and_groups_of_the_rows_change_nothing(rows, text):
    pieces = [np.array(text[start : start + 7], np.int64) for start in range(0, len(text), 7)]
    found = copied_lengths(rows, lambda: pieces, room=10)
    assert found == [longest_by_looking(row, text) for row in rows]


def test_a_break_in_the_text_ends_a_span():
    found = copied_lengths([[1, 2, 3, 4]], lambda: [np.array([1, 2, BREAK, 3, 4])])
    assert found == [[1, 2, 1, 2]]


def test_a_text_looked_for_in_itself_is_found_whole():
    row = np.random.default_rng(0).integers(0, 50, 3000).tolist()
    (found,) = copied_lengths([row], lambda: [np.array(row)])
    assert found == list(range(1, 3001))


def test_the_covered_share_counts_places_in_long_enough_spans():
    # places 2 to 4 and 5 to 7 hold spans of three
    lengths = [1, 1, 1, 2, 3, 1, 2, 3]
    assert covered_share(lengths, least=3) == 6 / 8
    assert covered_share(lengths, least=4) == 0.0
    assert covered_share(lengths, least=1) == 1.0
    assert covered_share([], least=1) == 0.0


@pytest.mark.parametrize("row", [[0] * 2000, [0, 1] * 1000])
def test_uniform_rows_take_linear_room(row):
    finder = SpanFinder([row, row])
    finder.read(row * 5)
    assert finder.found()[1][-1] == 2000
    assert len(finder._lengths) < 3 * len(row) * 2
