"""`cloche plan`: what a training would take; nothing is trained here."""

import json
from pathlib import Path

import pytest

from cloche.cli.main import main
from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all
from cloche.data.prepare import prepare_text
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.planning.laws import Law
from cloche.planning.memory import TOKENIZER_BYTES, copy_bytes, training_memory
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources
from cloche.training.choices import options_of
from cloche.training.folder import write_options
from cloche.training.options import RunOptions, TrainOptions
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.history import point

TEXT = "The fox saw two stones near the river, and the old hen saw ten more.\n" * 60
SMALL = ["--model.layers", "2", "--model.width", "64", "--model.context", "32"]
H100 = ["--machine", "h100"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CLOCHE_DATA", raising=False)
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def planned(capsys, *arguments):
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    assert main(["plan", *arguments]) == 2
    return capsys.readouterr().err


def test_a_text_is_counted_and_planned_for(capsys):
    found = planned(capsys, "book.txt", *SMALL, *H100, "--tokens", "1e6")
    text = found["text"]
    assert text["characters"] == len(TEXT)
    assert text["tokens"] == len(TEXT)  # a small text in a small alphabet: characters
    assert text["train_tokens"] == int(0.9 * len(TEXT))
    parameters = found["parameters"]
    total = parameters.pop("total")
    del parameters["active"], parameters["matrices"]
    assert sum(parameters.values()) == total
    assert found["training"]["tokens"] == pytest.approx(1e6, rel=0.01)
    assert found["laws"]["llama_2_copies"] == pytest.approx(2e12 / len(TEXT))
    assert found["laws"]["passes"] == pytest.approx(1e6 / text["train_tokens"], rel=0.01)
    assert found["machine"]["utilisation_is"] == "assumed"
    assert found["time"]["dollars"] == pytest.approx(6.88 * found["time"]["device_hours"])
    assert not (Path.cwd() / "runs").exists()


def test_the_memory_is_that_of_the_formula(capsys):
    found = planned(capsys, *SMALL, *H100, "--text.vocab-size", "1000", "--train.batch", "8")
    config = complete(ModelOptions(), vocab_size=1000, layers=2, width=64, context=32)
    memory = training_memory(
        config, batch=8, precision="bfloat16", optimizer="muon", attention="fused"
    )
    copies = copy_bytes(config, optimizer="muon")
    assert found["memory"]["total"] == memory.total + TOKENIZER_BYTES + copies
    assert (found["memory"]["micro_batch"], found["memory"]["accumulate"]) == (8, 1)
    assert found["parameters"]["total"] == parameter_count(config)


def test_parts_and_devices_that_were_asked_for_are_kept(capsys):
    found = planned(capsys, *SMALL, *H100, "--train.accumulate", "3", "--devices", "2")
    assert found["memory"]["accumulate"] == 3
    assert found["training"]["batch"] == 2 * 3 * found["memory"]["micro_batch"]


def test_this_machine_is_measured(capsys):
    found = planned(capsys, "book.txt", *SMALL, "--minutes", "1")
    assert found["machine"]["utilisation_is"] == "measured"
    assert 0 < found["machine"]["utilisation"] < 1.5
    assert found["time"]["seconds"] == pytest.approx(60, rel=0.2)
    assert found["time"]["dollars"] is None


def test_a_plan_without_a_text_follows_chinchilla_and_says_what_it_assumed(capsys):
    found = planned(capsys, *SMALL, *H100)
    assert found["training"]["tokens"] == pytest.approx(20 * found["parameters"]["total"], rel=0.01)
    assert "a vocabulary of 32,768 is assumed" in found["notes"][0]


def test_the_screen_tells_each_part(capsys):
    assert main(["plan", "book.txt", *SMALL, *H100, "--devices", "8", "--price", "2"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "Text: book.txt",
        "operations a token",
        "activations",
        "sequences at once",
        "8 x NVIDIA H100",
        "40.0%, assumed; published are 21% to 46%",
        "$2.00 a device hour: as given",
        "Chinchilla's 20",
        "Kaplan, N ~ C^0.73",
        "passes teach as",
        "Llama 2's 2 trillion",
        "184,320 A100 hours",
        "$691,200",
    ):
        assert words in printed


def test_what_does_not_fit_is_told_with_the_ways_out(capsys):
    large = ["--model.layers", "48", "--model.width", "8192", "--model.context", "2048"]
    assert main(["plan", *large, "--machine", "t4", "--tokens", "1e9"]) == 0
    printed = capsys.readouterr().out
    assert "does not fit" in printed
    assert "Each of these would fit:" in printed
    assert "\n  time " not in printed
    found = planned(capsys, *large, "--machine", "t4", "--tokens", "1e9")
    assert found["memory"]["fits"] is False
    assert found["memory"]["changes"]
    assert found["time"]["seconds"] is None


def test_a_recipe_is_planned_by_its_name_or_file(capsys, here):
    found = planned(capsys, "babygpt", *H100)
    assert found["model"]["family"] == "gpt"
    assert (found["training"]["steps"], found["training"]["batch"]) == (3000, 128)
    (here / "mine.toml").write_text("[model]\nlayers = 3\nwidth = 96\n", encoding="utf-8")
    assert planned(capsys, "mine.toml", *H100)["model"]["layers"] == 3
    with_text = planned(capsys, "book.txt", "--recipe", "mine.toml", *H100)
    assert (with_text["model"]["width"], with_text["text"]["name"]) == (96, "book.txt")
    wins = planned(capsys, "babygpt", *H100, "--tokens", "1e6", "--model.layers", "2")
    assert wins["model"]["layers"] == 2
    assert wins["training"]["tokens"] == pytest.approx(1e6, rel=0.01)


def save_run(run: Path, *, width=32, losses=(3.0, 2.0), every=100, text=TEXT):
    """A run as training leaves it, with losses that are given."""
    run.mkdir(parents=True)
    source = run.parent / f"{run.name}.txt"
    source.write_text(text, encoding="utf-8")
    sources = find_sources([str(source)])
    prepared = prepare_text(
        run / "tokens",
        sources,
        inspect_all(sources, TextOptions()),
        text=TextOptions(),
        data=DataOptions(),
        tell=lambda _: None,
    )
    size = prepared.tokenizer.vocab_size
    config = complete(ModelOptions(), vocab_size=size, layers=1, width=width, context=16)
    train = TrainOptions(steps=len(losses) * every, batch=4, optimizer="muon")
    write_options(run, RunOptions((str(source),), model=options_of(config), train=train))
    rows = [
        {"step": number * every, "time": 0.0, "eval/loss": loss}
        for number, loss in enumerate(losses, start=1)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    checkpoint = run / "checkpoints" / f"step-{len(losses) * every:06}"
    checkpoint.parent.mkdir()
    save_checkpoint(
        checkpoint, model=build_model(config), config=config, tokenizer=prepared.tokenizer, card=""
    )
    point(run, "latest", checkpoint)
    return config


def test_a_run_is_planned_with_its_own_model_and_text(capsys, here):
    config = save_run(here / "runs" / "a")
    found = planned(capsys, "runs/a", *H100)
    assert found["parameters"]["total"] == parameter_count(config)
    assert found["training"]["steps"] == 200
    assert found["text"]["characters"] == len(TEXT)
    again = planned(capsys, "runs/a", *H100, "--train.batch", "8")["training"]
    assert (again["steps"], again["batch"], again["optimizer"]) == (200, 8, "muon")
    assert planned(capsys, "runs/a", *H100, "--minutes", "2")["time"]["seconds"] > 100
    checkpoint = planned(capsys, "runs/a/latest", *H100, "--tokens", "1e6")
    assert checkpoint["text"] is None
    assert "leave out: model.layers" in refused(capsys, "runs/a", "--model.layers", "3", *H100)


LAW = Law(1.0, 200.0, 0.5, 30.0, 0.4)


def save_runs(here):
    """Nine runs whose losses lie on a law."""
    names = []
    for width in (32, 64, 96):
        for every in (50, 200, 800):
            run = here / "runs" / f"w{width}-{every}"
            size = parameter_count(
                complete(ModelOptions(), vocab_size=22, layers=1, width=width, context=16)
            )
            losses = [LAW.loss(size, k * every * 64) for k in (1, 2)]
            config = save_run(run, width=width, losses=losses, every=every)
            assert parameter_count(config) == size
            names.append(str(run))
    return names


def test_a_law_is_fitted_to_runs_and_drawn(capsys, here):
    names = save_runs(here)
    assert main(["plan", "--fit", *names, "--out", "law.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["law"]["token_exponent"] == pytest.approx(LAW.token_exponent, rel=0.02)
    assert found["law"]["parameter_exponent"] == pytest.approx(LAW.parameter_exponent, rel=0.02)
    assert found["which"] == "last"
    assert [each["times"] for each in found["predictions"]] == [2, 10, 2, 10]
    first = found["predictions"][0]
    assert first["loss"] == pytest.approx(LAW.loss(first["parameters"], first["tokens"]), rel=1e-3)
    assert first["low"] <= first["loss"] * 1.001
    assert (here / "law.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_run_gives_a_law_of_its_tokens(capsys, here):
    losses = [1.5 + 100 / (k * 100 * 64) ** 0.5 for k in range(1, 9)]
    save_run(here / "runs" / "one", losses=losses)
    assert main(["plan", "--fit", "runs/one"]) == 0
    printed = capsys.readouterr().out
    assert "Law of 8 evaluations of 1 run, 1 size" in printed
    assert "L = 1.5000 + 100 / D^0.500" in printed
    assert "10 times the tokens" in printed
    assert "the evaluations within each run" in printed
    assert "learning rate had not come down" in printed


def test_runs_that_cannot_be_compared_are_named(capsys, here):
    save_run(here / "runs" / "a")
    save_run(here / "runs" / "b", text=TEXT.upper())
    message = refused(capsys, "--fit", "runs/a", "runs/b")
    assert "different texts" in message
    assert "runs/a" in message
    assert "runs/b" in message
    assert "at least 5 evaluations" in refused(capsys, "--fit", "runs/a")
    assert "is no run that cloche trained" in refused(capsys, "--fit", "runs/none")
    assert "names a run twice" in refused(capsys, "--fit", "runs/a", "runs/a")
    assert "takes an image file" in refused(capsys, "--fit", "runs/a", "--out", "law.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "0"], "--tokens must be above 0"),
        (["--devices", "0"], "--devices must be above 0"),
        (["--utilisation", "40"], "--utilisation is a share from 0 to 1"),
        (["--tokens", "1e6", "--minutes", "3"], "give one of them"),
        (["--tokens", "1e6", "--train.steps", "3"], "give one"),
        (["--out", "x.png"], "belong to --fit"),
        (["book.txt", "--fit", "runs/a"], "leave book.txt out"),
        (["--machine", "h10"], "did you mean h100"),
        (["none.txt"], "none.txt does not exist"),
        (["-"], "reads no standard input"),
        (["book.txt", "--model.family", "seq2seq"], "not pairs"),
        (["--model.family", "ngram"], "counted, not trained"),
        (["--train.batch", "3", "--devices", "2", *H100], "cannot be shared by 2 devices"),
    ],
)
def test_mistakes_are_told(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_a_device_without_bfloat16_is_planned_in_float16_and_refuses_it(capsys):
    t4 = (*SMALL, "--machine", "t4", "--tokens", "1e6")
    assert planned(capsys, *t4)["training"]["precision"] == "float16"
    assert main(["plan", *t4, "--train.precision", "bfloat16"]) == 2
    assert "t4 has no bfloat16" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_left_out_of_a_law_and_told(capsys, here):
    names = save_runs(here)
    assert main(["plan", "--fit", *names, "runs/none", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(note.startswith("left out: runs/none is no run") for note in notes)
