"""Standard errors by blocks, held against chance that is known."""

import math

import numpy as np
import pytest

from cloche.evaluation.blocks import (
    FEWEST_BLOCKS,
    FIRST_BLOCK_BYTES,
    MOST_BLOCKS,
    BlockSums,
    Estimate,
    difference,
    ratio,
)


def blocks_of(nats, widths=None):
    """Sums of (nats, tokens) of tokens of 4 bytes, given in pieces of uneven size."""
    widths = np.full(len(nats), 4.0) if widths is None else widths
    blocks = BlockSums(columns=2)
    values = np.stack([nats, np.ones(len(nats))], axis=1)
    for begin in range(0, len(nats), 1_337):
        chunk = slice(begin, begin + 1_337)
        blocks.add(widths[chunk], values[chunk])
    return blocks


def related(rng, count, *, memory):
    """Nats of mean 3 and spread 2 in which each token is related to the one before."""
    noise = rng.normal(size=count) * math.sqrt(1 - memory**2)
    values = np.empty(count)
    state = rng.normal()
    for place in range(count):
        state = memory * state + noise[place]
        values[place] = state
    return 3.0 + 2.0 * values


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_the_interval_holds_the_truth_in_about_95_of_100_texts(memory):
    rng = np.random.default_rng(5)
    held, naive_held, texts = 0, 0, 300
    for _ in range(texts):
        nats = related(rng, 8_000, memory=memory)
        sums = blocks_of(nats).sums()
        low, high = ratio(sums[:, 0], sums[:, 1]).interval or (0.0, 0.0)
        held += low <= 3.0 <= high
        naive_held += abs(nats.mean() - 3.0) <= 1.96 * nats.std() / math.sqrt(len(nats))
    assert 0.92 <= held / texts <= 0.98
    if memory:  # as if the tokens were independent: far too sure
        assert naive_held / texts < 0.75


def test_the_error_of_independent_tokens_is_the_textbooks():
    nats = np.random.default_rng(0).normal(3.0, 2.0, size=200_000)
    sums = blocks_of(nats).sums()
    found = ratio(sums[:, 0], sums[:, 1])
    assert found.value == pytest.approx(nats.mean(), rel=1e-12)
    assert found.stderr == pytest.approx(2.0 / math.sqrt(200_000), rel=0.25)
    assert MOST_BLOCKS / 2 <= found.blocks <= MOST_BLOCKS


def test_a_difference_is_surer_than_what_it_is_of():
    rng = np.random.default_rng(2)
    hard = related(rng, 20_000, memory=0.9)  # what makes a page hard for both
    one = blocks_of(hard + rng.normal(0.0, 0.2, size=20_000)).sums()
    other = blocks_of(hard + 0.05 + rng.normal(0.0, 0.2, size=20_000)).sums()
    apart = difference((other[:, 0], other[:, 1]), (one[:, 0], one[:, 1]))
    alone = ratio(one[:, 0], one[:, 1])
    assert apart.value == pytest.approx(0.05, abs=0.01)
    assert apart.stderr is not None
    assert alone.stderr is not None
    assert apart.stderr < alone.stderr / 10
    low, high = apart.interval or (0.0, 0.0)
    assert 0 < low < 0.05 < high


def test_blocks_lie_at_the_same_bytes_however_the_text_is_cut_into_tokens():
    rng = np.random.default_rng(3)
    total = 300_000
    letters = blocks_of(np.ones(total), np.ones(total))
    cuts = np.sort(rng.choice(np.arange(1, total), size=70_000, replace=False))
    widths = np.diff(np.concatenate([[0], cuts, [total]])).astype(float)
    words = blocks_of(widths.copy(), widths)  # a nat for each byte, too
    assert letters.block_bytes == words.block_bytes
    np.testing.assert_allclose(letters.sums()[:, 0], words.sums()[:, 0])
    assert letters.sums()[0, 0] == pytest.approx(letters.block_bytes)


def test_memory_does_not_grow_with_the_text_and_nothing_is_lost():
    nats = np.random.default_rng(4).random(500_000)
    blocks = blocks_of(nats)
    assert len(blocks.sums()) <= MOST_BLOCKS
    np.testing.assert_allclose(blocks.sums().sum(axis=0), [nats.sum(), len(nats)])


def test_tokens_of_no_bytes_open_no_block():
    blocks = BlockSums(columns=1)
    blocks.add(np.array([float(FIRST_BLOCK_BYTES)]), np.array([[1.0]]))
    blocks.add(np.array([0.0, 0.0]), np.array([[1.0], [2.0]]))
    assert blocks.sums().tolist() == [[4.0]]
    blocks.add(np.zeros(0), np.zeros((0, 1)))
    assert blocks.sums().tolist() == [[4.0]]


def test_a_short_text_has_no_standard_error():
    sums = np.ones((FEWEST_BLOCKS - 1, 2))
    found = ratio(sums[:, 0], sums[:, 1])
    assert (found.value, found.stderr, found.interval) == (1.0, None, None)


def test_another_unit_scales_the_error_too():
    found = Estimate(2.0, 0.5, 10).scaled(3.0)
    assert (found.value, found.stderr) == (6.0, 1.5)
    low, high = found.interval or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(6.0)
    assert high - 6.0 == pytest.approx(1.5 * 2.2622, rel=1e-3)  # Student's t for 9
