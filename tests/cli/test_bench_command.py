import json

import pytest

from cloche.bench import quality, search, training
from cloche.bench.paired import Timing
from cloche.bench.processes import TrainerProcess
from cloche.bench.quality import Quality, RaceResult
from cloche.bench.sizes import TrainerSetup
from cloche.cli.main import main


class KnownProcess(TrainerProcess):
    """Stands in for a process that trains."""

    def __init__(self, setup: TrainerSetup) -> None:
        self.setup = setup
        self.about = {
            "precision": "bfloat16",
            "compiled": setup.compile == "on",
            "start_seconds": 2.0,
            "first_step_seconds": 1.5,
        }

    def close(self) -> None:
        """There is nothing to end."""

    def steps(self, seconds: float) -> dict[str, float]:
        batch = self.setup.batch
        return {"steps": 2, "tokens": 2 * batch, "seconds": 0.1 * batch}  # no batch is faster

    def peak(self, precision: str) -> float:
        return 1e9

    def memory(self) -> dict[str, int]:
        return {"peak_bytes": 2_000_000_000, "before_bytes": 100_000_000}


@pytest.fixture
def _known_processes(monkeypatch):
    for module in (training, search):
        monkeypatch.setattr(module, "TrainerProcess", KnownProcess)


@pytest.mark.usefixtures("_known_processes")
def test_json_holds_speeds_peaks_ratios_and_memory(capsys):
    arguments = ["--sizes", "0.8M,124M", "--batch", "4,best", "--rounds", "2", "--seconds", "0.5"]
    chosen = ["--sides", "textbook,cloche", "--context", "6", "--memory-batch", "3"]
    assert main(["bench", "train", *arguments, *chosen, "--json"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert (values["rounds"], values["seconds"], values["optimizer"]) == (2, 0.5, "adamw")
    shown = [(size["size"], size["batch"]) for size in values["sizes"]]
    assert shown == [("0.8M", 4), ("0.8M", "best"), ("124M", 4), ("124M", "best")]
    for size in values["sizes"]:
        assert size["model"]["context"] == 6
        assert list(size["sides"]) == ["textbook", "cloche"]
        for side in size["sides"].values():
            assert side["tokens_per_second"] > 0
            assert side["first_step_seconds"] == 1.5
            assert side["compiled"] is True
            assert set(side["utilisation"]) == {"float32", "bfloat16"}
        assert size["matmul_flops_per_second"]["float32"] == pytest.approx([1e9, 1e9])
        assert list(size["ratios"]) == ["cloche over textbook"]
    assert {name: values["memory"][name] for name in ("size", "batch", "context")} == {
        "size": "124M",
        "batch": 3,
        "context": 6,
    }
    assert values["memory"]["ratios"] == {"cloche over textbook": 1.0}
    assert "round 1 of 2: cloche" in captured.err


@pytest.mark.usefixtures("_known_processes")
def test_a_screen_shows_speeds_and_memory_unless_left_out(capsys):
    arguments = ["--sizes", "10M", "--rounds", "1", "--compile", "off"]
    assert main(["bench", "train", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "10M, context 256; matrix-multiply peak: float32 1 GFLOP/s" in shown
    assert "not compiled" in shown
    assert "10M, batch 8, context 256: most memory" in shown
    assert main(["bench", "train", *arguments, "--memory-batch", "0"]) == 0
    assert "memory" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
        (["--context", "0"], "--context must be at least 1, got 0"),
        (["--seconds", "-1"], "--seconds must be from 0 to 3600, got -1"),
        (["--seconds", "nan"], "--seconds must be from 0 to 3600, got nan"),
        (["--memory-batch", "-1"], "--memory-batch must not be negative"),
        (["--sizes", "7B"], "--sizes takes 0.8M, 10M, 124M"),
        (["--batch", "two"], "--batch takes numbers of at least 1, and best; got two"),
        (["--sides", "jax"], "got jax"),
        (["--quality-steps", "5"], "--quality-steps has a meaning only with --quality"),
        (["--", "--minutes", "1"], "--minutes 1 has a meaning only with --quality"),
        (["--quality", "a.txt", "--sizes", "10M"], "--sizes has no meaning with --quality"),
        (["--quality", "a.txt", "--quality-steps", "0"], "--quality-steps must be at least 1"),
        (["--quality", "no-such-file.txt"], "no-such-file.txt cannot be opened"),
    ],
)
def test_options_that_cannot_be_used_are_told(arguments, message, capsys):
    assert main(["bench", "train", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out


def test_all_that_is_wrong_is_told_at_once(capsys):
    assert main(["bench", "train", "--rounds", "0", "--memory-batch", "-1"]) == 2
    told = capsys.readouterr().err
    assert "--rounds" in told
    assert "--memory-batch" in told


def test_the_help_names_all_benchmarks(capsys):
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: cloche bench {tokenize,train,tune,generate} ..." in shown
    assert "matrix-multiply peak" in shown


def test_an_unknown_benchmark_names_those_there_are(capsys):
    assert main(["bench", "tarin"]) == 2
    assert "there are: tokenize, train, tune, generate" in capsys.readouterr().err


def test_what_stands_after_two_dashes_goes_to_cloche_train(monkeypatch, capsys):
    asked = []

    def known_race(text, *, options, steps, rounds, tell):
        asked.append((text.name, list(options), steps, rounds))
        timings = {name: Timing(name, (4.0,)) for name in ("textbook", "cloche")}
        qualities = {name: (Quality(1.8, 1.9),) for name in timings}
        return RaceResult(timings, qualities, steps, tuple(options))

    monkeypatch.setattr(quality, "race", known_race)
    given = ["bench", "train", "--quality", "book.txt", "--rounds", "1"]
    assert main([*given, "--", "--train.steps", "9"]) == 0
    assert "cloche train --train.steps 9, against 2,000 steps" in capsys.readouterr().out
    assert main([*given, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["ratios"] == {"cloche over textbook": 1.0}
    assert values["reached"] is True
    assert asked == [
        ("book.txt", ["--train.steps", "9"], 2000, 1),
        ("book.txt", ["--minutes", "0.2"], 2000, 1),
    ]
