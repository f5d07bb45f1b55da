"""`--speculate` changes the time, never the text."""

import json

import pytest

from cloche.cli.main import main


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


def test_a_model_with_another_tokenizer_is_refused(random_run, run_of_other_characters, capsys):
    named = str(run_of_other_characters)
    assert main(["generate", str(random_run), "ab", "--speculate", named]) == 2
    assert "needs the same tokenizer" in capsys.readouterr().err


def test_a_search_is_not_guessed(random_run, capsys):
    assert main(["generate", str(random_run), "ab", "--beams", "2", "--speculate", "lookup"]) == 2
    assert "--speculate belongs to texts that are drawn" in capsys.readouterr().err
