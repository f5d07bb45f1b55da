"""Recitation, membership and copies from numbers and texts made by hand."""

import math

import numpy as np
import pytest

from cloche.data.batches import TokensInMemory
from cloche.evaluation.memorisation import (
    copied_characters,
    copied_tokens,
    membership,
    recitation,
    summarise_copies,
)
from cloche.text.characters import CharacterTokenizer
from cloche.text.published import open_published
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN
from cloche.text.words import WordTokenizer

CHARACTERS = CharacterTokenizer("abcdefgh 春眠不觉晓。")
WORDS = WordTokenizer(["cat", "sat", "the", "there"], special=(END_OF_TEXT, UNKNOWN))


def documents(tokenizer, *texts):
    """Texts as they lie in a shard: each ends with the end-of-text token."""
    end = tokenizer.special_ids.eos
    rows = [[*tokenizer.encode(text), end] for text in texts]
    ids = np.array([token for row in rows for token in row], np.uint32)
    return TokensInMemory(ids, np.cumsum([len(row) for row in rows]), separated=True)


def test_a_recitation_counts_exact_continuations_and_how_far_the_others_go():
    found = recitation([0, 3, 10, 10], 10)
    assert found.exact.value == 0.5
    assert found.matching_tokens.value == 23 / 4
    assert found.shares_by_length == {1: 0.75, 2: 0.75, 4: 0.5, 8: 0.5, 10: 0.5}


def test_exposure_is_by_rank_among_the_held_out():
    found = membership([0.1, 2.5, 9.0], [1.0, 2.0, 3.0])
    # ranks 1, 3 and 4 of 4
    expected = [2.0, 2 - math.log2(3), 0.0]
    assert found.exposure_bits.value == pytest.approx(sum(expected) / 3)
    assert found.separation.value == pytest.approx((3 + 1 + 0) / 9)
    by_chance = sum(2 - math.log2(rank) for rank in range(1, 5)) / 4
    assert found.exposure_by_chance == pytest.approx(by_chance)
    assert found.training_nats_per_token.value == pytest.approx(11.6 / 3)


def test_spans_are_found_in_tokens_and_in_characters_but_not_over_the_end_of_a_document():
    training = documents(CHARACTERS, "春眠不觉晓。", "abcd")
    rows = [tuple(CHARACTERS.encode("e眠不觉fcd")), tuple(CHARACTERS.encode("。abcd"))]
    lengths = copied_tokens(rows, training, tokenizer=CHARACTERS)
    assert lengths == [[0, 1, 2, 3, 0, 1, 2], [1, 1, 2, 3, 4]]
    texts = [CHARACTERS.decode(row) for row in rows]
    assert copied_characters(texts, training, tokenizer=CHARACTERS) == lengths


def test_a_span_of_characters_may_begin_and_end_inside_a_token():
    training = documents(WORDS, "there sat the cat", "cat")
    row = tuple(WORDS.encode("the sat the cat cat"))
    assert max(copied_tokens([row], training, tokenizer=WORDS)[0]) == 3
    (found,) = copied_characters(["here sat the catch"], training, tokenizer=WORDS)
    assert max(found) == len("here sat the cat")


def test_characters_of_several_tokens_are_looked_for_whole(monkeypatch, shared_data):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken_cache"))
    gpt2 = open_published("gpt2")
    training = documents(gpt2, "春眠不觉晓，处处闻啼鸟。")
    (found,) = copied_characters(["眠不觉晓，处处闻X啼鸟"], training, tokenizer=gpt2)
    assert found == [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]


def test_the_summary_names_the_longest_span_and_its_text():
    texts = ["xxabc", "yy", "abcdz"]
    lengths = [[0, 0, 1, 2, 3], [0, 0], [1, 2, 3, 4, 0]]
    found = summarise_copies(lengths, least=3, show=lambda row, begin, end: texts[row][begin:end])
    assert (found.longest, found.longest_text) == (4, "abcd")
    assert found.mean_longest.value == pytest.approx(7 / 3)
    assert found.covered.value == pytest.approx((3 / 5 + 0 + 4 / 5) / 3)


def test_nothing_copied_is_a_span_of_nothing():
    found = summarise_copies([[0, 0], []], least=1, show=lambda row, begin, end: "xy"[begin:end])
    assert (found.longest, found.longest_text, found.covered.value) == (0, "", 0.0)
