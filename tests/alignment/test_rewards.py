"""Rewards by name, file and module; what is wrong with them is told with record and function."""

import time

import pytest

from cloche.alignment.rewards import Answered, RewardError, Rewards, RewardSpec, parse_reward
from cloche.errors import SettingError

OWN = """
import sys, time
calls = 0
def polite(prompt, answer, record):
    global calls
    calls += 1
    print("this goes nowhere near the pipe")
    return answer.count("please") + record.get("bonus", 0)
def counted(prompt, answer, record):
    global calls
    calls += 1
    return calls
def fails(prompt, answer, record):
    return 1 / len(answer)
def is_nan(prompt, answer, record):
    return float("nan")
def is_none(prompt, answer, record):
    pass
def is_text(prompt, answer, record):
    return "1"
def is_bool(prompt, answer, record):
    return True
def leaves(prompt, answer, record):
    sys.exit(3)
def dies(prompt, answer, record):
    import os
    os._exit(4)
def hangs(prompt, answer, record):
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    open(record["told"], "w").write(str(child.pid))
    time.sleep(60)
"""


def answered(written="please", **record) -> Answered:
    return Answered("Ask!", written, record, "prompts.jsonl, line 7")


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my_rewards.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def rewards():
    opened = []

    def open_rewards(*texts, seconds=10.0) -> Rewards:
        opened.append(Rewards(texts, seconds=seconds))
        return opened[-1]

    yield open_rewards
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("exact", RewardSpec("exact", None, 1.0)),
        ("length=20..60@0.1", RewardSpec("length", "20..60", 0.1)),
        (r"format=\w+@\w+", RewardSpec("format", r"\w+@\w+", 1.0)),
        ("my.py:polite@-2", RewardSpec("my.py:polite", None, -2.0)),
        ("a.b:c", RewardSpec("a.b:c", None, 1.0)),
    ],
)
def test_a_reward_is_a_name_an_option_and_a_weight(text, spec):
    assert parse_reward(text) == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exakt", "did you mean exact"),
        ("my.py:", "FILE.py:FUNCTION"),
        (":f", "FILE.py:FUNCTION"),
        ("exact@0", "weight .* must not be 0"),
        ("exact@nan", "weight .* must be a finite number, got nan"),
        ("exact@x", "weight .* must be a number, such as exact@0.5, got 'x'"),
        ("my.py:f@x", "weight .* must be a number, such as my.py:f@0.5, got 'x'"),
    ],
)
def test_what_can_mean_no_reward_is_refused(text, told):
    with pytest.raises(SettingError, match=told):
        parse_reward(text)


def test_all_that_is_wrong_with_several_rewards_is_told_at_once():
    with pytest.raises(SettingError, match=r"(?s)exakt.*given twice"):
        Rewards(["exakt", "exact", "exact@2"])


def test_rewards_add_up_by_their_weights(own, rewards):
    found = rewards("exact", "length=1..6@0.5", f"{own}:polite@2").judge(
        [
            answered("please", answer="please"),
            answered("please please", answer="please", bonus=1),
        ]
    )
    assert found.totals == (1.0 + 0.5 + 2.0, 0.0 + 0.0 + 6.0)
    assert found.means == {"exact": 0.5, "length": 0.5, "my_rewards.polite": 2.0}


def test_the_same_answer_to_the_same_record_is_judged_once(own, rewards):
    judge = rewards(f"{own}:counted").judge
    assert judge([answered(), answered(), answered("other")]).totals == (1.0, 1.0, 2.0)
    assert judge([answered()]).totals == (1.0,)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fails", r"ZeroDivisionError: division by zero \(my_rewards.py, line \d+\)"),
        ("is_nan", "finite number, got nan"),
        ("is_none", "got NoneType None"),
        ("is_text", "got str '1'"),
        ("is_bool", "got bool True"),
        ("leaves", "SystemExit: 3"),
        ("dies", "its process ended, with status 4"),
    ],
)
def test_a_function_that_gives_no_number_is_told_with_its_record(own, rewards, name, told):
    expected = rf"(?s)^prompts.jsonl, line 7: the reward .*:{name} .*{told}"
    with pytest.raises(RewardError, match=expected):
        rewards(f"{own}:{name}").judge([answered("")])


def test_a_function_that_hangs_is_ended_with_all_that_it_started(own, rewards, tmp_path):
    told = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(RewardError, match=r"line 7.*hangs.*over 0.5 seconds"):
        rewards(f"{own}:hangs", seconds=0.5).judge([answered(told=str(told))])
    assert time.monotonic() - began < 10
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(int(told.read_text())):
        time.sleep(0.05)
    assert not _runs(int(told.read_text()))


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_regular_expression_without_end_is_ended(rewards):
    judge = rewards("format=(a+)+b", seconds=0.5).judge
    with pytest.raises(RewardError, match=r"format.*over 0.5 seconds"):
        judge([answered("a" * 60)])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda own: f"{own}:polit", "no function 'polit': did you mean polite"),
        (lambda own: f"{own.parent}/absent.py:f", "absent.py does not exist"),
        (lambda own: "no_such_package.module:f", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_function_that_is_not_there_is_told_at_the_beginning(own, make, told):
    with pytest.raises(RewardError, match=told):
        Rewards([make(own)])


def test_a_file_that_is_no_python_is_told_with_its_line(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def fine(): pass\ndef broken(:\n")
    with pytest.raises(RewardError, match=r"SyntaxError: .* \(broken.py, line 2\)"):
        Rewards([f"{path}:broken"])


def test_a_function_of_too_few_arguments_is_told_before_it_is_called(tmp_path):
    path = tmp_path / "two.py"
    path.write_text("def two(prompt, answer): return 1\ndef any(*all): return 1\n")
    with pytest.raises(RewardError, match=r"takes \(prompt, answer\), and .* three"):
        Rewards([f"{path}:two"])
    Rewards([f"{path}:any"]).close()


def test_metrics_are_named_without_folders_and_apart(own, rewards, tmp_path):
    other = tmp_path / "other" / "my_rewards.py"
    other.parent.mkdir()
    other.write_text(OWN)
    found = rewards(f"{own}:polite", f"{other}:polite", "exact").judge([answered(answer="x")])
    assert list(found.means) == ["my_rewards.polite", "my_rewards.polite-2", "exact"]


def test_a_ready_reward_in_its_own_process_tells_of_a_field_as_any_other(rewards):
    said = []
    for name in ("exact", "format"):
        with pytest.raises(RewardError) as raised:
            rewards(name).judge([answered(other="x")])
        said.append(str(raised.value))
    assert said[0].endswith("there is no field 'answer'; there are: other")
    assert said[1].endswith("there is no field 'format'; there are: other")


def test_a_module_of_the_present_folder_is_found(own, rewards, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert rewards("my_rewards:polite").judge([answered()]).totals == (1.0,)
