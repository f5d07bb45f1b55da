import json
import pickle
from itertools import chain, islice

import numpy as np
import pytest
import tiktoken
import torch
from torch.utils.data import DataLoader

from cloche.data.batches import RandomWindows, TokensInMemory, Windows
from cloche.data.dataset import (
    ResumableLoader,
    WindowDataset,
    WindowStream,
    seeded_windows_of_folder,
    windows_of_folder,
    windows_of_text,
)
from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all
from cloche.data.prepare import prepare_text
from cloche.errors import DataError, SettingError
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # a machine with one core
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # Python on fork
]


def in_memory(count):
    return TokensInMemory(
        np.arange(count, dtype=np.uint16), ends=np.array([count]), separated=False
    )


def stream_of(count=1000, *, context=10, batch_size=4, seed=0, **options):
    windows = Windows(in_memory(count), context=context, seed=seed)
    return WindowStream(windows, batch_size=batch_size, **options)


def loader_of(count=1000, *, context=10, batch_size=4, seed=0, **options):
    windows = Windows(in_memory(count), context=context, seed=seed)
    return ResumableLoader(windows, batch_size=batch_size, **options)


def taken(batches, count):
    return [inputs.tolist() for inputs, _ in islice(batches, count)]


def test_items_are_the_windows_in_the_order_of_the_text():
    dataset = WindowDataset(in_memory(12), context=4)
    assert len(dataset) == 2  # tokens 8 .. 11 have no whole window with a next token
    assert [(x.tolist(), y.tolist()) for x, y in dataset] == [
        ([0, 1, 2, 3], [1, 2, 3, 4]),
        ([4, 5, 6, 7], [5, 6, 7, 8]),
    ]
    inputs, targets = dataset[-1]
    assert inputs.dtype == targets.dtype == torch.int64
    inputs += 100
    assert targets.tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("stride", [1, 3, 4, 7])
def test_any_stride_places_as_many_windows_as_fit(stride):
    dataset = WindowDataset(in_memory(40), context=4, stride=stride)
    starts = [inputs[0].item() for inputs, _ in dataset]
    assert starts == list(range(0, 36, stride))


def test_a_window_that_is_not_there_is_an_index_error():
    dataset = WindowDataset(in_memory(12), context=4)
    with pytest.raises(IndexError, match="there are 2"):
        dataset[2]
    with pytest.raises(IndexError):
        dataset[-3]


def test_what_cannot_be_a_window_is_told():
    with pytest.raises(DataError, match="has 4 tokens"):
        WindowDataset(in_memory(4), context=4)
    with pytest.raises(SettingError, match="stride must be at least 1"):
        WindowDataset(in_memory(9), context=4, stride=0)
    with pytest.raises(SettingError, match="context must be at least 1"):
        WindowDataset(in_memory(9), context=0)


def test_a_plain_loader_without_shuffling_reads_the_text():
    loader = DataLoader(WindowDataset(in_memory(41), context=4), batch_size=3, num_workers=2)
    assert torch.cat([inputs.flatten() for inputs, _ in loader]).tolist() == list(range(40))


# Published figures of the short story


@pytest.fixture
def verdict(shared_data):
    return (shared_data / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.fixture
def gpt2():
    return tiktoken.get_encoding("gpt2")


def test_the_published_windows_with_stride_1(verdict, gpt2):
    dataset = windows_of_text(verdict, gpt2, context=4, stride=1)
    first_two = [[ids.tolist() for ids in dataset[number]] for number in (0, 1)]
    assert first_two == [
        [[40, 367, 2885, 1464], [367, 2885, 1464, 1807]],
        [[367, 2885, 1464, 1807], [2885, 1464, 1807, 3619]],
    ]
    inputs, targets = dataset[50]
    assert inputs.tolist() == [290, 4920, 2241, 287]
    assert targets.tolist() == [4920, 2241, 287, 257]


def test_the_published_windows_with_stride_4(verdict, gpt2):
    dataset = windows_of_text(verdict, gpt2, context=4, stride=4)
    inputs, targets = next(iter(DataLoader(dataset, batch_size=8)))
    assert inputs.tolist() == [
        [40, 367, 2885, 1464],
        [1807, 3619, 402, 271],
        [10899, 2138, 257, 7026],
        [15632, 438, 2016, 257],
        [922, 5891, 1576, 438],
        [568, 340, 373, 645],
        [1049, 5975, 284, 502],
        [284, 3285, 326, 11],
    ]
    assert targets[:, :-1].tolist() == inputs[:, 1:].tolist()
    assert targets[:, -1].tolist() == [1807, 10899, 15632, 922, 568, 1049, 284, 287]


def test_the_published_loaders_of_context_256(verdict, gpt2):
    cut = int(0.9 * len(verdict))
    parts = verdict[:cut], verdict[cut:]
    train, validation = (windows_of_text(part, gpt2, context=256, stride=256) for part in parts)
    generator = torch.Generator().manual_seed(123)
    train_batches = list(
        DataLoader(train, batch_size=2, shuffle=True, drop_last=True, generator=generator)
    )
    validation_batches = list(DataLoader(validation, batch_size=2))
    assert (len(train_batches), len(validation_batches)) == (9, 1)
    train_tokens = sum(inputs.numel() for inputs, _ in train_batches)
    validation_tokens = sum(inputs.numel() for inputs, _ in validation_batches)
    assert (train_tokens, validation_tokens) == (4608, 512)
    assert all(inputs.shape == targets.shape == (2, 256) for inputs, targets in train_batches)


def test_special_tokens_in_a_text_count_where_they_are_allowed(gpt2):
    text = "one two<|endoftext|>three four"
    dataset = windows_of_text(text, gpt2, context=4, allowed_special=["<|endoftext|>"])
    assert dataset[0][0].tolist()[2] == gpt2.eot_token


# The seeded stream


def test_the_stream_gives_the_batches_of_training():
    stream = stream_of()
    windows = Windows(in_memory(1000), context=10, seed=0)
    for number, (inputs, targets) in enumerate(islice(stream, 5)):
        batch = windows.batch(number * 4, size=4)
        assert torch.equal(inputs, batch.inputs)
        assert torch.equal(targets, batch.targets)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_whatever_the_number_of_workers(workers):
    expected = taken(stream_of(), 12)
    loader = DataLoader(stream_of(), batch_size=None, num_workers=workers)
    assert taken(loader, 12) == expected
    assert taken(loader_of(num_workers=workers), 12) == expected


def test_any_number_of_processes_sees_the_same_samples():
    whole = taken(stream_of(batch_size=12), 6)
    for world_size in (2, 3, 4):
        shares = [
            taken(stream_of(batch_size=12, rank=rank, world_size=world_size), 6)
            for rank in range(world_size)
        ]
        joined = [list(chain(*rows)) for rows in zip(*shares, strict=True)]
        assert joined == whole


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_a_stopped_loader_resumes_with_the_next_sample_whoever_read_ahead(before, after):
    expected = taken(stream_of(), 13)
    first = loader_of(num_workers=before, prefetch_factor=3 if before else None)
    assert taken(first, 5) == expected[:5]
    state = json.loads(json.dumps(first.state_dict()))
    assert state["next_sample"] == 20
    second = loader_of(num_workers=after)
    second.load_state_dict(state)
    assert taken(second, 8) == expected[5:]


def test_the_state_is_right_in_the_middle_of_a_loop():
    loader = loader_of(num_workers=2)
    seen = []
    for number, _ in enumerate(loader, start=1):
        seen.append(loader.state_dict()["next_sample"])
        if number == 4:
            break
    assert seen == [4, 8, 12, 16]


def test_a_loader_goes_on_after_a_break():
    loader = loader_of()
    assert taken(loader, 3) + taken(loader, 4) == taken(stream_of(), 7)


def test_a_state_fits_other_batches_and_other_numbers_of_processes():
    loader = loader_of(batch_size=4)
    taken(loader, 3)
    shares = []
    for rank in (0, 1):
        share = loader_of(batch_size=6, rank=rank, world_size=2)
        share.load_state_dict(loader.state_dict())
        shares.append(taken(share, 1)[0])
    expected = Windows(in_memory(1000), context=10, seed=0).batch(12, size=6).inputs
    assert list(chain(*shares)) == expected.tolist()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 1}, "seed 0 and not 1"),
        ({"context": 11}, "context 10 and not 11"),
        ({"count": 1001}, "tokens 1000 and not 1001"),
    ],
)
def test_a_state_of_another_order_is_refused(other, told):
    state = loader_of().state_dict()
    with pytest.raises(DataError, match=told):
        loader_of(**other).load_state_dict(state)


def test_a_state_of_another_text_or_kind_of_windows_is_refused():
    state = loader_of().state_dict()
    other = TokensInMemory(np.zeros(1000, np.uint16), ends=np.array([1000]), separated=False)
    for windows in (
        Windows(other, context=10, seed=0),
        RandomWindows(in_memory(1000), context=10, seed=0),
    ):
        with pytest.raises(DataError, match="another order"):
            ResumableLoader(windows, batch_size=4).load_state_dict(state)


@pytest.mark.parametrize("sample", [None, -1, "4"])
def test_a_damaged_state_is_refused(sample):
    loader = loader_of()
    with pytest.raises(DataError, match="next_sample"):
        loader.load_state_dict({**loader.state_dict(), "next_sample": sample})


def test_what_cannot_be_shared_is_told():
    with pytest.raises(SettingError, match="world_size must divide"):
        stream_of(batch_size=4, world_size=3)
    with pytest.raises(SettingError, match="rank must be from 0"):
        stream_of(rank=2, world_size=2)
    with pytest.raises(SettingError, match="first_sample"):
        stream_of(first_sample=-1)
    with pytest.raises(SettingError, match="batch_size must be at least 1"):
        loader_of(batch_size=0)


def test_a_stream_can_be_sent_to_another_process():
    stream = pickle.loads(pickle.dumps(stream_of(first_sample=8)))
    assert taken(stream, 3) == taken(stream_of(), 5)[2:]


# From a prepared folder


@pytest.fixture
def prepared(tmp_path):
    (tmp_path / "book.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    sources = find_sources([str(tmp_path / "book.txt")])
    text = TextOptions(tokenizer="characters")
    prepare_text(
        tmp_path / "tokens",
        sources,
        inspect_all(sources, text),
        text=text,
        data=DataOptions(),
        tell=lambda line: None,
    )
    return tmp_path / "tokens"


def test_the_windows_of_a_prepared_folder_are_those_of_its_text(prepared):
    train = windows_of_folder(prepared, context=9)
    validation = windows_of_folder(prepared, part="validation", context=9, stride=1)
    assert len(train) == (1620 - 10) // 9 + 1
    assert len(validation) == 180 - 9
    assert train[0][0].tolist() == train[5][0].tolist()  # the sentence has 45 characters


def test_a_prepared_folder_may_be_named_by_a_string(prepared):
    named = windows_of_folder(str(prepared), context=9)
    assert named[0][0].tolist() == windows_of_folder(prepared, context=9)[0][0].tolist()
    order = seeded_windows_of_folder(str(prepared), context=8)
    assert len(order.shard.tokens) == len(named.tokens.tokens)


def test_a_prepared_folder_streams_as_training_reads_it(prepared):
    windows = seeded_windows_of_folder(prepared, context=8, seed=5)
    assert isinstance(windows, Windows)
    expected = [windows.batch(first, size=2).inputs.tolist() for first in (0, 2)]
    assert taken(ResumableLoader(windows, batch_size=2), 2) == expected
    random = seeded_windows_of_folder(prepared, context=8, options=DataOptions(windows="random"))
    assert isinstance(random, RandomWindows)


def test_a_folder_without_tokens_is_told(tmp_path):
    with pytest.raises(DataError, match="no prepared tokens"):
        windows_of_folder(tmp_path, context=4)
