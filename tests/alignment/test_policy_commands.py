"""`cloche align grpo` and `cloche align ppo`."""

import json

import pytest
from small_policies import make_base, make_prompts

from cloche.cli.main import main

QUICK = (
    *("--rollout.prompts", "4", "--rollout.max-tokens", "5", "--rollout.held-out", "2"),
    *("--train.precision", "float32", "--train.steps", "2", "--train.trackers", "none"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    make_base(folder / "base")
    make_prompts(folder / "prompts.jsonl")
    return folder


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_run_is_told_as_one_json_object(place, tmp_path, capsys, kind):
    asked = [str(place / "base"), str(place / "prompts.jsonl"), "--out", str(tmp_path / "run")]
    rewards = ["--reward", "exact", "--reward", "length=2..4@0.1", "--truth", "exact"]
    assert main(["align", kind, *asked, *rewards, *QUICK, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["finished"]
    assert told["step"] == 2
    assert told["before"]["step"] == 0
    assert told["before"]["kl"] == 0.0
    assert {"truth", "reward", "reward/exact", "reward/length"} <= told["after"].keys()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["grpo"], "name what is rewarded"),
        (["grpo", "--reward", "exact", "--reward", "exact@2"], "exact is given twice"),
        (["grpo", "--reward", "exakt"], "did you mean exact"),
        (["grpo", "--reward", "exact", "--align.group", "1"], "align.group must be at least 2"),
        (["ppo"], "say who judges"),
        (["ppo", "--reward-model", "nowhere"], "nowhere does not exist"),
        (["ppo", "--reward", "a.py:f"], "a.py does not exist"),
        (["grpo", "--reward", "exact", "--train.z-loss", "0.1"], "z-loss is for cross-entropy"),
        (["grpo", "--reward", "exact", "--train.average", "0.9"], "average has no meaning in a"),
    ],
)
def test_a_mistake_is_one_message(place, tmp_path, capsys, arguments, told):
    kind, *options = arguments
    asked = [str(place / "base"), str(place / "prompts.jsonl"), "--out", str(tmp_path / "run")]
    assert main(["align", kind, *asked, *options, *QUICK]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
