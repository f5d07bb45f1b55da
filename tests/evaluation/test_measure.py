"""Texts measured where nothing stands before them, and with what the vocabulary lacks."""

import json
import math

import pytest
import torch

import cloche
from cloche.cli.main import main
from cloche.errors import TextError
from cloche.evaluation.measure import measure_sources, measure_validation
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN
from cloche.text.words import WordTokenizer

WORDS = WordTokenizer(["dog", "the", "sat", "é"], special=(END_OF_TEXT, UNKNOWN))


def untaught(tokenizer, folder) -> LM:
    """A table to which all tokens are equally likely, and which knows no beginning."""
    options = ModelOptions(family="bigram")
    size = tokenizer.vocab_size
    config = complete(options, vocab_size=size, layers=1, width=1, context=4)
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return LM(model.eval(), tokenizer, config, folder)


def measured(tokenizer, folder, *texts):
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    sources = find_sources([str(folder)])
    return measure_sources(untaught(tokenizer, folder), sources, encoding="utf-8")


def test_the_first_word_of_a_text_is_neither_scored_nor_counted(tmp_path):
    found = measured(WORDS, tmp_path, "the dog sat", "é sat the dog sat the dog")
    assert found.tokens == 2 + 6
    assert found.nats == pytest.approx(8 * math.log(WORDS.vocab_size), rel=1e-5)
    assert found.characters == len(" dog sat") + len(" sat the dog sat the dog")
    assert found.utf8_bytes == found.characters
    assert found.unknown_tokens == 0


def test_a_text_of_one_word_is_nothing_to_measure(tmp_path):
    with pytest.raises(TextError, match="too short"):
        measured(WORDS, tmp_path, "dog")


def test_the_first_character_is_scored_after_a_newline(tmp_path):
    found = measured(CharacterTokenizer("ab\n"), tmp_path, "abab")
    assert (found.tokens, found.characters) == (4, 4)


def test_unknown_tokens_are_counted_where_they_are_scored(tmp_path):
    assert measured(WORDS, tmp_path, "cat the cow sat bird").unknown_tokens == 2
    characters = CharacterTokenizer("ab\n", with_unknown=True)
    assert measured(characters, tmp_path, "xaxb").unknown_tokens == 2


def test_a_run_of_words_is_measured_and_tells_its_unknown_tokens(tmp_path, capsys):
    book = tmp_path / "book.txt"
    text = "The small fox saw two stones near the river. " * 40
    book.write_text(text + "Quite another animal swam across the river. " * 4)
    options = {"model.family": "ngram", "text.tokenizer": "words", "train.sample_tokens": 4}
    run = cloche.train(book, out=tmp_path / "run", options=options)
    found = measure_validation(cloche.load(run.folder), run.folder)
    assert found.unknown_tokens > 0
    capsys.readouterr()
    assert main(["eval", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown_tokens"] == found.unknown_tokens
    assert main(["eval", str(run.folder)]) == 0
    assert f"warning: {found.unknown_tokens:,} tokens" in capsys.readouterr().out
