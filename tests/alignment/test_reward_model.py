"""A reward model: learned from choices, told, merged, gone on with exactly, asked for scores."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cloche.alignment import reward_model
from cloche.alignment.reward_model import (
    align_reward,
    group_batches,
    held_out_rewards,
    score_answers,
)
from cloche.alignment.reward_model_data import ScoredText, encode_groups
from cloche.alignment.reward_model_report import measure_rewards
from cloche.alignment.scoring import RankedBatch, RankedGroup
from cloche.cli.align_reward import main
from cloche.data.preferences import read_preferences
from cloche.errors import CheckpointError, ClocheError, RequestError, SettingError, TextError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.text.chat import preset
from cloche.text.extending import with_special_tokens
from cloche.text.tokenizer import Tokenizer
from cloche.training.events import Event, StepDone
from cloche.training.machine import measure_machine
from cloche.training.options import TrainOptions
from cloche.tuning.classify_scoring import scored_example
from cloche.weights.checkpoint import load_model, save_checkpoint
from cloche.weights.scorers import load_scorer

TEMPLATE = preset("chatml")
OPTIONS = {
    "train.steps": 24,
    "train.batch": 8,
    "train.eval_every": 12,
    "train.learning_rate": 0.01,
    "train.precision": "float32",
    "train.device": "cpu",
    "train.trackers": [],
    "data.split": [0.7, 0.1, 0.2],
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = "user assistant how is the weather sunny rainy today good bad answer " * 4
    return with_special_tokens(
        train_bpe([text], vocab_size=280, rule="gpt-2"), list(TEMPLATE.special_tokens())
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=2, width=32, context=64
    )
    torch.manual_seed(0)
    save_checkpoint(
        folder,
        model=build_model(config),
        config=config,
        tokenizer=tokenizer,
        card="",
        chat_template=TEMPLATE.source,
    )
    return folder


@pytest.fixture(scope="module")
def choices(tmp_path_factory) -> Path:
    """The answer that says sunny is always the better one."""
    path = tmp_path_factory.mktemp("choices") / "choices.jsonl"
    chance = random.Random(0)
    rows = []
    for number in range(80):
        day = f"today {chance.randrange(1000)}"
        chosen, rejected = f"{day} is sunny", f"{day} is rainy"
        rows.append({"prompt": f"how is {number}", "chosen": chosen, "rejected": rejected})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ADAPTERS = OPTIONS | {"method.method": "lora", "lora.rank": 4}


@pytest.fixture(autouse=True, scope="module")
def _machine_is_measured_once():
    machine = measure_machine("cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reward_model, "measure_machine", lambda *_: machine)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base, choices) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reward"
    align_reward(base, choices, out=out, options=ADAPTERS, listeners=[])
    return out


def test_a_reward_model_learns_what_is_preferred(trained):
    report = held_out_rewards(trained)
    assert (report.part, report.pairs) == ("test", 16)
    assert report.accuracy == 1.0
    assert report.loss < 0.4
    assert report.mean_margin > 0.5
    kept = json.loads((trained / "reward.json").read_text())
    assert kept["expected_calibration_error"] == report.calibration.expected_error
    for name in ("margins.png", "reliability.png"):
        assert (trained / name).stat().st_size > 1000


def test_answers_are_scored_by_name_of_the_run(trained):
    good, bad = score_answers(trained, ["how is 5"] * 2, ["today 7 is sunny", "today 7 is rainy"])
    assert good > bad
    with pytest.raises(TextError, match=r"answer 1 has \d+ tokens"):
        score_answers(trained, ["how is 5"], ["sunny " * 60])


def test_a_saved_reward_model_has_no_adapter_left(trained):
    opened = load_scorer(trained / "best")
    assert opened.labels == ("reward",)
    assert not any("lora" in name for name, _ in opened.scorer.named_parameters())


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, base, choices, trained):
    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 15:
            raise KeyboardInterrupt

    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        align_reward(base, choices, out=out, options=ADAPTERS, listeners=[stop])
    align_reward("", out=out, resume=True, listeners=[])
    for name in ("model.safetensors", "trainer/state.safetensors"):
        whole = (trained / "checkpoints" / "step-000024" / name).read_bytes()
        assert (out / "checkpoints" / "step-000024" / name).read_bytes() == whole


def test_the_command_trains_all_weights_and_prints_one_object(tmp_path, base, choices, capsys):
    out = tmp_path / "r"
    settings = {"steps": "6", "device": "cpu", "precision": "float32", "trackers": "none"}
    options = [part for name, value in settings.items() for part in (f"--train.{name}", value)]
    arguments = [str(base), str(choices), "--out", str(out), "--align.center", "0.01", *options]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["finished"], told["step"], told["held_out"]["part"]) == (True, 6, "test")
    learned = load_scorer(out / "latest").scorer.decoder.state_dict()
    before = load_model(base)[0].state_dict()
    assert not any(torch.equal(learned[name], before[name]) for name in learned)


def test_a_ranking_is_one_group_that_holds_each_answer_once(tmp_path, base, tokenizer):
    path = tmp_path / "ranked.jsonl"
    path.write_text(json.dumps({"prompt": "how", "answers": ["sunny", "rainy", "bad"]}) + "\n")
    pairs = read_preferences(path).pairs
    (group,) = encode_groups(pairs, ScoredText(TEMPLATE, tokenizer))
    assert len(group.examples) == 3
    assert sorted(group.pairs) == [(0, 1), (0, 2), (1, 2)]


def test_groups_that_belong_together_come_together_and_each_once_in_an_epoch(base, tokenizer):
    texts = ["sunny", "rainy", "good", "bad", "today", "weather", "how", "is", "the", "answer"]
    groups = [_group(text, tokenizer, number=n) for n, text in enumerate(texts)]
    train = replace(TrainOptions(), batch=4, device="cpu", precision="float32", seed=3)
    batches = group_batches(groups, train, together=2)
    seen = [_first_tokens(batches(step, 0)) for step in range(5)]  # two epochs of five blocks
    blocks = [batch[first : first + 2] for batch in seen for first in (0, 2)]
    wanted = [[tokenizer.encode(text)[0] for text in texts[n : n + 2]] for n in range(0, 10, 2)]
    assert sorted(blocks[:5]) == sorted(blocks[5:]) == sorted(wanted)
    assert blocks[:5] != wanted
    alone = group_batches(groups, train)
    assert _first_tokens(alone(0, 0)) != seen[0]


def _group(text: str, tokenizer: Tokenizer, *, number: int) -> RankedGroup:
    ids = tokenizer.encode(text)
    examples = [scored_example([ids[0], mark, mark], number=number) for mark in (1, 2)]
    return RankedGroup(tuple(examples), ((0, 1),))


def _first_tokens(batch: RankedBatch) -> list[int]:
    """The first token of each group, in the order of the batch."""
    assert batch.documents is not None
    found = {}
    for row, owners in zip(batch.inputs.tolist(), batch.documents.tolist(), strict=True):
        for token, owner in zip(row, owners, strict=True):
            found.setdefault(owner, token)
    return [found[number] for number in range(0, batch.count, 2)]


def test_a_report_counts_by_hand(base, tokenizer, tmp_path, choices, trained):
    pairs = read_preferences(choices).pairs[:10]
    groups = encode_groups(pairs, ScoredText(TEMPLATE, tokenizer))
    scorer = load_scorer(trained / "best").scorer
    report = measure_rewards(scorer, groups)
    scores = score_answers(
        trained,
        [pair.prompt for pair in pairs for _ in range(2)],
        [answer[0].content for pair in pairs for answer in (pair.chosen, pair.rejected)],
    )
    margins = [good - bad for good, bad in zip(scores[::2], scores[1::2], strict=True)]
    assert list(report.margins) == pytest.approx(margins, rel=1e-4, abs=1e-5)
    assert report.accuracy == sum(margin > 0 for margin in margins) / 10


BAD = {
    "votes": ('{"prompt": "a", "completion": "b", "label": true}\n', SettingError, "single votes"),
    "too long": (
        '{"prompt": "a", "chosen": "%s", "rejected": "c"}\n' % ("sunny " * 90) * 10,
        ClocheError,
        "no pair within 64 tokens",
    ),
}


@pytest.mark.parametrize(("rows", "error", "message"), BAD.values(), ids=BAD)
def test_choices_that_teach_nothing_are_told(tmp_path, base, rows, error, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(rows)
    with pytest.raises(error, match=message):
        align_reward(base, path, out=tmp_path / "x", options=OPTIONS, listeners=[])


def test_settings_that_scores_have_no_place_for_are_told_at_once(tmp_path, base, choices):
    options = OPTIONS | {
        "train.z_loss": 0.1,
        "align.center": -1.0,
        "method.method": "qlora",
        "align.epochs": 2.0,
    }
    with pytest.raises(SettingError, match=r"(?s)use lora.*epochs.*z-loss.*center"):
        align_reward(base, choices, out=tmp_path / "x", options=options, listeners=[])
    unsaid = {name: value for name, value in OPTIONS.items() if name != "train.batch"}
    for given, together in ((OPTIONS, 0), (OPTIONS, 3), (unsaid, 3)):
        options = given | {"align.together": together}
        with pytest.raises(SettingError, match=r"align\.together"):
            align_reward(base, choices, out=tmp_path / "x", options=options, listeners=[])


def test_a_model_that_writes_gives_no_reward(base):
    with pytest.raises(CheckpointError, match="scores none"):
        score_answers(base, ["a"], ["b"])


def test_each_answer_has_its_prompt(tmp_path):
    with pytest.raises(RequestError, match="got 2 prompts and 1 answer"):
        score_answers(tmp_path, ["one?", "two?"], ["yes"])
