import math

import pytest

from cloche.replays.matching import Precision, differences

FOUR = Precision(decimals=4)


def met(published, measured, precision: Precision) -> bool:
    return not differences(published, measured, precision)


@pytest.mark.parametrize("measured", [0.1925, 0.19259, 0.1924, 0.19241])
def test_one_unit_of_the_last_digit_is_met(measured):
    assert met(0.1925, measured, FOUR)


@pytest.mark.parametrize("measured", [0.19261, 0.19239, -0.1925, math.nan, math.inf, "0.1925"])
def test_more_than_one_unit_is_not(measured):
    assert not met(0.1925, measured, FOUR)


def test_the_last_digit_counts_also_where_it_was_a_zero():
    assert met(-0.169, -0.16895627, FOUR)
    assert not met(-0.169, -0.1695, FOUR)


def test_significant_digits_move_with_the_size_of_the_number():
    five = Precision(significant=5)
    assert met(7.4541e-05, 7.45405e-05, five)
    assert not met(7.4541e-05, 7.45425e-05, five)
    assert met(4.7559e-06, 4.7560e-06, five)
    assert not met(4.7559e-06, 4.7562e-06, five)
    assert met(690_000, 691_200, Precision(significant=2))
    assert not met(690_000, 701_200, Precision(significant=2))


def test_a_tolerance_is_taken_as_it_is():
    assert met(48725.8203, 48725.83, Precision(tolerance=0.06))
    assert not met(48725.8203, 48725.89, Precision(tolerance=0.06))


def test_without_a_rule_numbers_and_text_are_equal_or_not():
    exact = Precision()
    assert met(20479, 20479, exact)
    assert not met(20479, 20480, exact)
    assert not met(20479, True, exact)
    assert not met("tea", "tea ", exact)
    assert not met(1, True, exact)


def test_two_rules_for_one_number_are_refused():
    with pytest.raises(ValueError, match="not several"):
        Precision(decimals=4, tolerance=0.1)


def test_a_document_has_two_digits_more_than_are_compared():
    assert FOUR.for_document([0.19249781966209412, 3]) == [0.192498, 3]
    assert Precision(significant=5).for_document(7.454045407939702e-05) == 7.454045e-05
    assert Precision(tolerance=0.06).for_document({"a": 48725.82933366285}) == {"a": 48725.8293}
    assert Precision(tolerance=50_000.0).for_document(19901846.45286686) == 19901800.0
    assert Precision().for_document(0.19249781966209412) == 0.19249781966209412
    assert math.isnan(FOUR.for_document(math.nan))


def test_differences_name_their_place():
    found = differences({"a": [1, 2], "b": "x"}, {"a": [1, 3], "b": "y"}, Precision())
    assert [(one.place, one.published, one.measured) for one in found] == [
        ("a[1]", 2, 3),
        ("b", "x", "y"),
    ]


def test_other_lengths_names_and_kinds_are_differences():
    assert "3 entries, published 2" in differences([1, 2], [1, 2, 3], Precision())[0].reason
    assert "other names" in differences({"a": 1}, {"b": 1}, Precision())[0].reason
    assert differences([1], {"a": 1}, Precision())
    assert differences([1], 1, Precision())
