"""PPO and GRPO: they learn, go on byte for byte, and tell what cannot be used."""

import json
import shutil

import pytest
import torch
from small_policies import LETTERS, PLAIN, QUICK, files_of, make_base, make_prompts, small_model

from cloche.alignment import ppo
from cloche.alignment.grpo import align_grpo
from cloche.alignment.policy_report import before_and_after
from cloche.alignment.ppo import align_ppo
from cloche.alignment.ppo_model import make_value
from cloche.alignment.reward_model import score_answers
from cloche.alignment.rewards import Answered, RewardError
from cloche.alignment.rewards_model import open_reward_model
from cloche.data.preferences import read_prompts
from cloche.errors import RunError, SettingError
from cloche.model.decoder import Decoder
from cloche.model.scorer import make_scorer
from cloche.run import load, read_metrics
from cloche.training.events import Notice, StepDone
from cloche.training.options import TrainOptions
from cloche.tuning.options import LoraOptions, MethodOptions
from cloche.weights.scorers import REWARD, save_scorer

OWN = """
def letter_a(prompt, answer, record):
    return answer.count("a") / 5
def fails_later(prompt, answer, record):
    return 1 / answer.count("a")
"""
ALIGN = {"grpo": align_grpo, "ppo": align_ppo}
SIZES = {
    "grpo": {"align.group": 8, "align.epochs": 2, "rollout.prompts": 4, "train.batch": 16},
    "ppo": {
        "align.answers": 2,
        "rollout.prompts": 8,
        "align.epochs": 2,
        "train.batch": 8,
        "align.kl_target": 3.0,
    },
}
LORA = {"method.method": "lora", "lora.rank": 4}


class CrashError(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    make_base(folder / "base")
    make_prompts(folder / "prompts.jsonl")
    (folder / "own.py").write_text(OWN)
    return folder


def options_of(place, kind, **more):
    reward = {"reward": (f"{place}/own.py:letter_a",)}
    return {**QUICK, **reward, **SIZES[kind], "train.steps": 7, "train.eval_every": 3, **more}


def align(place, kind, out, options=None, *, listeners=(), **more):
    chosen = options_of(place, kind, **more) if options is None else options
    return ALIGN[kind](
        place / "base", place / "prompts.jsonl", out=out, options=chosen, listeners=listeners
    )


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_tiny_model_learns_to_write_one_letter(place, tmp_path, kind):
    sizes = {
        "grpo": {"align.group": 8, "align.kl": 0.0, "train.steps": 18},
        "ppo": {"rollout.prompts": 32, "align.kl": 0.0, "train.steps": 36},
    }
    options = {
        **QUICK,
        "reward": (f"{place}/own.py:letter_a",),
        "truth": ("exact",),
        "train.eval_every": 25,
        **sizes[kind],
    }
    run = align(place, kind, tmp_path / "run", options)
    found = before_and_after(run.folder)
    assert found["before"]["reward"] < 0.3
    assert found["after"]["reward"] > 0.8
    assert found["after"]["truth"] == 1.0
    assert run.best_loss == -1.0
    assert found["after"]["kl"] > 5.0 > found["before"]["kl"] == 0.0
    assert found["after"]["entropy"] < found["before"]["entropy"]
    lm = load(run.folder)
    assert lm.generate("ab", max_new_tokens=5, greedy=True) == "aaaaa"


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("grpo", LORA),
        ("ppo", {}),
        pytest.param("grpo", {}, marks=pytest.mark.bars),
        pytest.param("ppo", LORA, marks=pytest.mark.bars),
    ],
)
def test_a_run_killed_in_the_middle_of_a_round_goes_on_to_the_same_bytes(
    place, tmp_path, kind, method
):
    options = options_of(place, kind, **{"train.save_every": 1, **method})
    align(place, kind, tmp_path / "whole", options)

    def crash(event):
        if isinstance(event, StepDone) and event.step == 6:  # the second step of a round is 5
            raise CrashError

    with pytest.raises(CrashError):
        align(place, kind, tmp_path / "run", options, listeners=[crash])
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    values = json.loads((newest / "trainer" / "state.json").read_text())
    assert values["loop"]["step"] == 5
    assert ALIGN[kind]("", out=tmp_path / "run", resume=True, listeners=[]).finished
    steps = [
        [row["train/reward"] for row in read_metrics(tmp_path / name) if "train/reward" in row]
        for name in ("whole", "run")
    ]
    assert steps[0] == steps[1]
    whole, run = (
        files_of(tmp_path / name / "checkpoints/step-000007") for name in ("whole", "run")
    )
    assert whole.keys() == run.keys()
    assert [name for name in whole if whole[name] != run[name]] == []


def test_a_step_in_parts_is_the_step_in_one(place, tmp_path):
    losses = []
    for parts in (1, 4):
        for kind in ("grpo", "ppo"):
            run = align(
                place,
                kind,
                tmp_path / f"{kind}{parts}",
                **{"train.accumulate": parts, "train.steps": 3},
            )
            losses.append(
                [row["train/loss"] for row in read_metrics(run.folder) if "train/loss" in row]
            )
    assert losses[0] == pytest.approx(losses[2], rel=1e-3, abs=1e-5)
    assert losses[1] == pytest.approx(losses[3], rel=1e-3, abs=1e-5)


def test_ppo_writes_several_answers_to_each_prompt_and_reads_it_once(place, tmp_path, monkeypatch):
    rounds, make = [], ppo.make_proximal_round

    def make_and_keep(*given):
        rounds.append(make(*given))
        return rounds[-1]

    monkeypatch.setattr(ppo, "make_proximal_round", make_and_keep)
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": LETTERS[n] * 3 + LETTERS[:6]} for n in range(8)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"rollout.prompts": 3, "align.answers": 4, "train.batch": 12, "align.epochs": 1}
    options = options_of(place, "ppo", **{**sizes, "train.steps": 2})
    align_ppo(place / "base", prompts, out=tmp_path / "run", options=options, listeners=[])
    assert [made.number for made in rounds] == [0, 1]
    for made in rounds:
        prompts = [tuple(each.ids[~each.learned]) for each in made.examples]
        answers = [tuple(each.ids[each.learned]) for each in made.examples]
        groups = [prompts[begin : begin + 4] for begin in range(0, 12, 4)]
        assert all(len(set(group)) == 1 for group in groups)
        assert len(set(prompts)) == 3
        assert len(set(answers[:4])) > 1
        places = sum(len(each.ids) - 1 for each in made.examples)
        again = 3 * sum(len(group[0]) - 1 for group in groups)  # but for what the answer begins at
        assert int((made.batch(range(12)).documents < 12).sum()) == places - again


def make_reward_model(folder):
    """Scores a conversation by its last letter alone, more or less."""
    model, _, tokenizer = small_model(seed=3)
    scorer = make_scorer(model, 1, seed=4)
    save_scorer(
        folder, scorer=scorer, labels=REWARD, tokenizer=tokenizer, card="", chat_template=PLAIN
    )
    return folder


def test_a_reward_model_judges_and_the_value_model_begins_with_it(place, tmp_path):
    source = make_reward_model(tmp_path / "rm")
    options = {
        **{name: value for name, value in options_of(place, "ppo").items() if name != "reward"},
        "reward_model": str(source),
        "truth": ("exact",),
        "train.steps": 2,
    }
    run = align(place, "ppo", tmp_path / "run", options)
    row = next(row for row in read_metrics(run.folder) if "eval/reward" in row)
    prompts = read_prompts(place / "prompts.jsonl")[-1:]
    lm = load(place / "base")
    model = open_reward_model(str(source), device="cpu", warn=print)
    assert isinstance(lm.model, Decoder)
    value = make_value(
        lm.model,
        model,
        fingerprint=lm.tokenizer.fingerprint,
        method=MethodOptions(),
        lora=LoraOptions(),
        train=TrainOptions(),
    )
    assert torch.equal(value.score.weight, model.scorer.score.weight)
    answers = [Answered("", text, {}, "here", prompts[0].conversation) for text in ("a", "bb")]
    expected = score_answers(source, [prompts[0].conversation] * 2, ["a", "bb"])
    assert list(model.judge(answers).totals) == pytest.approx(expected)
    assert model.judge([Answered("", "", {}, "here", prompts[0].conversation)]).totals[0] != 0.0
    with pytest.raises(RewardError, match=r"here: the reward model .* cannot read the answer '好'"):
        model.judge([Answered("", "好", {}, "here", prompts[0].conversation)])
    assert row["eval/truth"] == 0.0
    assert row["eval/reward"] != 0.0
    with pytest.raises(RewardError, match="prompt and answer have"):
        model.judge([Answered("", "a" * 40, {}, "here", prompts[0].conversation)])


def test_answers_that_do_not_stop_pay_for_it(place, tmp_path):
    run = align(
        place, "grpo", tmp_path / "run", **{"rollout.missing_stop_penalty": 2.0, "train.steps": 1}
    )
    row = next(row for row in read_metrics(run.folder) if "train/reward" in row)
    free = align(place, "grpo", tmp_path / "free", **{"train.steps": 1})
    other = next(row for row in read_metrics(free.folder) if "train/reward" in row)
    assert row["train/stopped"] == other["train/stopped"] < 1.0
    lost = 2.0 * (1.0 - row["train/stopped"])
    assert row["train/reward"] == pytest.approx(other["train/reward"] - lost)


def test_a_reward_that_rises_while_the_truth_falls_is_told(place, tmp_path):
    told = []
    (place / "contrary.py").write_text(
        "def few_a(prompt, answer, record):\n    return 1 - answer.count('a') / 5\n"
    )
    options = {
        **options_of(place, "grpo"),
        "truth": (f"{place}/contrary.py:few_a",),
        "train.steps": 30,
        "train.eval_every": 15,
        "data.split": (0.5, 0.5),
        "rollout.held_out": 6,
    }
    align(place, "grpo", tmp_path / "run", options, listeners=[told.append])
    warnings = [event.text for event in told if isinstance(event, Notice) and event.warning]
    assert any("Reward hacking: since step 0" in text for text in warnings)


def test_a_reward_that_fails_on_the_way_names_its_record_and_leaves_what_was_saved(place, tmp_path):
    options = {**options_of(place, "grpo"), "reward": (f"{place}/own.py:fails_later",)}
    with pytest.raises(RewardError, match=r"prompts.jsonl, line \d+: .*fails_later.*ZeroDivision"):
        align(place, "grpo", tmp_path / "run", options)


def test_another_reward_file_is_not_gone_on_with(place, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text(OWN)
    options = {**options_of(place, "grpo"), "reward": (f"{own}:letter_a",), "train.save_every": 2}
    align(place, "grpo", tmp_path / "run", {**options, "train.steps": 2, "train.eval_every": 2})
    own.write_text(OWN + "\n# changed\n")
    with pytest.raises(RunError, match="another reward function"):
        align_grpo("", out=tmp_path / "run", resume=True, listeners=[])
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("grpo", {"reward": ()}, "name what is rewarded"),
        ("grpo", {"align.group": 1}, "align.group must be at least 2"),
        ("grpo", {"align.clip_low": 1.0}, "align.clip-low"),
        ("grpo", {"reward": ("exakt",)}, "did you mean exact"),
        ("grpo", {"train.batch": 7}, "train.batch 7 must divide the 32 answers"),
        ("grpo", {"rollout.temperature": 0.0}, "rollout.temperature must be above 0"),
        ("grpo", {"method.method": "lora", "lora.dropout": 0.1}, "lora.dropout would make"),
        ("grpo", {"rollout.max_tokens": 31}, "no prompt fits"),
        ("ppo", {"reward": ()}, "say who judges"),
        ("ppo", {"reward_model": "runs/rm"}, "say who judges"),
        ("ppo", {"align.kl": 0.0}, "align.kl 0 stays 0"),
        ("ppo", {"align.answers": 0}, "align.answers must be at least 1"),
        ("ppo", {"train.batch": 7}, "train.batch 7 must divide the 16 answers"),
        ("ppo", {"align.trace": 1.5}, "align.trace must be from 0 to 1"),
        ("ppo", {"method.method": "qlora"}, "value model begins as a copy"),
    ],
)
def test_options_that_cannot_be_used_are_told(place, tmp_path, kind, options, told):
    with pytest.raises((SettingError, Exception), match=told) as caught:
        align(place, kind, tmp_path / "run", {**options_of(place, kind), **options})
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "run").exists()
