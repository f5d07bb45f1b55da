"""`cloche eval` on texts: figures, files and pictures, comparisons, and what it refuses."""

import json

import pytest

import cloche
from cloche.cli.main import main
from cloche.data.stories.corpus import stories_text


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text(stories_text("en", size_bytes=40_000, seed=3), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def counted(book):
    """Two runs on one text: of words of bytes, and of characters."""
    runs = []
    for kind, options in (("bpe", {"text.vocab_size": 400}), ("characters", {})):
        given = {"model.family": "ngram", "train.sample_tokens": 0, "text.tokenizer": kind}
        runs.append(cloche.train(book, out=book.parent / kind, options=given | options).folder)
    return [str(run) for run in runs]


def outcome(capsys, *arguments):
    capsys.readouterr()
    status = main(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_figures_come_with_errors_on_screen_and_in_json(counted, capsys):
    status, printed, _ = outcome(capsys, counted[0])
    assert status == 0
    for words in ("±", "next token right", "calibration error", "95% interval", "perplexity"):
        assert words in printed
    status, printed, told = outcome(capsys, counted[0], "--json")
    values = json.loads(printed)
    assert (status, told) == (0, "")
    for name in ("nats_per_token", "bits_per_byte", "nats_per_character", "accuracy"):
        low, high = values[f"{name}_interval"]
        assert low < values[name] < high
        assert values[f"{name}_stderr"] > 0
    assert values["accuracy"] < values["top5_accuracy"]
    assert sum(part["tokens"] for part in values["reliability"]) == values["tokens"]
    low, high = values["perplexity_interval"]
    assert low < values["perplexity"] < high


def test_surprisal_goes_to_a_page_or_to_json(counted, book, capsys, tmp_path):
    for name in ("page.html", "page.json"):
        path = tmp_path / name
        status, printed, told = outcome(
            capsys,
            *(counted[0], book, "--surprisal", path),
            *("--surprisal-limit", 300, "--alternatives", 2, "--json"),
        )
        assert (status, json.loads(printed)["run"]) == (0, counted[0])
        assert "--surprisal-limit takes more" in told
    found = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    document = found["documents"][0]
    assert book.read_text(encoding="utf-8").startswith(document["text"])
    assert 0 < len(document["tokens"]) <= 300
    assert len(document["tokens"][5]["alternatives"]) == 2
    assert "Only the first" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_surprisal_of_the_validation_part_is_all_of_it(counted, capsys, tmp_path):
    path = tmp_path / "all.json"
    status, printed, _ = outcome(capsys, counted[1], "--surprisal", path, "--json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert status == 0
    assert not found["limited"]
    assert (
        sum(len(each["text"]) for each in found["documents"]) == json.loads(printed)["characters"]
    )


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_pictures_are_drawn_of_calibration_and_of_intervals(ending, counted, capsys, tmp_path):
    one, several = tmp_path / f"one{ending}", tmp_path / f"several{ending}"
    assert outcome(capsys, counted[0], "--plot", one)[0] == 0
    assert outcome(capsys, counted[0], "--compare", counted[1], "--plot", several)[0] == 0
    for path in (one, several):
        assert path.stat().st_size > 1_000
    assert sorted(tmp_path.iterdir()) == sorted([one, several])


def test_runs_are_compared_on_the_first_ones_validation_part(counted, capsys):
    status, printed, told = outcome(capsys, counted[0], "--compare", counted[1], "--json")
    values = json.loads(printed)
    assert status == 0
    assert "warning" not in told  # both keep the same text for validation
    one, other = values["runs"]
    assert [one["name"], other["name"]] == counted
    assert one["characters"] == other["characters"]
    assert one["tokens"] < other["tokens"]
    (found,) = values["differences"]
    apart = other["bits_per_byte"] - one["bits_per_byte"]
    assert found["bits_per_byte"] == pytest.approx(apart, rel=1e-6)
    low, high = found["bits_per_byte_interval"]
    assert low < apart < high
    # the same pages are hard for both
    assert (
        found["bits_per_byte_stderr"] < one["bits_per_byte_stderr"] + other["bits_per_byte_stderr"]
    )
    alone = json.loads(outcome(capsys, counted[1], "--json")[1])
    assert other["bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=1e-5)


def test_counted_ngrams_are_a_row(counted, capsys):
    status, printed, _ = outcome(capsys, counted[1], "--ngram")
    assert status == 0
    assert "n-grams up to" in printed
    assert "within chance" in printed  # a run of n-grams beside the same n-grams
    values = json.loads(outcome(capsys, counted[1], "--ngram", "--json")[1])
    run, ngrams = values["runs"]
    assert ngrams["bits_per_byte"] == pytest.approx(run["bits_per_byte"], rel=1e-6)
    assert values["differences"][0]["bits_per_byte"] == pytest.approx(0.0, abs=1e-9)


def test_a_run_that_may_have_learned_the_text_is_told(counted, random_run, capsys):
    status, _, told = outcome(capsys, counted[0], "--compare", random_run)
    assert f"nothing says that {random_run} never learned" in told
    assert status == 2  # it knows few characters, and none to stand for the others
    assert "Traceback" not in told


def test_a_text_names_what_is_compared(counted, capsys, tmp_path):
    text = tmp_path / "new.txt"
    text.write_text("The small fox saw two stones near the river.\n" * 60, encoding="utf-8")
    status, printed, told = outcome(capsys, counted[0], text, "--compare", counted[1])
    assert status == 0
    assert printed.startswith(f"{text}: 2,700 characters")
    assert "warning" not in told
    short = tmp_path / "short.txt"
    short.write_text("The fox.", encoding="utf-8")
    assert "too short" in outcome(capsys, counted[0], short, "--compare", counted[1])[1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--surprisal", "x.txt"], "--surprisal writes .json, .html"),
        (["--plot", "x.bmp"], "--plot writes .png, .svg, .pdf"),
        (["--plot", "nowhere/x.png"], "there is no folder nowhere"),
        (["--alternatives", "3"], "only with --surprisal"),
        (["--surprisal-limit", "3"], "only with --surprisal"),
        (["--surprisal", "x.json", "--alternatives", "-1"], "must not be negative, got -1"),
        (["--surprisal", "x.json", "--surprisal-limit", "0"], "at least 1, got 0"),
        (["--surprisal", "x.json", "--ngram"], "leave out --compare and --ngram"),
        (["--stride", "0"], "--stride must be at least 1, got 0"),
        (["--limit", "3"], "--tasks"),
        (["--writing-prompts", "3"], "--writing"),
    ],
)
def test_what_cannot_be_used_is_told_before_a_model_is_opened(given, told, capsys):
    status, printed, said = outcome(capsys, "no-such-run", *given)
    assert (status, printed) == (2, "")
    assert told in said


def test_all_problems_are_told_at_once(capsys):
    status, _, said = outcome(
        capsys, "no-such-run", "--plot", "x.bmp", "--surprisal", "x.txt", "--alternatives", "-2"
    )
    assert status == 2
    assert "3 settings cannot be used" in said


def test_a_run_without_a_text_has_no_ngrams_to_count(random_run, book, capsys):
    status, _, said = outcome(capsys, random_run, book, "--ngram")
    assert status == 2
    assert f"{random_run} holds no text of its own" in said


def test_what_cannot_be_compared_is_told_before_anything_is_measured(counted, capsys):
    status, _, said = outcome(
        capsys, counted[0], "--compare", "nowhere", "--compare", counted[1], "--stride", "999999"
    )
    assert status == 2
    assert "nowhere" in said
    assert f"--stride must be from 1 to the context of {counted[1]}" in said
    assert "measured" not in said


def test_a_picture_that_cannot_be_written_is_a_message(counted, capsys, tmp_path):
    (tmp_path / "x.png").mkdir()
    status, _, said = outcome(capsys, counted[0], "--plot", tmp_path / "x.png")
    assert status == 2
    assert "is a folder" in said
