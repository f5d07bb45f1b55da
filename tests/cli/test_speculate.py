"""`--speculate` changes the time, never the text."""

import json

import pytest
import torch

from cloche.cli.main import main
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from conftest import save_run


def answers_of(capsys, *arguments: str) -> list[str]:
    assert main(["generate", *arguments, "--json"]) == 0
    return [answer["text"] for answer in json.loads(capsys.readouterr().out)["answers"]]


@pytest.mark.parametrize("guesser", ["lookup", "itself"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_text_is_the_same_with_guesses(random_run, capsys, guesser, precision):
    named = str(random_run) if guesser == "itself" else guesser
    usual = [str(random_run), "abcabcab", "--n", "3", "--seed", "4", "--precision", precision]
    texts = answers_of(capsys, *usual)
    assert answers_of(capsys, *usual, "--speculate", named) == texts
    assert len(set(texts)) == 3


def test_a_model_with_another_tokenizer_is_refused(random_run, tmp_path, capsys):
    tokenizer = CharacterTokenizer(set("xyz"))
    options = ModelOptions()
    size = tokenizer.vocab_size
    config = complete(options, vocab_size=size, layers=1, width=32, context=16)
    torch.manual_seed(0)
    other = save_run(tmp_path / "other", build_model(config), config, tokenizer)
    assert main(["generate", str(random_run), "ab", "--speculate", str(other)]) == 2
    assert "needs the same tokenizer" in capsys.readouterr().err


def test_a_search_is_not_guessed(random_run, capsys):
    assert main(["generate", str(random_run), "ab", "--beams", "2", "--speculate", "lookup"]) == 2
    assert "--speculate belongs to texts that are drawn" in capsys.readouterr().err
