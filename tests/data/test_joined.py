import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data.joined import JoinedShards, JoinedTokens, joined_metadata
from cloche.data.shards import Shard, ShardWriter


def joined_of(folder, *, lengths=(5, 0, 7), documents=(2, 0, 1)):
    shards, start = [], 0
    for number, (length, ends) in enumerate(zip(lengths, documents, strict=True)):
        writer = ShardWriter(folder / str(number), vocab_size=100, tokenizer="t")
        for _ in range(ends):
            writer.append(range(start, start + length // max(1, ends)))
            start += length // max(1, ends)
            writer.end_document()
        shards.append(writer.finish(sources=[], characters=3, utf8_bytes=4, separated=False))
    metadata = joined_metadata(shards, tokenizer="t", sources=[], dtype="uint16", separated=False)
    return JoinedShards(shards, metadata=metadata)


def test_counts_and_document_ends_are_those_of_all_shards_end_to_end(tmp_path):
    joined = joined_of(tmp_path)
    assert joined.ends.tolist() == [2, 4, 11]
    assert len(joined) == len(joined.tokens) == 11
    assert joined.metadata.documents == 3
    assert (joined.metadata.characters, joined.metadata.utf8_bytes) == (9, 12)


ARRAYS = st.lists(
    st.lists(st.integers(0, 9), max_size=5).map(lambda ids: np.array(ids, np.uint16)), max_size=6
)


@given(arrays=ARRAYS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_joined_tokens_are_read_as_one_array_is(arrays, data):
    whole = np.concatenate([np.zeros(0, np.uint16), *arrays])
    joined = JoinedTokens(arrays, dtype=np.dtype("uint16"))
    assert len(joined) == len(whole)
    limits = st.none() | st.integers(-12, 40)
    chosen = slice(data.draw(limits), data.draw(limits), data.draw(st.sampled_from([None, 2, 1])))
    assert joined[chosen].tolist() == whole[chosen].tolist()
    assert joined[chosen].dtype == np.uint16
    if len(whole):
        places = np.array(
            data.draw(st.lists(st.integers(-len(whole), len(whole) - 1), max_size=8))
        ).astype(np.int64)
        assert joined[places].tolist() == whole[places].tolist()
        grid = np.arange(len(whole))[:, None].repeat(2, axis=1)
        assert joined[grid].tolist() == whole[grid].tolist()
        assert joined[0] == whole[0]
        assert joined[-1] == whole[-1]
    with pytest.raises(IndexError):
        joined[np.array([len(whole)])]


def test_another_process_is_told_where_the_tokens_are_not_sent_them(tmp_path):
    writer = ShardWriter(tmp_path / "big", vocab_size=100, tokenizer="t")
    writer.append(np.zeros(100_000, np.int64))
    writer.end_document()
    shard = writer.finish(sources=[], characters=1, utf8_bytes=1, separated=False)
    metadata = joined_metadata([shard], tokenizer="t", sources=[], dtype="uint16", separated=False)
    sent = pickle.dumps(JoinedShards([shard], metadata=metadata))
    assert len(sent) < 2000
    received = pickle.loads(sent)
    assert isinstance(received, JoinedShards)
    assert received.tokens[:].tolist() == shard.tokens.tolist()
    assert isinstance(pickle.loads(pickle.dumps(shard)), Shard)
