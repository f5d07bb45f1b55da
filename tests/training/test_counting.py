"""Counted n-grams: every table against a literal count, whatever the portions it is made in."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.data.batches import TokensInMemory
from cloche.model.config import Smoothing
from cloche.training.counting import CountingOptions, Watch, count_ngrams
from cloche.training.smoothing import FALLBACK_DISCOUNTS, estimate_discounts, smooth
from cloche.training.sorted_runs import SortedRuns

VOCAB = 4
END = 3


def joined(documents, *, separated):
    """Documents end to end, as a shard holds them; with END behind each where separated."""
    whole = [[*document, END] if separated else document for document in documents]
    tokens = np.array([token for document in whole for token in document], np.uint16)
    ends = np.cumsum([len(document) for document in whole])
    return TokensInMemory(tokens, ends, separated)


def counted(
    tokens, folder, *, order=3, smoothing: Smoothing = "kneser-ney", most=10_000, chunk=1 << 22
):
    options = CountingOptions(
        order=order, vocab_size=VOCAB, smoothing=smoothing, max_ngrams=most, chunk_tokens=chunk
    )
    return list(count_ngrams(tokens, options, folder=folder))


def named(tables):
    """{n-gram: count} of each order, the places followed back to the tokens."""
    below, found = [()], []
    for table in tables:
        names = [(*below[key // VOCAB], int(key % VOCAB)) for key in table.keys.tolist()]
        found.append(dict(zip(names, table.counts.tolist(), strict=True)))
        below = names
    return found


def literal(documents, *, order, separated):
    """Occurrences and different places of each n-gram, counted one by one."""
    occurrences = [Counter() for _ in range(order)]
    places = [defaultdict(set) for _ in range(order)]
    for number, document in enumerate(documents):
        begins_with_end = separated and number > 0
        text = [*([END] if begins_with_end else []), *document, *([END] if separated else [])]
        for end, length in itertools.product(range(len(text)), range(1, order + 1)):
            begin = end - length + 1
            if begin < 0 or (begins_with_end and end == 0):
                continue  # the end-of-text token is a target of the document before
            gram = tuple(text[begin : end + 1])
            occurrences[length - 1][gram] += 1
            places[length - 1][gram].add(text[begin - 1] if begin else "beginning")
    return occurrences, [{gram: len(found) for gram, found in each.items()} for each in places]


corpora = st.lists(
    st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=12), min_size=1, max_size=4
)
in_a_folder = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_a_folder
@given(documents=corpora, separated=st.booleans(), order=st.integers(1, 4), chunk=st.integers(1, 9))
def test_counts_are_those_of_a_literal_count(tmp_path, documents, separated, order, chunk):
    separated = separated and len(documents) > 1
    tokens = joined(documents, separated=separated)
    occurrences, places = literal(documents, order=order, separated=separated)
    raw = named(counted(tokens, tmp_path, order=order, smoothing="additive", chunk=chunk))
    mixed = named(counted(tokens, tmp_path, order=order, chunk=chunk))
    for length in range(1, order + 1):
        expected = occurrences if length == order else places
        for got, want in ((raw, occurrences), (mixed, expected)):
            seen = {gram: count for gram, count in got[length - 1].items() if count}
            assert seen == dict(want[length - 1])
    assert list(tmp_path.iterdir()) == []


@in_a_folder
@given(documents=corpora, most=st.integers(1, 30), chunk=st.integers(1, 9))
def test_pruned_tables_keep_within_the_cap_and_sum_to_one(tmp_path, documents, most, chunk):
    tables = counted(joined(documents, separated=False), tmp_path, order=4, most=most, chunk=chunk)
    assert sum(len(table.keys) for table in tables[1:]) <= most
    for below, table in itertools.pairwise(tables):
        assert len(table.totals) == len(below.keys)
        assert (np.diff(table.keys) > 0).all()
        result = smooth(table, "kneser-ney", vocab_size=VOCAB)
        mass = np.bincount(
            table.keys // VOCAB, weights=result.shares, minlength=len(result.backoffs)
        )
        np.testing.assert_allclose(mass + result.backoffs, 1.0)
        assert (result.backoffs > 0).all()
        assert (result.shares >= 0).all()


def test_the_rarest_go_first_and_all_of_a_kind(tmp_path):
    text = [0, 1] * 9 + [0, 2] * 3 + [0]
    tables = counted(joined([text], separated=False), tmp_path, order=2, most=3)
    kept = named(tables)[1]
    assert kept == {(0, 1): 9, (1, 0): 9}  # (0, 2) and (2, 0) are as frequent as each other
    assert tables[1].rarest > 3
    assert tables[1].pruned == 2
    assert tables[1].totals.tolist() == [12, 9, 3, 0]  # what was pruned is left to the order below


def test_portions_change_nothing(tmp_path):
    tokens = joined([np.random.default_rng(0).integers(0, 3, 500)], separated=True)
    whole = counted(tokens, tmp_path, order=5, most=100)
    parts = counted(tokens, tmp_path, order=5, most=100, chunk=17)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.totals, other.totals)
        assert one.counts_of_counts == other.counts_of_counts


def test_counting_can_be_stopped_between_portions(tmp_path):
    class StopError(Exception):
        """Stands for a request to stop."""

    def check():
        calls.append(1)
        if len(calls) > 5:
            raise StopError

    calls: list[int] = []
    options = CountingOptions(
        order=3, vocab_size=VOCAB, smoothing="additive", max_ngrams=99, chunk_tokens=4
    )
    tokens = joined([[0, 1, 2] * 10], separated=False)
    with pytest.raises(StopError):
        list(count_ngrams(tokens, options, folder=tmp_path, watch=Watch(check=check)))


def test_runs_on_disk_count_as_one_sort_does(tmp_path):
    keys = np.random.default_rng(1).integers(0, 90_000, 200_000)
    runs = SortedRuns(tmp_path, name="keys", range_entries=20_000)
    for portion in np.array_split(keys, 7):
        runs.add(portion)
    blocks = list(runs.merged())
    assert len(blocks) > 3
    distinct, counts = np.unique(keys, return_counts=True)
    np.testing.assert_array_equal(np.concatenate([block.keys for block in blocks]), distinct)
    np.testing.assert_array_equal(np.concatenate([block.counts for block in blocks]), counts)
    runs.remove()
    assert list(tmp_path.iterdir()) == []


def test_discounts_follow_the_counts_of_counts_where_there_are_enough():
    share = 100 / (100 + 2 * 40)
    assert estimate_discounts((100, 40, 20, 10)) == pytest.approx(
        (1 - 2 * share * 40 / 100, 2 - 3 * share * 20 / 40, 3 - 4 * share * 10 / 20)
    )
    assert estimate_discounts((5, 0, 0, 0)) == FALLBACK_DISCOUNTS
    assert estimate_discounts((1, 1, 90, 1)) == FALLBACK_DISCOUNTS  # would take less than nothing
