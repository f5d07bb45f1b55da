import json
from pathlib import Path

import pytest

from cloche.alignment.grpo_options import GrpoOptions
from cloche.alignment.ladder import STAGES, Ladder, Rung, check_recipe, write_report
from cloche.alignment.ladder_data import (
    ANSWERS,
    FIRST_HARD,
    FIRST_TANGLED,
    QUESTIONS,
    _Stories,
    write_ladder_data,
)
from cloche.alignment.ppo_options import PpoOptions
from cloche.alignment.preference_options import DpoOptions
from cloche.alignment.reward_model_options import RewardOptions
from cloche.cli.demo import main as demo
from cloche.cli.train import recipe_file
from cloche.config import check, nest, read_toml, with_values
from cloche.data.conversations import read_conversations
from cloche.data.preferences import read_preferences, read_prompts
from cloche.data.stories.conversations import (
    has_hard_plot,
    hasty_conversation,
    story_conversation,
)
from cloche.data.stories.teller import Language
from cloche.errors import RunError, SettingError
from cloche.training.options import RunOptions
from cloche.tuning.options import TuneOptions

GIVEN = {"grpo": {"reward": ["exact"]}}
TREES = {
    "pretrain": RunOptions(),
    "half": TuneOptions(),
    "tune": TuneOptions(),
    "reward": RewardOptions(),
    "ppo": PpoOptions(),
    "dpo": DpoOptions(),
    "grpo": GrpoOptions(),
}
FEW = {"texts": 8, "conversations": 6, "hasty": 6, "preferences": 5, "prompts": 7, "held_out": 4}
RANKED = 6


@pytest.fixture(scope="module")
def recipe():
    return read_toml(recipe_file("ladder", verb="demo"))


def ladder(recipe, language: Language = "en"):
    return Ladder(Path("runs"), language, recipe, lambda: 0.0, lambda _rung: None)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_packaged_recipe_says_nothing_that_a_stage_does_not_know(recipe, stage, language):
    options = ladder(recipe, language).options(stage) | GIVEN.get(stage, {})
    check(with_values(TREES[stage], nest(options), source="ladder"))


def test_the_reward_model_judges_ppo_where_the_recipe_names_no_reward(recipe):
    assert ladder(recipe).judged_by(Path("judge")) == {}
    plain = {name: value for name, value in recipe["ppo"].items() if name != "reward"}
    judged = ladder(recipe | {"ppo": plain}).judged_by(Path("judge"))
    assert judged == {"reward_model": "judge"}


def test_a_language_has_options_of_its_own(recipe):
    own = [ladder(recipe, language).options("pretrain") for language in ("en", "zh")]
    assert [each["text.tokenizer"] for each in own] == ["words", "bpe"]
    assert all("en" not in each and "zh" not in each for each in own)


def test_a_recipe_with_unknown_and_missing_stages_is_refused():
    with pytest.raises(SettingError, match=r"no stage tunes(.|\n)*says nothing of tune"):
        check_recipe({name: {} for name in STAGES if name != "tune"} | {"tunes": {}})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_stage_gets_stories_of_its_own_in_a_form_that_is_read(tmp_path, language):
    data = write_ladder_data(tmp_path, language, mixed_up=0.75, rankings=RANKED, **FEW)
    assert len(data.text.read_text().split("\n\n")) == FEW["texts"]
    careful, hasty = read_conversations(data.conversations), read_conversations(data.hasty)
    assert (len(careful), len(hasty)) == (FEW["conversations"], FEW["hasty"])
    pairs = read_preferences(data.preferences).pairs
    prompts = read_prompts(data.prompts)
    assert (len(pairs), len(prompts)) == (FEW["preferences"], FEW["prompts"])
    assert all("answer" in prompt.fields for prompt in prompts)
    told = [record.conversation[0].content.partition("\n\n")[0] for record in (*careful, *hasty)]
    told += [each.prompt[0].content.partition("\n\n")[0] for each in pairs]
    told += [each.conversation[0].content.partition("\n\n")[0] for each in (*prompts, *data.asked)]
    ranked = read_preferences(data.rankings)
    assert ranked.form == "rankings"
    lines = data.rankings.read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["prompt"][0]["content"] for line in lines]
    about = [each.partition("\n\n")[0] for each in asked]
    assert len(about) == ranked.records == QUESTIONS * len(set(about))
    assert all(len(set(about[first::QUESTIONS])) == len(set(about)) for first in range(QUESTIONS))
    assert len(ranked.pairs) == (ANSWERS - 1) * ranked.records
    told += set(about)
    assert len(set(told)) == len(told)


def test_rare_stories_are_evenly_spread_and_none_comes_twice():
    stories = _Stories({"seed": 1, "language": "en"}, tangled=0.5)
    found = list(stories.take(100, hard=0.2))
    assert len(set(found)) == 100
    rare = [[n for n in found[:count] if n >= FIRST_HARD] for count in (50, 100)]
    assert [len(each) for each in rare] == [10, 20]
    assert all(has_hard_plot(n, seed=1) for n in rare[1])
    assert sum(FIRST_TANGLED <= n < FIRST_HARD for n in found) in (39, 40)
    later = list(stories.take(100))
    assert not set(later) & set(found)
    assert (max(later) < FIRST_HARD, sum(n >= FIRST_TANGLED for n in later)) == (True, 50)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_hasty_records_are_wrong_where_two_can_be_mixed_up_and_nowhere_else(language):
    which = {"seed": 1, "language": language}
    careful = [story_conversation(n, **which) for n in range(70)]
    always = [hasty_conversation(n, share=1.0, **which) for n in range(70)]
    never = [hasty_conversation(n, share=0.0, **which) for n in range(70)]
    assert never == careful
    wrong = total = 0
    for right, mixed in zip(careful, always, strict=True):
        assert right[::2] == mixed[::2]
        for one, other in zip(right[1::2], mixed[1::2], strict=True):
            total += 1
            wrong += one != other
            named = other.content.removeprefix("在").removeprefix("很").lower()
            assert one == other or named in right[0].content.lower()
    assert 0.25 < wrong / total < 0.55


def test_a_report_has_every_rung(tmp_path):
    rung = Rung("tune", "right answers", 0.25, 0.75, 3.0)
    assert rung.gain == 50.0
    assert json.loads(write_report(tmp_path, [rung]).read_text())[0]["after"] == 0.75


def test_a_ladder_is_not_climbed_over_another_one(tmp_path):
    (tmp_path / "zh").mkdir()
    with pytest.raises(RunError, match="climbed from the ground"):
        demo(["ladder", "--out", str(tmp_path)])


@pytest.mark.bars
def test_all_rungs_are_climbed_in_small(tmp_path, recipe, capsys):
    lines = []
    for line in recipe_file("ladder", verb="demo").read_text().splitlines():
        name = line.partition(" =")[0].strip('"')
        small = {
            "train.steps": 4,
            "train.eval_every": 2,
            "model.layers": 1,
            "model.width": 32,
            "text.vocab_size": 600,
            "rollout.prompts": 16,
            "held_out": 8,
            "rollout.held_out": 8,
            "texts": 80,
        }
        small |= dict.fromkeys(
            ("conversations", "hasty", "preferences", "rankings", "prompts"), 120
        )
        lines.append(f'"{name}" = {small[name]}' if name in small else line)
    path = tmp_path / "small.toml"
    path.write_text("\n".join(lines))
    status = demo(["ladder", "--recipe", str(path), "--out", str(tmp_path / "out"), "--json"])
    assert status == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["name"] for stage in stages] == [*STAGES, *STAGES]
    assert all(0.0 <= stage["before"] <= 1.0 for stage in stages)
