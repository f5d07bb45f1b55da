import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cloche.data.batches import (
    IGNORED,
    RandomWindows,
    TokensInMemory,
    Windows,
    fixed_starts,
    training_windows,
    windows_at,
)
from cloche.data.options import DataOptions
from cloche.data.order import mix, shuffled
from cloche.data.shards import ShardWriter
from cloche.errors import DataError


def shard_of(folder, documents, *, separated):
    writer = ShardWriter(folder, vocab_size=60_000, tokenizer="t")
    for document in documents:
        writer.append(document)
        writer.end_document()
    return writer.finish(sources=[], characters=1, utf8_bytes=1, separated=separated)


@pytest.fixture
def one_document(tmp_path):
    return shard_of(tmp_path / "one", [range(1000)], separated=False)


@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_shuffled_is_a_permutation(size, key):
    places = shuffled(np.arange(size), size=size, key=key)
    assert sorted(places.tolist()) == list(range(size))


def test_the_permutation_depends_on_the_key_and_looks_random():
    first = shuffled(np.arange(10_000), size=10_000, key=1)
    second = shuffled(np.arange(10_000), size=10_000, key=2)
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(np.arange(10_000), first)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


def test_mix_separates_neighbouring_numbers():
    assert len({mix(seed, step) for seed in range(50) for step in range(50)}) == 2500


def test_targets_are_the_next_tokens(one_document):
    batch = windows_at(one_document, np.array([0, 50]), context=4)
    assert batch.inputs.tolist() == [[0, 1, 2, 3], [50, 51, 52, 53]]
    assert batch.targets.tolist() == [[1, 2, 3, 4], [51, 52, 53, 54]]
    assert batch.documents is None
    assert batch.positions is None


def test_targets_of_a_single_window_can_be_masked_without_harm_to_its_inputs(one_document):
    batch = windows_at(one_document, np.array([7]), context=4)
    batch.targets[0, 1] = IGNORED
    assert batch.inputs.tolist() == [[7, 8, 9, 10]]


def test_an_epoch_sees_every_window_once_and_epochs_differ(one_document):
    windows = Windows(one_document, context=10, seed=3)
    epochs = [windows.starts(np.arange(n * windows.count, (n + 1) * windows.count)) for n in (0, 1)]
    for starts in epochs:
        assert len(set(starts.tolist())) == windows.count
        assert set(np.diff(np.sort(starts))) == {10}
        assert starts.max() + 10 < 1000
    assert epochs[0].tolist() != epochs[1].tolist()
    assert windows.count >= 98


def test_a_sample_does_not_depend_on_how_batches_are_cut(one_document):
    windows = Windows(one_document, context=10, seed=3)
    whole = windows.batch(0, size=8).inputs
    parts = torch.cat([windows.batch(0, size=3).inputs, windows.batch(3, size=5).inputs])
    assert torch.equal(whole, parts)


def test_a_given_stride_places_the_windows_exactly(one_document):
    windows = Windows(one_document, context=4, seed=0, stride=3)
    starts = windows.starts(np.arange(windows.count))
    assert sorted(starts.tolist()) == list(range(0, 996, 3))


def test_another_seed_gives_another_order(one_document):
    orders = [
        Windows(one_document, context=10, seed=seed).starts(np.arange(50)).tolist()
        for seed in (1, 2)
    ]
    assert orders[0] != orders[1]


def test_the_smallest_shard_that_fits_has_one_window(tmp_path):
    shard = shard_of(tmp_path / "s", [range(5)], separated=False)
    batch = Windows(shard, context=4, seed=0).batch(0, size=2)
    assert batch.inputs.tolist() == [[0, 1, 2, 3]] * 2


def test_a_shard_shorter_than_the_context_is_refused_with_the_minimum(tmp_path):
    shard = shard_of(tmp_path / "s", [range(4)], separated=False)
    with pytest.raises(DataError, match="needs at least 5"):
        Windows(shard, context=4, seed=0)


def test_documents_are_told_apart_and_positions_restart(tmp_path):
    # 9 is the end-of-text token: target of its own document, first input of the next
    shard = shard_of(tmp_path / "s", [[1, 2, 9], [3, 9], [4, 5, 6, 9]], separated=True)
    batch = windows_at(shard, np.array([0]), context=7)
    assert batch.inputs.tolist() == [[1, 2, 9, 3, 9, 4, 5]]
    assert batch.documents is not None
    assert batch.positions is not None
    assert batch.documents.tolist() == [[0, 0, 1, 1, 2, 2, 2]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 0, 1, 2]]


def test_positions_in_a_window_that_starts_inside_a_document_start_at_zero(tmp_path):
    shard = shard_of(tmp_path / "s", [[1, 2, 3, 9], [4, 9]], separated=True)
    batch = windows_at(shard, np.array([1]), context=4)
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 0, 1]]


def test_fixed_windows_spread_over_the_shard_without_overlap(one_document):
    starts = fixed_starts(one_document, context=10, count=7)
    assert len(starts) == 7
    assert starts[0] == 0
    assert starts[-1] == 980
    assert (np.diff(starts) >= 10).all()
    assert len(fixed_starts(one_document, context=10, count=10_000)) == 99


def in_memory(count):
    return TokensInMemory(
        np.arange(count, dtype=np.uint16), ends=np.array([count]), separated=False
    )


def test_random_windows_begin_at_every_place_equally_often():
    windows = RandomWindows(in_memory(24), context=4, seed=0)  # places 0 .. 19
    counts = np.bincount(windows.starts(np.arange(20_000)), minlength=20)
    assert len(counts) == 20
    assert abs(counts - 1000).max() < 150  # five standard deviations


def test_neighbouring_random_windows_are_independent():
    windows = RandomWindows(in_memory(10_001), context=1, seed=0)
    starts = windows.starts(np.arange(10_000))
    assert abs(np.corrcoef(starts[:-1], starts[1:])[0, 1]) < 0.05
    assert 0.60 < len(set(starts.tolist())) / 10_000 < 0.66  # 1 - 1/e, as chance has it


def test_a_random_window_depends_on_its_seed_and_its_index_alone():
    windows = RandomWindows(in_memory(1000), context=10, seed=3)
    whole = windows.batch(10**12, size=8).inputs
    parts = [windows.batch(10**12, size=3).inputs, windows.batch(10**12 + 3, size=5).inputs]
    assert torch.equal(whole, torch.cat(parts))
    other = RandomWindows(in_memory(1000), context=10, seed=4)
    assert not torch.equal(whole, other.batch(10**12, size=8).inputs)


def test_the_smallest_text_has_one_random_window():
    assert RandomWindows(in_memory(5), context=4, seed=0).starts(np.arange(3)).tolist() == [0, 0, 0]


def test_the_options_choose_the_windows():
    random = training_windows(
        in_memory(50), context=4, seed=0, options=DataOptions(windows="random")
    )
    assert isinstance(random, RandomWindows)
    epochs = training_windows(in_memory(50), context=4, seed=0, options=DataOptions(stride=3))
    assert isinstance(epochs, Windows)
    assert epochs.stride == 3


def test_the_order_of_windows_stays_what_it_was():
    # runs made before must resume with the same samples
    windows = Windows(in_memory(1000), context=10, seed=3)
    assert windows.starts(np.arange(6)).tolist() == [678, 208, 238, 248, 488, 8]
    strided = Windows(in_memory(1000), context=4, seed=7, stride=3)
    assert strided.starts(np.arange(330, 336)).tolist() == [195, 780, 198, 3, 366, 975]


class PiecedArray:
    """Tokens that are no NumPy array, but read like one."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, places):
        return np.arange(self.count)[places]


class PiecedTokens:
    tokens = PiecedArray(100)
    ends = np.array([100])
    separated = False


def test_windows_need_no_numpy_array_beneath():
    windows = Windows(PiecedTokens(), context=10, seed=1)
    assert torch.equal(
        windows.batch(0, size=4).inputs,
        Windows(in_memory(100), context=10, seed=1).batch(0, size=4).inputs,
    )
    assert fixed_starts(PiecedTokens(), context=10, count=3).tolist() == [0, 40, 80]
