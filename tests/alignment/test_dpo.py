"""A whole training on preferences: it learns, is told, is killed and goes on."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from small_preferences import SMALL, make_base, write_pairs, write_votes

from cloche.alignment.dpo import align_dpo
from cloche.alignment.preference_comparison import compare_preferences
from cloche.cli.align_dpo import main
from cloche.errors import ClocheError, DataError, RunError, SettingError
from cloche.run import read_metrics
from cloche.training.events import Evaluated, Event, Notice, Sampled, StepDone

LORA = {"method.method": "lora", "lora.rank": 4}


@pytest.fixture(name="base", scope="module")
def a_base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "model", dropout=0.1)


def trained_bytes(run: Path) -> dict[str, str]:
    """Hashes of all that the newest checkpoint learned and needs to go on."""
    latest = run / "latest"
    files = sorted(path for path in latest.rglob("*") if path.suffix == ".safetensors")
    assert any(path.parent.name == "trainer" for path in files)
    return {str(path.relative_to(latest)): sha256(path.read_bytes()).hexdigest() for path in files}


class Killed(Exception):  # noqa: N818  what a kill is to a run
    """Comes out of a listener, as nothing of the run's own would."""


def kill_after(step: int):
    def listener(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Killed

    return listener


@pytest.mark.parametrize("kind", ["dpo", "ipo by adapters", "kto"])
def test_a_killed_run_ends_byte_for_byte_as_one_that_was_not(kind, base, tmp_path):
    write = write_votes if kind == "kto" else write_pairs
    data = write(tmp_path / "data.jsonl")
    options = SMALL | {"train.accumulate": 2}
    if kind == "ipo by adapters":
        options = SMALL | LORA | {"align.loss": "ipo", "lora.dropout": 0.2}
    align_dpo(base, data, out=tmp_path / "straight", options=options, listeners=[])
    with pytest.raises(Killed):
        align_dpo(base, data, out=tmp_path / "killed", options=options, listeners=[kill_after(3)])
    kept = (tmp_path / "killed" / "reference.safetensors").read_bytes()
    run = align_dpo("", out=tmp_path / "killed", resume=True, listeners=[])
    assert run.finished
    assert trained_bytes(tmp_path / "killed") == trained_bytes(tmp_path / "straight")
    assert kept == (tmp_path / "killed" / "reference.safetensors").read_bytes()
    rows = [
        [{name: row[name] for name in row if name.startswith("eval/")} for row in read_metrics(run)]
        for run in (tmp_path / "killed", tmp_path / "straight")
    ]
    assert rows[0] == rows[1]


def test_it_learns_what_was_preferred_and_tells_how_far_it_went_for_it(base, tmp_path):
    events: list[Event] = []
    longer = {"train.steps": 30, "train.eval_every": 30, "train.learning_rate": 0.01}
    options = SMALL | longer | {"align.answers": 2}
    data = write_pairs(tmp_path / "pairs.jsonl")
    align_dpo(base, data, out=tmp_path / "run", options=options, listeners=[events.append])
    first, last = [event.metrics for event in events if isinstance(event, Evaluated)]
    assert first["eval/loss"] == pytest.approx(0.6931, abs=1e-4)
    assert first["eval/kl"] == pytest.approx(0.0, abs=1e-5)
    assert first["eval/pair_accuracy"] == 0.0, "the shorter answer is the likelier one at first"
    assert last["eval/loss"] < 0.2
    assert last["eval/pair_accuracy"] == last["eval/reward_accuracy"] == 1.0
    assert last["eval/reward_margin"] == pytest.approx(
        last["eval/reward_chosen"] - last["eval/reward_rejected"], rel=1e-4
    )
    assert last["eval/kl"] > 0.1
    assert {"eval/entropy", "eval/answer_tokens", "eval/stopped"} <= last.keys()
    assert sum(isinstance(event, Sampled) for event in events) == 2
    compared = compare_preferences(tmp_path / "run")
    assert (compared.part, compared.before, compared.after) == ("validation", 0.0, 1.0)


def test_adapters_learn_and_the_base_stays(base, tmp_path):
    before = sha256((base / "model.safetensors").read_bytes()).hexdigest()
    longer = {"train.steps": 30, "train.eval_every": 30, "train.learning_rate": 0.01}
    data = write_pairs(tmp_path / "pairs.jsonl")
    align_dpo(base, data, out=tmp_path / "run", options=SMALL | LORA | longer, listeners=[])
    last = read_metrics(tmp_path / "run")[-1]
    assert last["eval/reward_accuracy"] == 1.0
    assert last["eval/reward_margin"] > 0.3
    assert last["eval/loss"] < 0.6
    assert sha256((base / "model.safetensors").read_bytes()).hexdigest() == before


def test_pairs_can_be_learned_as_votes(base, tmp_path):
    events: list[Event] = []
    data = write_pairs(tmp_path / "pairs.jsonl")
    options = SMALL | {"align.loss": "kto"}
    align_dpo(base, data, out=tmp_path / "run", options=options, listeners=[events.append])
    told = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "12 to train on, 8 to validate on" in told
    assert "4 votes" in told


def test_a_context_that_cuts_all_differences_off_is_told(base, tmp_path):
    data = write_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(DataError, match=r"pairs\.jsonl.*has \d+ tokens.*--align\.context"):
        align_dpo(
            base, data, out=tmp_path / "run", options=SMALL | {"align.context": 12}, listeners=[]
        )


def test_pairs_beyond_the_context_are_left_out_by_place(base, tmp_path):
    data = write_pairs(tmp_path / "pairs.jsonl")
    long = {"prompt": "do you like " + "very " * 30 + "figs?", "chosen": "yes.", "rejected": "no."}
    data.write_text(json.dumps(long) + "\n" + data.read_text())
    events: list[Event] = []
    align_dpo(base, data, out=tmp_path / "run", options=SMALL, listeners=[events.append])
    told = [event.text for event in events if isinstance(event, Notice)]
    [line] = [line for line in told if line.startswith("Left out")]
    assert "1 that say nothing within 120 tokens" in line
    assert "pairs.jsonl" in line


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"align.loss": "dpo"}, "hold single votes: use --align.loss kto"),
        ({"align.label_smoothing": 0.1}, "align.label-smoothing is dpo's, and align.loss is kto"),
        ({"align.beta": 0.0}, "align.beta must be above 0"),
        ({"align.beta": float("nan")}, "align.beta must be above 0"),
        ({"align.epochs": 2.0}, "align.epochs and train.steps both say"),
        ({"train.z_loss": 0.1}, "train.z-loss is for cross-entropy"),
        ({"align.undesirable_weight": -1.0}, "align.undesirable-weight must be above 0"),
    ],
)
def test_options_that_votes_cannot_have_are_told(options, problem, base, tmp_path):
    data = write_votes(tmp_path / "votes.jsonl")
    with pytest.raises(SettingError) as told:
        align_dpo(base, data, out=tmp_path / "run", options=SMALL | options, listeners=[])
    assert problem in str(told.value)


def test_votes_on_one_prompt_cannot_be_compared(base, tmp_path):
    data = tmp_path / "votes.jsonl"
    records = [{"prompt": "why?", "answer": "so " * n, "vote": n % 2 == 0} for n in range(1, 11)]
    data.write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DataError, match="all votes are on one prompt"):
        align_dpo(base, data, out=tmp_path / "run", options=SMALL, listeners=[])


def test_a_resumed_run_refuses_other_pairs(base, tmp_path):
    data = write_pairs(tmp_path / "pairs.jsonl")
    align_dpo(base, data, out=tmp_path / "run", options=SMALL, listeners=[])
    data.write_text(data.read_text().replace("yes i do.", "yes indeed."))
    with pytest.raises(RunError, match="another data"):
        align_dpo("", out=tmp_path / "run", resume=True, listeners=[])


def test_the_command_prints_one_object(base, tmp_path, capsys):
    data = write_pairs(tmp_path / "pairs.jsonl")
    out = tmp_path / "run"
    chosen = "--train.steps 2 --train.batch 4 --train.precision float32 --train.trackers none"
    arguments = [str(base), str(data), "--out", str(out), "--align.answers", "0", "--json"]
    assert main([*arguments, "--lora", "--lora.rank", "2", *chosen.split()]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["finished"]
    assert printed["held_out"].keys() == {"part", "records", "before", "after"}
    assert all("eval/kl" not in row for row in read_metrics(out)), "none was asked for"


def test_no_data_is_a_message(base, tmp_path):
    with pytest.raises(ClocheError, match="name a file of preferences"):
        align_dpo(base, out=tmp_path / "run", options=SMALL, listeners=[])
