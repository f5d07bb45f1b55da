import pytest

from cloche.planning.wording import format_bytes, format_count, format_dollars, format_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12 bytes"), (1_500, "1.5 kB"), (3.26e9, "3.3 GB"), (512e6, "512 MB"), (2e12, "2.0 TB")],
)
def test_bytes_are_written_in_thousands(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (9_999, "9,999"),
        (1_234_567, "1.23 million"),
        (2e12, "2.00 trillion"),
        (1.5e10, "15.0 billion"),
    ],
)
def test_counts_have_three_digits(count, text):
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.50 s"),
        (110, "110 s"),
        (300, "5.00 minutes"),
        (1e5, "27.8 hours"),
        (1e8, "3.17 years"),
    ],
)
def test_times_are_in_the_unit_that_suits(seconds, text):
    assert format_seconds(seconds) == text


def test_money_has_cents_while_they_matter():
    assert format_dollars(0.002) == "less than a cent"
    assert format_dollars(1.5) == "$1.50"
    assert format_dollars(691_200) == "$691,200"
