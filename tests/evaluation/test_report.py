"""What is told of a model on a text, against counting by hand."""

import math

import numpy as np
import pytest
import torch

import cloche
from cloche.errors import CheckpointError, DataError, TextError
from cloche.evaluation.measure import (
    measure_sources,
    measure_validation,
    validation_documents,
    validation_passages,
)
from cloche.evaluation.report import report_sources, report_validation
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources
from cloche.text.words import WordTokenizer

LETTERS = "abcdefghij \n"


def bigram(tokenizer, folder, *, seed=0) -> LM:
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
        model.embed_tokens.weight.normal_(std=2.0)
    return LM(model.eval(), tokenizer, config, folder)


def text_of(count, *, seed=0):
    return "".join(np.random.default_rng(seed).choice(list(LETTERS), size=count))


@pytest.fixture
def lm(tmp_path):
    return bigram(CharacterTokenizer(LETTERS), tmp_path)


def sources(tmp_path, *texts):
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    return find_sources([str(tmp_path / f"{n}.txt") for n in range(len(texts))])


def test_accuracy_and_calibration_are_those_of_counting(lm, tmp_path):
    text = text_of(3_000)
    found = report_sources(lm, sources(tmp_path, text), encoding="utf-8")
    ids = lm.tokenizer.encode("\n" + text)
    table = torch.log_softmax(lm.model.embed_tokens.weight.detach(), dim=-1)
    rows = table[ids[:-1]]
    order = rows.argsort(dim=-1, descending=True)
    ranks = (order == torch.tensor(ids[1:])[:, None]).float().argmax(dim=-1)
    assert found.accuracy.value == pytest.approx(float((ranks == 0).float().mean()))
    assert found.shortlist_accuracy.value == pytest.approx(float((ranks < 5).float().mean()))
    confident = rows.exp().amax(dim=-1)
    assert sum(part.tokens for part in found.calibration.bins) == 3_000
    weighed = sum(part.tokens * part.confidence for part in found.calibration.bins)
    assert weighed == pytest.approx(float(confident.sum()), rel=1e-5)


def test_a_report_costs_what_measuring_costs(lm, tmp_path):
    files = sources(tmp_path, text_of(900), text_of(1_500, seed=1), "a")
    found = report_sources(lm, files, encoding="utf-8", stride=5)
    costs = measure_sources(lm, files, encoding="utf-8", stride=5)
    assert found.likelihood.nats == pytest.approx(costs.nats, rel=1e-6)
    assert found.likelihood.tokens == costs.tokens == 2_401
    values = found.to_values()
    assert values["nats_per_token"] == pytest.approx(costs.nats_per_token, rel=1e-6)
    assert values["perplexity"] == pytest.approx(costs.perplexity, rel=1e-6)
    low, high = values["bits_per_byte_interval"]
    assert low < values["bits_per_byte"] < high
    # of a character each, all of one byte: the errors are the same in other units
    assert values["bits_per_byte_stderr"] == pytest.approx(
        values["nats_per_token_stderr"] / math.log(2)
    )


def test_the_standard_error_is_about_the_spread_over_many_texts(lm, tmp_path):
    means, errors = [], []
    for seed in range(25):
        found = report_sources(lm, sources(tmp_path, text_of(3_000, seed=seed)), encoding="utf-8")
        means.append(found.nats_per_token.value)
        errors.append(found.nats_per_token.stderr)
    assert np.mean(errors) == pytest.approx(np.std(means, ddof=1), rel=0.4)


def test_a_text_whose_first_token_is_not_scored_keeps_its_place(tmp_path):
    words = WordTokenizer(["dog", "the", "sat"], special=("<|endoftext|>", "<|unk|>"))
    files = sources(tmp_path, "the dog sat the dog. " * 200, "  \n ", "dog sat the dog")
    found = report_sources(bigram(words, tmp_path), files, encoding="utf-8")
    costs = measure_sources(bigram(words, tmp_path), files, encoding="utf-8")
    assert found.likelihood.nats == pytest.approx(costs.nats, rel=1e-6)
    assert found.likelihood.tokens == costs.tokens
    total = sum(len(file.path.read_bytes()) for file in files)
    assert len(found.sums) == math.ceil(total / found.block_bytes)


def test_a_short_text_has_figures_and_no_errors(lm, tmp_path):
    values = report_sources(lm, sources(tmp_path, "abc"), encoding="utf-8").to_values()
    assert values["nats_per_token"] > 0
    for name in ("nats_per_token_stderr", "bits_per_byte_interval", "perplexity_interval"):
        assert values[name] is None
    with pytest.raises(TextError, match="no text"):
        report_sources(lm, sources(tmp_path, ""), encoding="utf-8")


def test_a_model_of_no_numbers_is_refused(lm, tmp_path):
    with torch.no_grad():
        lm.model.embed_tokens.weight[3] = math.nan
    with pytest.raises(CheckpointError, match="no numbers"):
        report_sources(lm, sources(tmp_path, text_of(100)), encoding="utf-8")


def test_what_a_model_takes_for_impossible_is_named(lm, tmp_path):
    with torch.no_grad():
        lm.model.embed_tokens.weight[:, lm.tokenizer.encode("b")[0]] = -math.inf
    with pytest.raises(DataError, match="impossible"):
        report_sources(lm, sources(tmp_path, "aaab"), encoding="utf-8")


@pytest.fixture(scope="module")
def counted_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rows = folder / "rows.jsonl"
    lines = [f'{{"text": "The fox {n} saw {n * 7} stones 春眠."}}' for n in range(1200)]
    rows.write_text("\n".join(lines), encoding="utf-8")
    runs = []
    for kind in ("bpe", "words"):
        options = {
            "model.family": "ngram",
            "text.tokenizer": kind,
            "text.vocab_size": 300 if kind == "bpe" else None,
            "train.sample_tokens": 0,
        }
        given = {name: value for name, value in options.items() if value is not None}
        runs.append(cloche.train(rows, out=folder / kind, options=given).folder)
    return runs


def test_the_validation_part_is_reported_whole(counted_runs):
    run = counted_runs[0]
    lm = cloche.load(run)
    found = report_validation(lm, run)
    costs = measure_validation(lm, run)
    assert found.likelihood.nats == pytest.approx(costs.nats, rel=1e-5)
    assert found.likelihood.tokens == costs.tokens
    assert found.nats_per_token.stderr is not None


def test_the_validation_part_becomes_text_again(counted_runs):
    texts = ["".join(document.pieces()) for document in validation_documents(counted_runs[0])]
    assert texts[-1] == "The fox 1199 saw 8393 stones 春眠."
    assert len(texts) > 10


def test_tokens_that_do_not_hold_the_text_are_refused_for_other_models(counted_runs):
    with pytest.raises(DataError, match="name a text"):
        list(validation_documents(counted_runs[1]))


def test_passages_of_the_validation_part_name_what_is_unknown(counted_runs):
    run = counted_runs[1]
    lm = cloche.load(run)
    passages = list(validation_passages(lm, run))
    assert "".join(text for text, _ in passages[-1].pieces).startswith(
        "The fox <|unk|> saw <|unk|>"
    )
    tokens = sum(len(passage.tokens.tokens) for passage in passages)
    assert tokens + len(passages) == measure_validation(lm, run).tokens  # and a document's end each
