from pathlib import Path

import pytest

from cloche.bench import quality, textbook
from cloche.bench.paired import Timing
from cloche.bench.quality import Quality, RaceResult, measure_cloche, measure_textbook, race
from cloche.errors import ClocheError, SettingError
from cloche.training.start import train

TEXT = "".join(
    f"The {animal} saw {number} {thing}s.\r\n"
    for animal in ("fox", "hen", "dog", "owl", "cat")
    for number in ("two", "ten", "five")
    for thing in ("stone", "leaf", "boat", "lamp")
)
TINY = textbook.Recipe(layers=1, heads=1, width=8, context=8, batch=2, steps=2, eval_every=2)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def in_this_process(monkeypatch):
    """Both sides take no process of their own and a second of pretended time; their arguments."""
    given = []

    def time_textbook(text, file, *, steps, seed):
        given.append(("textbook", steps, seed))
        textbook.train(
            text.read_bytes().decode(), file, recipe=TINY, seed=int(seed), tell=lambda _: None
        )
        return 8.0

    def time_cloche(text, run, *, options, seed):
        given.append(("cloche", tuple(options), seed))
        sizes = {"model.layers": 1, "model.width": 16, "model.context": 8, "train.batch": 2}
        chosen = dict(option.split("=") for option in options)
        steps: dict[str, float] = {"train.steps": 2, "train.sample_tokens": 0}
        if "data.split" in chosen:
            steps["data.split"] = float(chosen["data.split"])
        train(text, out=run, options={**sizes, **steps}, listeners=[])
        return 2.0

    monkeypatch.setattr(quality, "_time_textbook", time_textbook)
    monkeypatch.setattr(quality, "_time_cloche", time_cloche)
    return given


def test_both_sides_are_raced_and_measured_on_the_same_part(text, in_this_process):
    told = []
    found = race(text, options=[], steps=7, rounds=1, tell=told.append)
    assert in_this_process == [("textbook", 7, "0"), ("cloche", (), "0")]
    values = found.to_values()
    assert values["ratios"] == {"cloche over textbook": 4.0}
    assert values["sides"]["cloche"]["seconds"] == [2.0]
    for side in values["sides"].values():
        for nats in side["nats_per_character"]:
            assert 1.0 < nats["overlapping"] < 5.0
            assert 1.0 < nats["end_to_end"] < 5.0
    assert "8.0 s to " in told[0]
    assert "4.00 times as soon" in found.lines()[-1]


def test_each_round_has_a_seed_of_its_own(text, monkeypatch):
    seeds = []

    def run(*_places, seed, **_options):
        seeds.append(seed)
        return 1.0

    for name in ("_time_textbook", "_time_cloche"):
        monkeypatch.setattr(quality, name, run)
    for name in ("measure_textbook", "measure_cloche"):
        monkeypatch.setattr(quality, name, lambda *_, **__: Quality(2.0, 2.0))
    race(text, options=[], steps=7, rounds=3, tell=lambda _: None)
    assert seeds == ["0", "0", "1", "1", "2", "2"]


def test_another_cut_is_refused(text, in_this_process):
    options = ["data.split=0.5"]
    with pytest.raises(SettingError, match=r"leave --data\.split"):
        race(text, options=options, steps=1, rounds=1, tell=lambda _: None)


def test_both_measures_are_one_function_of_the_same_tokens(text, tmp_path):
    """A model that knows nothing costs log of the vocabulary, on either side."""
    run, file = tmp_path / "run", tmp_path / "model.safetensors"
    characters = sorted(set(TEXT))
    torch_model = textbook.GPT(len(characters), TINY)
    torch_model.tokens.weight.data.zero_()
    textbook.save(torch_model, characters, file)
    validation = TEXT[int(0.9 * len(TEXT)) :]
    blank = measure_textbook(file, validation)
    assert blank.overlapping == pytest.approx(blank.end_to_end)
    assert blank.overlapping == pytest.approx(3.33, abs=0.4)
    options = {
        "train.steps": 1,
        "train.learning_rate": 1e-6,
        "train.sample_tokens": 0,
        "model.layers": 1,
        "model.width": 16,
        "model.context": 8,
        "text.tokenizer": "characters",
    }
    train(text, out=run, options=options, listeners=[])
    found = measure_cloche(run, characters=len(validation))
    assert found.end_to_end == pytest.approx(blank.end_to_end, abs=0.2)


@pytest.mark.parametrize(
    ("ours", "reached"),
    [
        ([Quality(1.8, 1.9), Quality(1.7, 1.8)], True),
        ([Quality(1.8, 1.9), Quality(1.9, 1.8)], False),
        ([Quality(1.8, 2.1), Quality(1.7, 1.8)], False),
    ],
)
def test_a_quality_is_reached_where_every_round_is_as_good_in_both_ways(ours, reached):
    timings = {name: Timing(name, (1.0, 1.0)) for name in ("textbook", "cloche")}
    theirs = (Quality(1.85, 2.0), Quality(1.85, 2.0))
    found = RaceResult(timings, {"textbook": theirs, "cloche": tuple(ours)}, 2000, ())
    assert found.reached() is reached
    assert ("NOT" in found.lines()[-1]) is not reached


def test_a_side_ends_when_it_says_that_it_has_saved():
    slow_to_leave = "import time; print('{\"saved\": 1}', flush=True); time.sleep(0.6)"
    assert quality._time(["-c", slow_to_leave]) < 0.6
    assert quality._time(["-c", "import time; print('text'); time.sleep(0.3)"]) > 0.3


def test_a_side_that_fails_is_told_with_what_it_wrote():
    with pytest.raises(ClocheError, match=r"ended with status 3:\nno text"):
        quality._time(["-c", "import sys; print('no text', file=sys.stderr); sys.exit(3)"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"short\n", "has 6 characters and 1 ends of lines: the recipe needs 650"),
        (b"x" * 1000, "0 ends of lines"),
        (b"caf\xe9\n" * 1000, "is no UTF-8"),
    ],
)
def test_a_text_that_the_recipe_cannot_learn_is_refused(tmp_path, data, message):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(SettingError, match=message):
        race(path, options=[], steps=1, rounds=1, tell=lambda _: None)


def test_a_text_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"none\.txt cannot be opened"):
        race(tmp_path / "none.txt", options=[], steps=1, rounds=1, tell=lambda _: None)


def test_each_side_is_started_with_its_text_place_and_seed(monkeypatch):
    found = []

    def take_note(arguments):
        found.append(arguments)
        return 1.0

    monkeypatch.setattr(quality, "_time", take_note)
    quality._time_cloche(Path("a.txt"), Path("run"), options=["--minutes", "1"], seed="3")
    quality._time_textbook(Path("a.txt"), Path("model"), steps=5, seed="3")
    assert found == [
        ["-m", "cloche", "train", "a.txt", "--out", "run", "--train.seed", "3", "--minutes", "1"],
        ["-m", "cloche.bench.textbook", "a.txt", "model", "--steps", "5", "--seed", "3"],
    ]
