import numpy as np
import pytest

from cloche.data.shards import METADATA, TOKENS, Shard, ShardWriter
from cloche.errors import DataError


def write_shard(folder, documents, *, vocab_size=300, separated=True):
    writer = ShardWriter(folder, vocab_size=vocab_size, tokenizer="abc")
    for document in documents:
        writer.append(document)
        writer.end_document()
    characters = sum(map(len, documents))
    return writer.finish(
        sources=[{"path": "a.txt"}],
        characters=characters,
        utf8_bytes=characters,
        separated=separated,
    )


def test_a_shard_reads_back_what_was_written(tmp_path):
    write_shard(tmp_path / "train", [[1, 2, 3], [4, 5]])
    shard = Shard(tmp_path / "train")
    assert shard.tokens.tolist() == [1, 2, 3, 4, 5]
    assert shard.ends.tolist() == [3, 5]
    assert shard.metadata.dtype == "uint16"
    assert shard.metadata.sources == ({"path": "a.txt"},)


@pytest.mark.parametrize(("vocab_size", "itemsize"), [(65_536, 2), (65_537, 4)])
def test_tokens_are_little_endian_and_as_small_as_the_vocabulary_allows(
    tmp_path, vocab_size, itemsize
):
    write_shard(tmp_path / "s", [[1, vocab_size - 1]], vocab_size=vocab_size)
    expected = (1).to_bytes(itemsize, "little") + (vocab_size - 1).to_bytes(itemsize, "little")
    assert (tmp_path / "s" / TOKENS).read_bytes() == expected


def test_nothing_appears_before_finish_and_discard_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path / "s", vocab_size=10, tokenizer="abc")
    writer.append([1])
    assert not (tmp_path / "s").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_cut_token_file_is_named(tmp_path):
    write_shard(tmp_path / "s", [[1, 2, 3]])
    (tmp_path / "s" / TOKENS).write_bytes(b"\x01\x00")
    with pytest.raises(DataError, match=r"tokens\.ds has 2 bytes instead of 6"):
        Shard(tmp_path / "s")


def test_damaged_metadata_is_named(tmp_path):
    write_shard(tmp_path / "s", [[1, 2, 3]])
    (tmp_path / "s" / METADATA).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Shard(tmp_path / "s")


def test_an_empty_shard_opens(tmp_path):
    shard = write_shard(tmp_path / "s", [])
    assert len(shard) == 0
    assert shard.tokens.dtype == np.uint16
