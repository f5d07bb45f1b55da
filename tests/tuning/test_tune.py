import json
from typing import Any

import pytest
import torch
from tiny_base import QUICK, bytes_of, make_base, write_records

import cloche
from cloche.cli.train import recipe_file
from cloche.config import check, read_toml, with_values
from cloche.errors import CheckpointError, DataError, RunError, SettingError, TextError
from cloche.run import read_metrics
from cloche.text.messages import Message
from cloche.training.events import Notice, StepDone
from cloche.tuning.held_out import compare_held_out
from cloche.tuning.options import TuneOptions
from cloche.weights.adapters import load_adapter

FULL = ("model.safetensors", "trainer/state.safetensors", "trainer/state.json")
ADAPTER = ("adapter_model.safetensors", "trainer/state.safetensors", "trainer/state.json")
LORA = {"method.method": "lora", "lora.rank": 4, "tune.template": "alpaca"}


class KilledError(Exception):
    pass


def killed_at(step):
    def listener(event):
        if isinstance(event, StepDone) and event.step == step:
            raise KilledError

    return listener


@pytest.fixture
def base(tmp_path):
    return make_base(tmp_path / "base")


@pytest.fixture
def records(tmp_path):
    return write_records(tmp_path / "records.json")


def tune(base, records, run, *, listeners: Any = (), resume: Any = False, **options: Any):
    return cloche.tune(
        base, records, out=run, options=QUICK | options, listeners=list(listeners), resume=resume
    )


def test_a_tuned_model_answers_what_it_learned_and_stops(tmp_path, base, records):
    rates = {"train.learning_rate": 0.006, "train.steps": 110, "train.eval_every": 55}
    run = tune(base, records, tmp_path / "run", **rates)
    lm = cloche.load(run.folder)
    written = lm.chat("what colour has plum b?", greedy=True, max_new_tokens=30)
    assert written == "green."
    assert lm.chat([{"role": "user", "content": "what colour has fig a?"}], greedy=True) == "red."
    asked = (Message("user", "what colour has plum b?"),)
    assert lm.template is not None
    assert lm.asking().prompt_ids(asked[0].content) == lm.template.prompt_ids(asked, lm.tokenizer)


@pytest.mark.parametrize(
    ("names", "options"),
    [(FULL, {}), (ADAPTER, LORA), (FULL, {"train.accumulate": 2, "train.precision": "bfloat16"})],
    ids=["full", "lora", "bfloat16"],
)
def test_a_killed_tuning_goes_on_byte_for_byte(tmp_path, base, records, names, options):
    tune(base, records, tmp_path / "straight", **options)
    with pytest.raises(KilledError):
        tune(base, records, tmp_path / "killed", listeners=[killed_at(5)], **options)
    tune(base, records, tmp_path / "killed", resume=True, **options)
    straight, killed = (bytes_of(tmp_path / run, *names) for run in ("straight", "killed"))
    without_time = {name: straight[name] for name in names if not name.endswith("json")}
    assert without_time == {name: killed[name] for name in without_time}
    rows = [read_metrics(tmp_path / run) for run in ("straight", "killed")]
    losses = [[row["eval/loss"] for row in each if "eval/loss" in row] for each in rows]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "options", [{"train.accumulate": 4}, {"tune.packing": False}], ids=["parts", "separate"]
)
def test_parts_and_packing_change_nothing_but_rounding(tmp_path, records, options):
    base = make_base(tmp_path / "base", dropout=0.0)
    found = []
    for name, given in (("one", {}), ("other", options)):
        run = tune(base, records, tmp_path / name, **given)
        found.append(cloche.load(run.folder).model.state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=1e-3, atol=2e-5)


def test_a_template_adds_its_tokens_to_the_vocabulary_of_a_model_tuned_whole(
    tmp_path, base, records
):
    before = cloche.load(base)
    after = cloche.load(tune(base, records, tmp_path / "run").folder)
    added = set(after.tokenizer.special_tokens) - set(before.tokenizer.special_tokens)
    assert added == {"<|im_start|>", "<|im_end|>"}
    assert after.stop_ids[0] == after.tokenizer.special_tokens["<|im_end|>"]
    assert after.tokenizer.encode("abc") == before.tokenizer.encode("abc")


def test_adapters_leave_the_base_alone_and_write_through_it(tmp_path, base, records):
    weights = (base / "model.safetensors").read_bytes()
    run = tune(base, records, tmp_path / "run", **LORA)
    assert (base / "model.safetensors").read_bytes() == weights
    assert not (run.folder / "latest" / "model.safetensors").exists()
    ids = [1, 2, 3]
    merged = cloche.load(run.folder, checkpoint="latest")
    named = cloche.load(base, adapters={"fruit": run.folder / "latest"})
    plain = named.logits(ids)
    torch.testing.assert_close(named.with_adapter("fruit").logits(ids), merged.logits(ids))
    assert not torch.allclose(plain, merged.logits(ids))
    assert torch.equal(named.with_adapter(None).logits(ids), plain)
    with pytest.raises(SettingError, match="no adapter froot"):
        named.with_adapter("froot")


def test_an_adapter_over_a_tuned_adapter_is_opened_through_both(tmp_path, base, records):
    first = tune(base, records, tmp_path / "first", **LORA)
    second = tune(first.folder, records, tmp_path / "second", **LORA)
    own = load_adapter(second.folder / "latest")
    assert own.base == str((first.folder / "best").resolve())
    assert not torch.equal(
        cloche.load(first.folder).logits([1, 2]), cloche.load(second.folder).logits([1, 2])
    )


def test_an_adapter_whose_base_changed_is_refused(tmp_path, base, records):
    run = tune(base, records, tmp_path / "run", **LORA)
    make_base(base, seed=1)
    with pytest.raises(CheckpointError, match="learned over another model"):
        cloche.load(run.folder)


def test_an_adapter_without_its_base_says_where_that_was(tmp_path, base, records):
    run = tune(base, records, tmp_path / "run", **LORA)
    base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="which is no folder here"):
        cloche.load(run.folder)


def test_held_out_records_are_measured_before_and_after(tmp_path, base, records):
    rates = {"train.learning_rate": 0.02, "train.steps": 40, "train.eval_every": 20}
    split = {"data.split": (0.6, 0.2, 0.2)}
    run = tune(base, records, tmp_path / "run", **rates, **split)
    found = compare_held_out(run.folder, answers=2)
    assert (found.part, found.records) == ("test", 4)
    assert found.after < 0.5 * found.before
    assert [pair.expected for pair in found.answers] == ["red.", "green."]
    assert found.answers[0].after != found.answers[0].before


@pytest.mark.parametrize("loss", ["answers", "last", "all"])
def test_what_is_learned_is_what_was_asked_for(tmp_path, base, loss):
    path = tmp_path / "turns.json"
    turns = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "ddd")]
    messages = [{"role": role, "content": text} for role, text in turns]
    records = [
        {"messages": [*messages[:-1], {"role": "assistant", "content": "d" * n}]}
        for n in range(3, 13)
    ]
    path.write_text(json.dumps(records))
    events = []
    tune(base, path, tmp_path / "run", listeners=[events.append], **{"tune.loss": loss})
    told = "\n".join(event.text for event in events if isinstance(event, Notice))
    answers = sum(n + 1 for n in range(3, 10))  # the stop token too
    learned = {"last": answers, "answers": answers + 7 * 3}
    if loss in learned:
        assert f"7 to train on ({learned[loss]} learned tokens)" in told
    else:
        assert "Learned: all tokens" in told


def test_a_run_keeps_its_base_data_and_options(tmp_path, base, records):
    run = tmp_path / "run"
    with pytest.raises(KilledError):
        tune(base, records, run, listeners=[killed_at(3)])
    with pytest.raises(RunError, match="already holds a training"):
        tune(base, records, run)
    with pytest.raises(RunError, match="other options"):
        tune(base, records, run, resume=True, **{"train.learning_rate": 0.5})
    write_records(records, count=18)
    with pytest.raises(RunError, match="another data"):
        tune(base, records, run, resume=True)
    write_records(records)
    make_base(base, seed=3)
    with pytest.raises(RunError, match="another base"):
        tune(base, records, run, resume=True)


def test_a_training_and_a_tuning_do_not_go_on_with_one_another(tmp_path, base, records):
    run = tmp_path / "run"
    tune(base, records, run)
    with pytest.raises(RunError, match="begun by cloche tune"):
        cloche.train(records, out=run, resume=True, listeners=[])


def test_adapters_cannot_add_tokens(tmp_path, base, records):
    with pytest.raises(SettingError, match=r"no <\|im_start\|> and no <\|im_end\|>.*alpaca"):
        tune(base, records, tmp_path / "run", **(LORA | {"tune.template": ""}))


def test_answers_beyond_the_context_are_told_and_nothing_left_is_an_error(tmp_path, base, records):
    with pytest.raises(DataError, match=r"nothing is left to learn.*record 1 has \d+ tokens"):
        tune(base, records, tmp_path / "run", **{"tune.context": 20})


def test_records_the_tokenizer_cannot_write_are_named(tmp_path, base):
    path = tmp_path / "records.json"
    path.write_text(json.dumps([{"prompt": "a", "completion": c} for c in "bcdefghi月k"]))
    with pytest.raises(TextError, match=r"record 9.*月"):
        tune(base, path, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora.rank": 2}, "give --lora"),
        ({"method.method": "lora", "lora.rank": 0}, "lora.rank must be at least 1"),
        ({"train.average": 0.9}, "train.average has no meaning in a tuning"),
        ({"train.parallel": "fsdp"}, "train.parallel has no meaning in a tuning"),
        ({"data.split": (0.5, 0.2)}, "data.split must add up to 1"),
        ({"data.split": (1.0,)}, "data.split takes the shares"),
        ({"tune.epochs": 2.0}, "tune.epochs and train.steps both"),
        ({"tune.template": "no-such"}, "there is no chat template 'no-such'"),
        ({"method.bits": "int8"}, "give --method.method qlora"),
        ({"train.optimizer": "muon", "method.method": "lora"}, "adapters are two thin ones"),
    ],
)
def test_options_that_cannot_be_used_are_told(tmp_path, base, records, options, said):
    with pytest.raises(SettingError, match=said):
        tune(base, records, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_teacher_is_learned_from(tmp_path, base, records):
    teacher = tune(base, records, tmp_path / "teacher", **{"train.steps": 20})
    run = tune(
        teacher.folder,
        records,
        tmp_path / "run",
        **{"distill.teacher": str(teacher.folder), "distill.share": 1.0},
    )
    rows = [row for row in read_metrics(run.folder) if "train/teacher_kl" in row]
    assert rows[0]["train/teacher_kl"] < 0.05
    with pytest.raises(SettingError, match="another tokenizer"):
        tune(base, records, tmp_path / "bad", **{"distill.teacher": str(base)})


def test_the_recipe_of_the_novel_is_the_notebooks():
    values = read_toml(recipe_file("novel-tune", verb="tune"))
    options = with_values(TuneOptions(), values, source="novel-tune")
    check(options)
    train = options.train
    assert (train.batch, train.steps, train.learning_rate) == (8, 1000, 1e-4)
    assert (train.eval_every, train.seed) == (10, 1337)
    assert (options.tune.context, options.tune.loss) == (128, "all")
    assert options.data.records == "1000:5001"
