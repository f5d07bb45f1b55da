"""Excerpts: inside documents, side by side, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloche.data.batches import TokensInMemory
from cloche.errors import DataError
from cloche.evaluation.excerpts import choose_excerpts, count_excerpts


def text_of(lengths, *, separated):
    """Documents of so many tokens, each of its own number; then an end, where they are parted."""
    rows = [[number] * length + [99] * separated for number, length in enumerate(lengths)]
    ids = np.array([token for row in rows for token in row], np.uint16)
    ends = np.cumsum([len(row) for row in rows]).astype(np.int64)
    return TokensInMemory(ids, ends, separated=separated)


def choose(tokens, *, count=50, seed=0):
    return choose_excerpts(tokens, prefix=2, continuation=3, count=count, seed=seed, part="tried")


@given(st.lists(st.integers(0, 23), min_size=1, max_size=8), st.booleans(), st.integers(0, 99))
def test_excerpts_lie_in_one_document_and_never_overlap(lengths, separated, seed):
    fitting = sum(length // 5 for length in lengths)
    assume(fitting >= 2)
    tokens = text_of(lengths, separated=separated)
    assert count_excerpts(tokens, size=5) == fitting
    found = choose(tokens, seed=seed)
    assert len(found) == fitting
    covered = [place for start in found.starts for place in range(start, start + 5)]
    assert len(set(covered)) == 5 * fitting
    for start in found.starts:
        assert len(set(tokens.tokens[start : start + 5].tolist())) == 1
    for prompt, behind in zip(found.prompts(), found.continuations(100), strict=True):
        assert len(prompt) == 2
        assert len(behind) >= 3
        assert set(behind) == set(prompt)  # up to the document's end, not further


def test_a_seed_chooses_the_same_excerpts_and_another_others():
    tokens = text_of([400, 300], separated=True)
    one, same, other = (choose(tokens, count=9, seed=seed).starts.tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert choose(tokens, count=9, seed=1).first(4).starts.tolist() == one[:4]


def test_too_short_a_text_says_what_it_lacks():
    with pytest.raises(DataError, match=r"tried part is too short.* longest one has 9 tokens"):
        choose(text_of([4, 9, 3], separated=True))
    with pytest.raises(DataError, match="0 tokens"):
        choose(TokensInMemory(np.zeros(0, np.uint16), np.zeros(0, np.int64), separated=False))
