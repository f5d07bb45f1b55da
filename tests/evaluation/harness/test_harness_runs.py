"""Tasks give the same scores by our adapter and by the harness's own model of the same folder."""

import sys
from typing import Any

import lm_eval
import numpy as np
import pytest
from lm_eval.tasks import TaskManager

from cloche.errors import DataError, SettingError
from cloche.evaluation.harness import TaskReport, TaskResult, run_tasks
from cloche.evaluation.harness_model import HarnessModel


def silent(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def scores(result: TaskResult) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in result.metrics}


def one(report: TaskReport, name: str) -> TaskResult:
    return next(result for result in (*report.tasks, *report.groups) if result.name == name)


@pytest.mark.parametrize("shots", [0, 2])
def test_scores_are_those_of_the_harness(lm, folder_of, task_folder, shots, monkeypatch):
    names = ["choice", "text", "answer"]
    told: list[str] = []
    ours = run_tasks(lm, names, include_path=task_folder, shots=shots, rows=3, warn=told.append)
    monkeypatch.chdir(task_folder)  # the harness looks for data in the working folder
    harness: Any = lm_eval  # its types say another function's arguments
    theirs = harness.simple_evaluate(
        "hf",
        model_args={"pretrained": str(folder_of()), "dtype": "float32"},
        device="cpu",
        tasks=list(names),
        num_fewshot=shots,
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
    )
    for name in names:
        expected = theirs["results"][name]
        result = one(ours, name)
        assert (result.documents, result.shots) == (expected["sample_len"], shots)
        assert {f"{each.name},{each.filter}" for each in result.metrics} == {
            key for key in expected if "," in key and "_stderr" not in key
        }
        for metric in result.metrics:
            score = expected[f"{metric.name},{metric.filter}"]
            assert metric.value == pytest.approx(score, rel=1e-4)
            error = expected[f"{metric.name}_stderr,{metric.filter}"]
            assert metric.stderr == (None if error == "N/A" else pytest.approx(error))
    assert not ours.unknown_tokens
    assert all("fewshot_split is None" in message for message in told)


def test_scores_are_what_the_answers_amount_to(lm, task_folder):
    found = run_tasks(lm, ["choice"], include_path=task_folder, limit=3, warn=silent)
    assert one(found, "choice").documents == 3
    model = HarnessModel(lm, rows=2)
    assert 0.0 <= (scores(one(found, "choice"))["acc"] or 0.0) <= 1.0
    assert model.cut_requests == found.cut_requests == 0


def test_a_group_has_a_score_of_its_own(lm, task_folder):
    told: list[str] = []
    found = run_tasks(lm, ["both"], include_path=task_folder, warn=told.append)
    assert [result.name for result in found.groups] == ["both"]
    assert {result.name for result in found.tasks} == {"choice", "answer"}
    assert scores(one(found, "both"))["acc"] == scores(one(found, "choice"))["acc"]
    assert len(told) == 1
    assert "'acc,none' is missing in 1/2 tasks" in told[0]


def test_the_tasks_that_come_along_run_and_take_their_shots(lm):
    names = ["cloche_choice", "cloche_text", "cloche_answer"]
    found = run_tasks(lm, names, warn=silent)
    assert [result.documents for result in found.tasks] == [12, 4, 8]
    assert all(result.version == "1.0" for result in found.tasks)
    assert set(scores(one(found, "cloche_text"))) == {"bits_per_byte", "byte_perplexity"}
    shot = run_tasks(lm, ["cloche_choice"], shots=1, warn=silent)
    assert one(shot, "cloche_choice").shots == 1


def test_random_numbers_of_the_caller_go_on_as_if_nothing_had_been(lm, task_folder):
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    run_tasks(lm, ["choice"], include_path=task_folder, limit=1, warn=silent)
    assert np.random.rand() == expected


def test_all_settings_out_of_range_are_told_at_once(lm):
    with pytest.raises(SettingError, match=r"(?s)name one task.*limit.*got 0.*shots.*-1.*rows"):
        run_tasks(lm, ["", "choice"], limit=0, shots=-1, rows=0)


def test_without_the_harness_the_extra_is_named(lm, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    with pytest.raises(SettingError, match=r"pip install 'cloche\[eval\]'"):
        run_tasks(lm, ["choice"])


def test_a_file_that_does_not_fit_its_data_is_told(lm, task_folder):
    path = task_folder / "choice.yaml"
    path.write_text(path.read_text().replace("{{question}}", "{{query.text}}"))
    with pytest.raises(DataError, match=r"cannot be loaded: Undef.*see .*tasks/choice\.yaml$"):
        run_tasks(lm, ["choice"], include_path=task_folder, warn=silent)


def test_what_the_harness_warns_of_is_passed_on(lm, task_folder):
    with (task_folder / "questions.jsonl").open("a") as file:
        file.write('{"question": "A", "choices": [" hill"], "answer": 9}\n')
    told: list[str] = []
    run_tasks(lm, ["choice"], include_path=task_folder, warn=told.append)
    assert len(told) == 1
    assert told[0].startswith("lm-evaluation-harness: Label index was not")


def test_a_task_that_fails_at_a_later_row_is_told(lm, task_folder):
    (task_folder / "asking.py").write_text(
        "def ask(row):\n    return row['question'][99]\n"  # long enough is the first alone
    )
    rows = '{"question": "' + "cat" * 40 + '", "choices": [" hill"], "answer": 0}\n'
    text = (task_folder / "questions.jsonl").read_text()
    (task_folder / "questions.jsonl").write_text(rows + text)
    path = task_folder / "choice.yaml"
    path.write_text(path.read_text().replace('"{{question}}"', "!function asking.ask"))
    with pytest.raises(DataError, match=r"cannot run choice: IndexError.*fits its data"):
        run_tasks(lm, ["choice"], include_path=task_folder, warn=silent)


def test_a_perplexity_too_large_for_a_number_is_explained(lm, task_folder):
    path = task_folder / "text.yaml"
    path.write_text(path.read_text().replace("byte_perplexity", "word_perplexity"))
    text = '{"text": "' + "春眠不觉晓" * 60 + '"}\n'
    (task_folder / "texts.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"few spaces.*bits_per_byte"):
        run_tasks(lm, ["text"], include_path=task_folder, warn=lambda message: None)


def test_an_error_of_the_model_is_not_blamed_on_the_task(lm, task_folder, monkeypatch):
    def breaks(*arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(lm.model, "hidden", breaks)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_tasks(lm, ["choice"], include_path=task_folder, warn=silent)
