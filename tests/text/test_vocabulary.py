import numpy as np
import pytest

from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.tokenized import tokenize_text
from cloche.text.vocabulary import most_used_first, read_vocabulary


@pytest.fixture(scope="module")
def trained() -> BytePairTokenizer:
    return train_bpe(["的人 的是 low lower " * 9], vocab_size=300, rule="deepseek-v3")


def test_every_entry_is_listed_as_it_reads(trained):
    vocabulary = read_vocabulary(trained)
    assert [entry.id for entry in vocabulary.entries] == list(range(trained.vocab_size))
    assert vocabulary.holes == 0
    texts = {entry.text for entry in vocabulary.entries}
    assert {"的", " low", "<80>", "<|endoftext|>"} <= texts
    assert not any("Ġ" in text or "ç" in text for text in texts)  # letters that stand for bytes
    assert [entry.text for entry in vocabulary.entries if entry.special] == ["<|endoftext|>"]
    assert all(entry.count is None for entry in vocabulary.entries)


def test_entries_are_found_by_their_text(trained):
    found = read_vocabulary(trained).find("的")
    assert found
    assert all("的" in entry.text for entry in found)
    assert read_vocabulary(trained).find("龘") == []


def test_counts_are_those_of_a_text(trained):
    counts = tokenize_text(trained, [["的 low low"]]).counts
    vocabulary = read_vocabulary(trained, counts)
    assert sum(entry.count or 0 for entry in vocabulary.entries) == counts.sum()
    assert vocabulary.unused == len(vocabulary.entries) - np.count_nonzero(counts)
    first, second, *_ = most_used_first(list(vocabulary.entries))
    assert (first.text, first.count) == (" low", 2)
    assert (second.text, second.count) == ("的", 1)


def test_ids_that_stand_for_nothing_are_counted_apart(trained, monkeypatch):
    bytes_of = BytePairTokenizer.token_bytes
    monkeypatch.setattr(
        BytePairTokenizer,
        "token_bytes",
        lambda self, token_id: b"" if token_id == 7 else bytes_of(self, token_id),
    )
    vocabulary = read_vocabulary(trained)
    assert vocabulary.holes == 1
    assert 7 not in {entry.id for entry in vocabulary.entries}
