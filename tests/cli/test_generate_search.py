"""`cloche generate --beams` and `--penalty-alpha` print what was searched for."""

import json

import pytest

import cloche
from cloche.cli.main import main
from cloche.generation.beams import BeamSettings
from cloche.generation.contrastive import ContrastiveSettings
from cloche.generation.forward import ModelForward
from cloche.generation.searching import find_continuations


def json_of(capsys, *arguments: str) -> dict:
    assert main(["generate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_text_follows_the_prompt_and_the_rest_goes_to_stderr(writing_run, capsys):
    assert main(["generate", str(writing_run), "on", "--beams", "3"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "once up.\n"
    assert "7 tokens, log probability 0.00" in shown.err


def test_json_tells_the_search_and_what_it_found(writing_run, capsys):
    values = json_of(capsys, str(writing_run), "on", "--beams", "2", "--early-stopping", "never")
    assert values.pop("seconds") > 0
    [answer] = values.pop("answers")
    assert answer.pop("log_probability") == pytest.approx(0.0, abs=1e-5)
    assert answer.pop("score") == pytest.approx(0.0, abs=1e-5)
    assert answer == {"text": "ce up.", "tokens": 7, "finish_reason": "stop"}
    search = values.pop("search")
    assert (search["beams"], search["early_stopping"]) == (2, "never")
    assert values == {
        "run": str(writing_run),
        "checkpoint": str(writing_run / "checkpoints" / "step-000001"),
        "prompt": "on",
    }


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (
            ["--beams", "4", "--n", "3", "--length-penalty", "0.5", "--early-stopping", "yes"],
            BeamSettings(beams=4, n=3, length_penalty=0.5, early_stopping=True, max_tokens=9),
        ),
        (
            ["--beams", "4", "--beam-groups", "2", "--n", "4"],
            BeamSettings(beams=4, groups=2, diversity_penalty=1.0, n=4, max_tokens=9),
        ),
        (
            ["--beams", "2", "--no-repeat-ngram", "2", "--repetition-penalty", "1.3"],
            BeamSettings(beams=2, no_repeat_ngram=2, repetition_penalty=1.3, max_tokens=9),
        ),
        (
            ["--penalty-alpha", "0.4", "--top-k", "6", "--min-new-tokens", "3"],
            ContrastiveSettings(penalty_alpha=0.4, top_k=6, min_tokens=3, max_tokens=9),
        ),
        (["--penalty-alpha", "0.6"], ContrastiveSettings(penalty_alpha=0.6, max_tokens=9)),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_each_option_reaches_the_search(random_run, capsys, arguments, settings):
    values = json_of(capsys, str(random_run), "ab", "--max-new-tokens", "9", *arguments)
    lm = cloche.load(random_run)
    prompt = lm.prompt_ids("ab")
    found = find_continuations(
        ModelForward(lm.model, rows=settings.rows, capacity=len(prompt) + 9),
        prompt,
        settings,
        stop_ids=lm.stop_ids,
        vocab_size=lm.tokenizer.vocab_size,
    )
    assert [answer["tokens"] for answer in values["answers"]] == [len(one.ids) for one in found]
    scores = [answer["score"] for answer in values["answers"]]
    assert scores == pytest.approx([one.score for one in found])
    texts = [answer["text"] for answer in values["answers"]]
    assert texts == [lm.tokenizer.decode([i for i in o.ids if i not in lm.stop_ids]) for o in found]


def test_the_best_texts_are_shown_one_after_the_other(random_run, capsys):
    arguments = [str(random_run), "ab", "--beams", "3", "--n", "2", "--max-new-tokens", "6"]
    texts = [answer["text"] for answer in json_of(capsys, *arguments)["answers"]]
    assert main(["generate", *arguments]) == 0
    expected = "".join(
        f"--- {number} of 2 ---\nab{text}\n" for number, text in enumerate(texts, start=1)
    )
    assert capsys.readouterr().out.replace("\n\n", "\n") == expected.replace("\n\n", "\n")


@pytest.mark.parametrize("search", [["--beams", "2"], ["--penalty-alpha", "0.1"]], ids=str)
def test_a_stop_text_ends_the_answer_and_is_not_shown(writing_run, capsys, search):
    values = json_of(capsys, str(writing_run), "on", "--stop", "zz", "--stop", " up", *search)
    [answer] = values["answers"]
    assert (answer["text"], answer["tokens"], answer["finish_reason"]) == ("ce", 5, "stop")


def test_a_full_context_ends_the_answer_with_length(random_run, capsys):
    values = json_of(capsys, str(random_run), "abcd", "--beams", "2", "--min-new-tokens", "50")
    [answer] = values["answers"]
    assert (answer["tokens"], answer["finish_reason"]) == (13, "length")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--beams", "0"], "beams must be at least 1, got 0"),
        (["--beams", "2", "--n", "3"], "n 3 is more than 2 beams can find"),
        (["--beams", "4", "--beam-groups", "3"], "evenly into 3 groups"),
        (["--beams", "2", "--length-penalty", "nan"], "length_penalty must be in"),
        (["--length-penalty", "2"], "--length-penalty belongs to --beams"),
        (["--early-stopping", "yes"], "--early-stopping belongs to --beams"),
        (["--beam-groups", "2"], "--beam-groups belongs to --beams"),
        (["--beams", "2", "--diversity-penalty", "1"], "belongs to --beam-groups"),
        (["--beams", "2", "--penalty-alpha", "0.5"], "two kinds of search"),
        (["--penalty-alpha", "1.5"], "penalty_alpha must be in [0, 1]"),
        (["--penalty-alpha", "0.5", "--n", "2"], "leave out --n"),
        (["--beams", "2", "--top-p", "0.5"], "--top-p is for texts drawn by chance"),
        (["--beams", "2", "--top-k", "5"], "--top-k is for texts drawn by chance"),
        (["--beams", "2", "--greedy"], "--greedy is for texts drawn by chance"),
        (["--beams", "2", "--seed", "5"], "--seed is for texts drawn by chance"),
        (["--penalty-alpha", "0.5", "--rows", "5"], "leave out --rows"),
        (["--beams", "2", "--seed", "1", "--temperature", "1"], "2 settings cannot be used"),
        (["--beams", "2", "--input", "rows.jsonl", "--out", "out.jsonl"], "one prompt at a time"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_message_and_status_2(writing_run, capsys, arguments, said):
    prompt = [] if "--input" in arguments else ["on"]
    assert main(["generate", str(writing_run), *prompt, *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("cloche:") == 1


def test_a_prompt_longer_than_the_context_is_refused_or_cut_as_told(writing_run, capsys):
    asked = ["generate", str(writing_run), "o" * 21, "--beams", "2"]
    assert main(asked) == 2
    assert "21 tokens, but the context holds 20" in capsys.readouterr().err
    assert main([*asked, "--window", "--json"]) == 0
    shown = capsys.readouterr()
    assert "only its last" in shown.err
    assert json.loads(shown.out)["cut_tokens"] > 0


def test_more_beams_than_the_memory_holds_are_refused(random_run, capsys, monkeypatch):
    monkeypatch.setattr("cloche.planning.available.available_memory", lambda: 100_000)
    assert main(["generate", str(random_run), "ab", "--beams", "2000"]) == 2
    assert "2000 texts of 16 tokens at once take" in capsys.readouterr().err
    assert main(["generate", str(random_run), "ab", "--beams", "2"]) == 0


def test_damaged_weights_are_told(random_run, capsys, monkeypatch):
    opened = cloche.load(random_run)
    opened.model.embed_tokens.weight.data[:] = float("nan")
    monkeypatch.setattr("cloche.run.load", lambda *given, **named: opened)
    assert main(["generate", str(random_run), "ab", "--beams", "2"]) == 2
    assert "no usable numbers" in capsys.readouterr().err
