import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.data.conversation_split import (
    TokenCount,
    length_report,
    measure_lengths,
    split_groups,
    split_records,
)
from cloche.errors import SettingError

PUBLISHED = (0.85, 0.05, 0.1)


def test_the_published_split_is_train_then_test_then_validation():
    found = split_records(1100, split=PUBLISHED, seed=0)
    assert found.train == tuple(range(935))
    assert found.test == tuple(range(935, 1045))
    assert found.validation == tuple(range(1045, 1100))


def test_two_shares_leave_the_test_out_and_zeros_stay_empty():
    found = split_records(10, split=(0.9, 0.1), seed=0)
    assert (len(found.train), len(found.validation), len(found.test)) == (9, 1, 0)
    found = split_records(7, split=(0.8, 0, 0.2), seed=0)
    assert (len(found.train), len(found.validation), len(found.test)) == (6, 0, 1)
    assert split_records(3, split=(1.0,), seed=0).train == (0, 1, 2)


@given(
    count=st.integers(20, 400), seed=st.integers(0, 9), order=st.sampled_from(["kept", "shuffled"])
)
def test_every_record_is_in_exactly_one_part(count, seed, order):
    found = split_records(count, split=PUBLISHED, seed=seed, order=order)
    assert sorted((*found.train, *found.validation, *found.test)) == list(range(count))
    assert len(found.train) == int(count * 85) // 100
    assert all(list(part) == sorted(part) for part in (found.train, found.validation, found.test))


def test_a_shuffled_split_depends_on_the_seed_alone_and_mixes():
    split = {
        seed: split_records(1000, split=PUBLISHED, seed=seed, order="shuffled") for seed in (1, 2)
    }
    assert split_records(1000, split=PUBLISHED, seed=1, order="shuffled") == split[1]
    assert split[1] != split[2]
    assert 300 < sum(split[1].test) / len(split[1].test) < 700


@pytest.mark.parametrize(
    ("count", "split", "problem"),
    [
        (3, PUBLISHED, "leaves no record of 3 for test"),
        (1, (0.5, 0.5), "leaves no record of 1 for training"),
        (10, (0.9, 0.2), "add up to 1, such as 0.85 0.05 0.1; got 0.9 0.2"),
        (10, (1.5, -0.5), "got 1.5 -0.5"),
        (10, (0.0, 1.0), "got 0 1"),
        (10, (), "got nothing"),
        (10, (0.25,) * 4, "got 0.25 0.25 0.25 0.25"),
        (10, (float("nan"), 0.5), "got nan 0.5"),
        (10, (float("inf"), 0.5), "got inf 0.5"),
    ],
)
def test_shares_that_cannot_be_used_are_refused(count, split, problem):
    with pytest.raises(SettingError) as caught:
        split_records(count, split=split, seed=0)
    assert problem in str(caught.value)


def test_groups_are_never_cut():
    groups = [number // 3 for number in range(60)]
    for order in ("kept", "shuffled"):
        found = split_groups(groups, split=(0.5, 0.25, 0.25), seed=3, order=order)
        parts = [
            {groups[place] for place in part}
            for part in (found.train, found.validation, found.test)
        ]
        assert [len(part) for part in parts] == [10, 5, 5]
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
        assert len(found.train) == 30


def test_lengths_tell_what_is_cut_and_who_loses_the_whole_answer():
    counts = [TokenCount(f"r{number}", number + 1, 5) for number in range(100)]
    counts.append(TokenCount("long question", 300, 290))
    found = measure_lengths(counts, 59)
    assert (found.median, found.percentile_95, found.longest) == (51, 96, 300)
    assert found.longest_place == "long question"
    assert found.truncated == (*(f"r{number}" for number in range(60, 100)), "long question")
    assert found.unanswered == ("long question",)
    assert found.lines() == [
        "Tokens: median 51, 95 of 100 records have at most 96, the longest 300 (long question).",
        "Cut: 41 of 101 records, which do not fit into a context of 59 tokens: r60, r61, r62 and "
        "38 more.",
        "Cut before the first answer, so that nothing can be learned: 1 of these: long question.",
    ]
    assert length_report([count.tokens for count in counts], context=59) == [
        "Tokens: median 51, 95 of 100 records have at most 96, the longest 300.",
        "Cut: 41 of 101 records, which do not fit into a context of 59 tokens.",
    ]
    assert len(measure_lengths(counts, 299).lines()) == 1
    assert measure_lengths(counts, 289).unanswered == ("long question",)
    assert measure_lengths(counts, 290).unanswered == ()
