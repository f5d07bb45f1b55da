import pytest

from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.comparison import measure_compression


def test_a_tokenizer_is_measured_on_a_text():
    text = "low 龘"
    tokenizer = train_bpe(["low low low"], vocab_size=258, rule="gpt-2")
    found = measure_compression("mine", tokenizer, [[text]])
    ids = tokenizer.encode(text)
    assert (found.tokenizer, found.vocab_size) == ("mine", tokenizer.vocab_size)
    assert found.tokens == len(ids)
    assert found.bytes_per_token == pytest.approx(7 / len(ids))
    assert found.characters_per_token == pytest.approx(5 / len(ids))
    assert found.split_share == pytest.approx(3 / len(ids))  # the three bytes of 龘
    assert found.used == len(set(ids))
    assert found.unknown == 0


def test_unknown_tokens_are_counted():
    tokenizer = CharacterTokenizer("ab", with_unknown=True)
    found = measure_compression("characters", tokenizer, [["abxyx"]])
    assert found.unknown == 3
    assert found.split_share == 0.0
