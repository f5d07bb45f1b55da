import json

import pytest

from cloche.bench import generating, processes
from cloche.bench.generating_result import GenerationResult
from cloche.bench.generating_works import Lengths, Work
from cloche.bench.paired import Timing
from cloche.cli.environment import cache_folder
from cloche.cli.main import main


@pytest.fixture
def asked(monkeypatch) -> list:
    """Conditions that were asked for; what is answered is known."""
    found = []

    def known(conditions, *, tell):
        conditions.check()
        found.append(conditions)
        tell("every side has been timed")
        names = [setup.name for setup in conditions.setups()]
        about = {"weight_bytes": 1_000_000, "start_seconds": 2.0, "first_seconds": 1.0, "notes": []}
        works = conditions.lengths.works(list(conditions.batches), context=1000)
        return GenerationResult(
            source=conditions.source,
            threads=conditions.threads,
            device=conditions.device,
            about=dict.fromkeys(names, about),
            timings={work: {name: Timing(name, (10.0,)) for name in names} for work in works},
            bandwidth=Timing("memory", (0.05,)),
            ways=[{"copy": 20e9}],
            memory={name: {"peak_bytes": 10**9, "before_bytes": 10**8} for name in names},
        )

    monkeypatch.setattr(generating, "bench_generating", known)
    return found


def test_what_is_asked_for_reaches_the_benchmark(asked, tmp_path, capsys):
    pytest.importorskip("xllamacpp")
    files = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for file in files:
        file.write_bytes(b"GGUF")
    given = ["runs/book", "--sides", "cloche int8", "--batch", "1, 4", "--threads", "2"]
    named = [part for file in files for part in ("--gguf", str(file))]
    lengths = ["--prompt-tokens", "5", "--new-tokens", "7", "--prefill-tokens", "9"]
    often = ["--rounds", "2", "--seconds", "0.5"]
    assert main(["bench", "generate", *given, *named, *lengths, *often, "--json"]) == 0
    (conditions,) = asked
    assert conditions.source == "runs/book"
    assert conditions.sides == ("cloche int8",)
    assert conditions.gguf == tuple(map(str, files))
    assert conditions.batches == (1, 4)
    assert conditions.lengths == Lengths(5, 7, 9)
    assert (conditions.threads, conditions.rounds, conditions.device) == (2, 2, "cpu")
    assert conditions.seconds == 0.5
    assert conditions.kernels == str(cache_folder() / "kernels")
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert values["decode"][0]["sides"]["cloche int8"]["tokens_per_second"] == 100.0
    assert list(values["sides"]) == ["cloche int8", "llama.cpp a.gguf", "llama.cpp b.gguf"]
    assert "every side has been timed" in captured.err


def test_the_screen_has_a_table_and_unless_told_all_sides(asked, capsys):
    pytest.importorskip("transformers")
    assert main(["bench", "generate", "runs/book"]) == 0
    shown = capsys.readouterr().out
    for name in generating.SIDES:
        assert f"{name} " in shown
    assert asked[0].batches == (1, 16)
    assert asked[0].threads >= 1
    works = asked[0].lengths.works([1, 16], context=8192)
    assert works == [Work(1, 32, 64), Work(16, 32, 64), Work(1, 800, 1)]


def test_without_a_run_a_model_with_random_weights_is_made_once(
    asked, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def known_make(shape, folder):
        made.append((shape, folder))
        folder.mkdir()

    monkeypatch.setattr(processes, "make_model", known_make)
    chosen = ["bench", "generate", "--sides", "cloche int8", "--size", "10M"]
    assert main(chosen) == 0
    assert main(chosen) == 0
    folder = tmp_path / "cloche" / "bench-model-10M"
    assert made == [("10M", folder)]
    assert [conditions.source for conditions in asked] == [str(folder)] * 2
    assert f"model: {folder} (made once)" in capsys.readouterr().err
    assert main(["bench", "generate", "--sides", "cloche int8"]) == 0
    assert made[1][0] == "135M"


def test_no_model_is_made_for_what_cannot_be_used(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["bench", "generate", "--rounds", "0", "--new-tokens", "1"]) == 2
    captured = capsys.readouterr()
    assert "--rounds must be at least 1, got 0" in captured.err
    assert "--new-tokens must be at least 2, got 1" in captured.err
    assert not captured.out
    assert not list(tmp_path.iterdir())
    assert not asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "--batch takes numbers of at least 1"),
        (["--batch", "1,many"], "got 'many'"),
        (["--batch", ""], "--batch takes numbers"),
        (["--sides", "vllm"], "got vllm"),
        (["--sides", ""], "nobody is left to be timed"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--seconds", "nan"], "--seconds must be from 0 to 3600, got nan"),
        (["--prompt-tokens", "-1"], "--prompt-tokens must be at least 1, got -1"),
        (["--gguf", "none.gguf"], "none.gguf is no file"),
        (["--size", "10M"], "--size 10M is that of a model with random weights"),
    ],
)
def test_options_that_cannot_be_used_are_told(arguments, message, asked, capsys):
    assert main(["bench", "generate", "runs/book", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out


def test_a_run_that_is_not_there_is_told(capsys):
    chosen = ["--sides", "cloche float32", "--rounds", "1"]
    assert main(["bench", "generate", "no-such-run", *chosen]) == 2
    captured = capsys.readouterr()
    assert "no-such-run does not exist" in captured.err
    assert "Traceback" not in captured.err
