import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cloche.bench import tuning, tuning_cloche, tuning_records, tuning_trl
from cloche.bench.paired import Timing
from cloche.bench.tuners import Gate, RequestsEndedError, TunerSetup, serve_tuning
from cloche.bench.tuning import Conditions, TuningResult, bench_tuning
from cloche.bench.tuning_records import step_sums, training_records, write_records
from cloche.cli.main import main
from cloche.errors import ClocheError, SettingError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.text.chat_presets import CHATML
from cloche.text.extending import with_special_tokens
from cloche.weights.checkpoint import save_checkpoint

TUNES = {"cloche": tuning_cloche.tune_held, "trl": tuning_trl.tune_held}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A model of two layers that knows ChatML's tokens."""
    tokenizer = with_special_tokens(
        train_bpe(["what colour has a plum? it is blue. " * 9], vocab_size=270, rule="gpt-2"),
        ["<|im_start|>", "<|im_end|>"],
    )
    options = ModelOptions(family="llama")
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=16, context=512)
    model = build_model(config)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1, generator=generator)
    folder = tmp_path_factory.mktemp("tuners") / "base"
    stop = tokenizer.special_tokens["<|im_end|>"]
    save_checkpoint(
        folder,
        model=model,
        config=config,
        tokenizer=tokenizer,
        card="",
        stop_ids=(stop,),
        chat_template=CHATML,
    )
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """Records with an input apart, as the process that compares writes them."""
    folder = tmp_path_factory.mktemp("records")
    asked = [
        {"instruction": f"what colour is {n}?", "input": "a plum" * (n % 3), "output": "blue " * n}
        for n in range(1, 21)
    ]
    (folder / "alpaca.json").write_text(json.dumps(asked), encoding="utf-8")
    assert write_records(folder / "r.jsonl", [str(folder / "alpaca.json")]).startswith("20 ")
    return folder / "r.jsonl"


def answers_of(base: Path, records: Path, engine: str, *requests: dict) -> list[dict]:
    setup = TunerSetup(engine, str(base), str(records), "float32", steps=5, batch=2, rank=2)
    found = []
    lines = [json.dumps(values) for values in (asdict(setup), *requests)]
    serve_tuning(TUNES[engine], iter(lines), found.append)
    return found


@pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports
def test_both_sides_tune_the_same_weights_on_the_same_tokens_from_the_same_loss(base, records):
    two, one, memory = {"ask": "steps", "count": 2}, {"ask": "steps", "count": 1}, {"ask": "memory"}
    found = {name: answers_of(base, records, name, two, one, memory) for name in TUNES}
    ours, theirs = found["cloche"], found["trl"]
    assert ours[0]["tokens"] == theirs[0]["tokens"]
    assert len(ours[0]["tokens"]) == 5
    assert ours[0]["trained"] == theirs[0]["trained"] > 0
    # TRL's answer ends behind the newline after the stop token, which a random model finds as hard
    assert ours[0]["first_loss"] == pytest.approx(theirs[0]["first_loss"], rel=0.05)
    for about, first, second, most in found.values():
        assert about["first_step_seconds"] > 0
        assert first["tokens"] == sum(about["tokens"][2:4])
        assert second["tokens"] == about["tokens"][4]
        assert min(first["seconds"], second["seconds"]) > 0
        assert most["peak_bytes"] >= most["before_bytes"] > 1_000_000


def test_a_trainer_that_is_asked_nothing_more_is_ended_after_its_start():
    found = []
    gate = Gate(iter([]), found.append, before=1)
    gate.start([3, 4, 5], {"trained": 7})
    gate.passed(0.5)
    assert not found
    with pytest.raises(RequestsEndedError):
        gate.passed(0.4)
    assert found[0]["tokens"] == [3, 4, 5]
    assert found[0]["first_loss"] == 0.5


def test_without_files_there_are_stories(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_records, "STORIES", 20)
    said = write_records(tmp_path / "r.jsonl", [])
    assert said == "20 conversations (built-in stories)"
    assert len(training_records(tmp_path / "r.jsonl")) == 18


def test_tokens_are_summed_by_step():
    assert step_sums([1, 2, 3, 4, 5, 6], 2) == [3, 7, 11]


def test_an_absent_trl_names_the_extra(base, records, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SettingError, match=r"pip install 'cloche\[dev\]'"):
        answers_of(base, records, "trl")


def test_all_that_cannot_be_used_is_told_at_once():
    wrong = Conditions("base", batch=0, steps=0, sides=("vllm",), precisions=())
    with pytest.raises(SettingError) as caught:
        bench_tuning(wrong, tell=print)
    told = str(caught.value)
    assert "--batch must be at least 1, got 0" in told
    assert "--steps must be at least 1, got 0" in told
    assert "--sides takes cloche, trl, comma between; got vllm" in told
    assert "--precisions takes float32, bfloat16, comma between; got none" in told


def test_a_base_that_is_not_there_is_a_message_of_its_process(records, tmp_path):
    conditions = Conditions(str(tmp_path / "none"), (str(records),), sides=("cloche",))
    with pytest.raises(ClocheError, match="none"):
        bench_tuning(conditions, tell=print)


def measured(conditions: Conditions) -> TuningResult:
    names = {"cloche float32": (1.0, 2.0, 4.0), "trl float32": (3.0, 4.0, 4.0)}
    return TuningResult(
        conditions=conditions,
        records="20 conversations",
        about={name: {"start_seconds": 1.0, "first_step_seconds": 0.5} for name in names},
        timings={name: Timing(name, seconds) for name, seconds in names.items()},
        peaks={"float32": Timing("float32", (10.0,))},
        memory={
            "cloche float32": {"peak_bytes": 1, "before_bytes": 0},
            "trl float32": {"peak_bytes": 4, "before_bytes": 0},
        },
    )


def test_ratios_are_those_of_two_sides_in_the_same_round():
    conditions = Conditions("base", precisions=("float32",), rounds=3)
    result = measured(conditions)
    assert result.ratios() == {"float32": 2.0}
    assert result.memory_ratios() == {"float32": 0.25}
    assert "cloche over trl, float32: 2.00 times the speed, 25% of the memory" in result.lines()[-1]
    assert result.to_values()["sides"]["trl float32"]["rounds"][2] == 250


def test_one_side_alone_has_no_ratio():
    result = measured(Conditions("base", sides=("cloche",), precisions=("float32",)))
    alone = replace(result, timings={"cloche float32": result.timings["cloche float32"]})
    assert alone.ratios() == {}
    assert alone.to_values()["memory_ratios"] == {}
    assert len(alone.lines()) == 3


def test_the_command_line_asks_for_what_it_says_and_prints_one_object(monkeypatch, capsys):
    asked = []

    def bench(conditions: Conditions, *, tell) -> TuningResult:
        asked.append(conditions)
        tell("a word on the way")
        return measured(conditions)

    monkeypatch.setattr(tuning, "bench_tuning", bench)
    given = ["--sides", "cloche, trl", "--precisions", "float32", "--batch", "4", "--threads", "3"]
    assert main(["bench", "tune", "base", "a.json", "b.json", *given, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["ratios"] == {"float32": 2.0}
    assert told.err == "a word on the way\n"
    expected = Conditions("base", ("a.json", "b.json"), precisions=("float32",), batch=4, threads=3)
    assert asked == [expected]
    assert main(["bench", "tune", "base", *given]) == 0
    assert "2.00 times the speed" in capsys.readouterr().out
