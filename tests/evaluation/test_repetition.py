"""Measures of repetition against definitions written out, and loops against brute force."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.evaluation.repetition import (
    PeriodicEnding,
    code_points,
    compression_ratio,
    distinct_share,
    ends_in_loop,
    entropy_bits,
    longest_periodic_ending,
)


def test_distinct_shares_count_different_ngrams():
    row = [1, 2, 1, 2, 3]
    assert distinct_share(row, 1) == 3 / 5
    assert distinct_share(row, 2) == 3 / 4
    assert distinct_share("春眠春眠春", 2) == 2 / 4
    assert distinct_share(row, 6) == 1.0


def test_entropy_is_that_of_the_rows_own_frequencies():
    assert entropy_bits("aabb") == pytest.approx(1.0)
    assert entropy_bits("aaaa") == 0.0
    assert entropy_bits([]) == 0.0
    assert entropy_bits(range(256)) == pytest.approx(8.0)
    assert entropy_bits("aab") == pytest.approx(-(2 / 3) * math.log2(2 / 3) + math.log2(3) / 3)


def test_a_repeated_text_compresses_better():
    assert compression_ratio("the cat " * 50) > 5 * compression_ratio("the quick brown fox jumped")
    assert compression_ratio("\ud800") > 0  # half of a surrogate pair, as a decoder may give


rows = st.lists(st.integers(0, 2), max_size=24)


@given(rows, st.integers(2, 4))
def test_the_longest_periodic_ending_is_the_one_of_brute_force(row, times):
    best = None
    for length in range(len(row), 0, -1):
        ending = row[len(row) - length :]
        periods = [
            period
            for period in range(1, length // times + 1)
            if all(ending[i] == ending[i - period] for i in range(period, length))
        ]
        if periods:
            best = PeriodicEnding(periods[0], length)
            break
    assert longest_periodic_ending(row, times=times) == best


@given(rows, st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_loop_is_found_whatever_comes_before_it(row, period):
    times = 16 // len(period) + 3
    assert ends_in_loop([*row, *period * times])
    assert ends_in_loop([*row, *period * times, *period[: len(period) // 2]])


def test_an_ellipsis_is_no_loop_and_a_loop_that_ended_is_none():
    assert not ends_in_loop("and so it went on...")
    assert not ends_in_loop("very " * 20 + "tired at last, and slept")
    assert ends_in_loop("春眠不觉晓，" * 3)


def test_code_points_are_the_characters_of_any_text():
    assert code_points("a春\U0001f332").tolist() == [97, 0x6625, 0x1F332]
