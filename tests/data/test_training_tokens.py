from types import SimpleNamespace

import numpy as np
import pytest

from cloche.data.shards import Shard, ShardWriter
from cloche.data.training_tokens import find_training_tokens, read_training_tokens
from cloche.errors import DataError
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenized import Kept

TOKENIZER = CharacterTokenizer("abc")
IDS = [0, 1, 1, 2, 0, 1]


@pytest.fixture
def shard(tmp_path) -> Shard:
    writer = ShardWriter(
        tmp_path / "train", vocab_size=TOKENIZER.vocab_size, tokenizer=TOKENIZER.fingerprint
    )
    writer.append(IDS)
    writer.end_document()
    return writer.finish(sources=[], characters=6, utf8_bytes=6, separated=False)


@pytest.fixture
def tokens(shard, monkeypatch):
    prepared = SimpleNamespace(train=shard)
    monkeypatch.setattr("cloche.data.training_tokens.open_prepared", lambda folder: prepared)
    return shard.folder.parent


def test_counts_are_those_of_the_training_part(tokens, monkeypatch):
    monkeypatch.setattr("cloche.data.training_tokens._COUNTED_TOKENS", 4)  # more than one stretch
    found = read_training_tokens(tokens, TOKENIZER, keep=Kept(1, 4))
    assert found.counts.tolist() == np.bincount(IDS, minlength=4).tolist()
    assert found.kept.tolist() == IDS[1:4]
    assert (found.tokens, found.characters, found.utf8_bytes) == (6, 6, 6)


def test_another_tokenizer_is_refused_with_both_fingerprints(tokens):
    other = CharacterTokenizer("abcd")
    with pytest.raises(DataError, match=TOKENIZER.fingerprint[:12]) as raised:
        read_training_tokens(tokens, other)
    assert other.fingerprint[:12] in str(raised.value)


def test_tokens_are_found_from_a_run_its_checkpoint_or_themselves(tmp_path):
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    (run / "best").symlink_to("checkpoints/step-000001")
    (run / "tokens" / "tokenizer").mkdir(parents=True)
    for source in (run, checkpoint, run / "best", run / "tokens"):
        found = find_training_tokens(source)
        assert found is not None
        assert found.resolve() == (run / "tokens").resolve()


def test_a_folder_without_tokens_has_none(tmp_path):
    assert find_training_tokens(tmp_path) is None
    assert find_training_tokens(tmp_path / "missing") is None
