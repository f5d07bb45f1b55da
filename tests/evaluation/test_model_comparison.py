"""Models with different tokenizers on one text."""

import math

import numpy as np
import pytest
import torch

from cloche.evaluation.comparison import Comparison, Measured, compare
from cloche.evaluation.measure import read_documents
from cloche.evaluation.report import BYTES, CHARACTERS, NATS, report_documents
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources

CHARACTERS_USED = "abcdé春眠 \n"


def text_of(seed, count=4_000):
    return "".join(np.random.default_rng(seed).choice(list(CHARACTERS_USED), size=count))


def table(tokenizer, folder, *, sharpness, seed=0) -> LM:
    """A bigram of random logits: the larger, the surer and the worse on a random text."""
    config = complete(
        ModelOptions(family="bigram"),
        vocab_size=tokenizer.vocab_size,
        layers=1,
        width=1,
        context=16,
    )
    torch.manual_seed(seed)
    model = build_model(config)
    with torch.no_grad():
        model.embed_tokens.weight.normal_(std=sharpness)
    return LM(model.eval(), tokenizer, config, folder)


def measured(lm, folder, name="m", *, texts=1):
    paths = []
    for number in range(texts):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(text_of(number, 4_000 // texts), encoding="utf-8")
    documents = read_documents(find_sources([str(path) for path in paths]), encoding="utf-8")
    report = report_documents(lm, documents)
    return Measured(name, str(folder), 1, lm.tokenizer.fingerprint, 16, 8, report)


@pytest.fixture(scope="module")
def characters():
    return CharacterTokenizer(CHARACTERS_USED)


@pytest.fixture(scope="module")
def bpe():
    return train_bpe([text_of(9)], vocab_size=330, rule="gpt-2")


def test_blocks_of_different_tokenizers_hold_the_same_text(characters, bpe, tmp_path):
    one = measured(table(characters, tmp_path, sharpness=1.0), tmp_path, texts=7)
    other = measured(table(bpe, tmp_path, sharpness=1.0), tmp_path, texts=7)
    assert one.report.likelihood.tokens != other.report.likelihood.tokens
    np.testing.assert_allclose(one.report.sums[:, BYTES], other.report.sums[:, BYTES])
    # a token on a boundary is shared by its bytes: a character or two may differ
    np.testing.assert_allclose(
        one.report.sums[:, CHARACTERS], other.report.sums[:, CHARACTERS], atol=3
    )


def test_a_difference_is_that_of_the_figures_with_an_error_of_its_own(characters, bpe, tmp_path):
    one = measured(table(characters, tmp_path, sharpness=0.1), tmp_path, "one")
    other = measured(table(bpe, tmp_path, sharpness=3.0), tmp_path, "other")
    found = compare(other, one)
    apart = other.report.bits_per_byte.value - one.report.bits_per_byte.value
    assert found.bits_per_byte.value == pytest.approx(apart, rel=1e-9)
    assert found.sure
    assert found.accuracy is None  # tokens of different tokenizers are no common question
    assert compare(one, other).bits_per_byte.value == pytest.approx(-apart, rel=1e-9)


def test_a_model_does_not_differ_from_itself(characters, tmp_path):
    lm = table(characters, tmp_path, sharpness=1.0)
    found = compare(measured(lm, tmp_path, "again"), measured(lm, tmp_path))
    assert found.bits_per_byte.value == 0.0
    assert found.bits_per_byte.stderr == 0.0
    assert not found.sure
    assert found.accuracy is not None
    assert found.accuracy.value == 0.0


def test_the_error_of_a_difference_is_the_spread_of_the_blocks_own_differences(
    characters, tmp_path
):
    one, other = (
        measured(table(characters, tmp_path, sharpness=0.5, seed=seed), tmp_path, str(seed))
        for seed in (0, 1)
    )
    found = compare(other, one).bits_per_byte
    costs = [each.report.sums[:, NATS] / each.report.sums[:, BYTES] for each in (one, other)]
    apart = (costs[1] - costs[0]) / math.log(2)
    # the last block is shorter and counts for less
    assert found.stderr == pytest.approx(apart.std(ddof=1) / math.sqrt(len(apart)), rel=0.1)


def test_a_comparison_tells_every_row_and_every_pair(characters, bpe, tmp_path):
    rows = tuple(
        measured(table(tokenizer, tmp_path, sharpness=1.0), tmp_path, name)
        for name, tokenizer in (("a", characters), ("b", bpe), ("c", characters))
    )
    values = Comparison(rows).to_values()
    assert [row["name"] for row in values["runs"]] == ["a", "b", "c"]
    assert "report" not in values["runs"][0]
    pairs = [(found["run"], found["other"]) for found in values["differences"]]
    assert pairs == [("b", "a"), ("c", "a"), ("c", "b")]
    assert values["differences"][0]["accuracy"] is None
    assert [found.name for found in Comparison(rows).to_first] == ["b", "c"]
