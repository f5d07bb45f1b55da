"""Tasks are found by name or by file, with their data beside them; what is missing is told."""

import os

import pytest

from cloche.errors import DataError, SettingError
from cloche.evaluation.harness_tasks import load_tasks


def load(*names, folder=None, shots=None, warn=pytest.fail):
    return load_tasks(names, include_path=folder, shots=shots, warn=warn)


def test_a_task_is_found_by_its_name_and_by_its_file(task_folder):
    by_name = load("choice", folder=task_folder)["tasks"]
    by_file = load(str(task_folder / "choice.yaml"))["tasks"]
    assert list(by_name) == list(by_file) == ["choice"]
    assert len(by_name["choice"].eval_docs) == len(by_file["choice"].eval_docs) == 7


def test_data_is_looked_for_beside_the_file_then_in_the_working_folder(
    task_folder, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "questions.jsonl").write_text("not this one")
    assert len(load("choice", folder=task_folder)["tasks"]["choice"].eval_docs) == 7
    os.replace(task_folder / "questions.jsonl", elsewhere / "questions.jsonl")
    assert len(load("choice", folder=task_folder)["tasks"]["choice"].eval_docs) == 7


def test_a_pattern_of_files_beside_the_task_is_read_whole(task_folder):
    text = (task_folder / "questions.jsonl").read_text()
    (task_folder / "questions-more.jsonl").write_text(text)
    path = task_folder / "choice.yaml"
    path.write_text(path.read_text().replace("questions.jsonl", "['questions*.jsonl']"))
    assert len(load("choice", folder=task_folder)["tasks"]["choice"].eval_docs) == 14


def test_a_task_takes_what_it_includes_and_the_python_beside_it(task_folder):
    (task_folder / "made.yaml").write_text(
        "include: choice.yaml\ntask: made\ntag: mine\ndoc_to_text: !function made.ask\n"
    )
    (task_folder / "made.py").write_text("def ask(row):\n    return 'Asked: ' + row['question']\n")
    task = load("mine", folder=task_folder)["tasks"]["made"]
    assert task.doc_to_text(task.eval_docs[0]) == "Asked: The cat sat on the"


def test_shots_are_those_of_the_file_unless_given(task_folder):
    path = task_folder / "choice.yaml"
    path.write_text(path.read_text() + "num_fewshot: 2\n")
    shots = [
        load("choice", folder=task_folder, shots=given)["tasks"]["choice"].get_config("num_fewshot")
        for given in (None, 0, 1)
    ]
    assert shots == [2, 0, 1]
    assert load("answer", folder=task_folder)["tasks"]["answer"].get_config("num_fewshot") == 0


def test_a_task_that_forbids_shots_keeps_to_it_and_says_so(task_folder):
    path = task_folder / "choice.yaml"
    path.write_text(path.read_text() + "num_fewshot: 0\n")
    told: list[str] = []
    task = load("choice", folder=task_folder, shots=3, warn=told.append)["tasks"]["choice"]
    assert task.get_config("num_fewshot") == 0
    assert told == ["the file of the task choice sets num_fewshot: 0, so --shots is not for it"]


def test_two_tasks_of_one_name_are_told(task_folder):
    (task_folder / "zwei.yaml").write_text((task_folder / "choice.yaml").read_text())
    told: list[str] = []
    load("choice", folder=task_folder, warn=told.append)
    assert len(told) == 1
    assert "Duplicate task name 'choice'" in told[0]


def test_files_and_folders_that_are_not_there_are_told_at_once(tmp_path):
    with pytest.raises(SettingError, match=r"(?s)--include-path.*nowhere.*lost\.yaml does not"):
        load(str(tmp_path / "lost.yaml"), folder=tmp_path / "nowhere")


def test_a_file_without_a_task_is_told(tmp_path):
    (tmp_path / "part.yaml").write_text("output_type: multiple_choice\n")
    with pytest.raises(DataError, match=r"part\.yaml holds no task.*doc_to_target"):
        load(str(tmp_path / "part.yaml"))


def test_an_unknown_task_names_near_ones_and_files_that_cannot_be_read(
    task_folder, tmp_path, monkeypatch
):
    # without the harness's own files, which take seconds to look through
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(tmp_path / "none" / "manager.py"))
    (task_folder / "broken.yaml").write_text("task: [choise\n")
    (task_folder / "part.yaml").write_text("output_type: multiple_choice\n")
    with pytest.raises(SettingError, match=r"(?s)no task 'choise'.*choice.*broken\.yaml") as caught:
        load("choise", "choice", folder=task_folder)
    assert "part.yaml" not in str(caught.value)


def test_a_task_of_the_hub_says_that_it_needs_the_network(task_folder):
    path = task_folder / "choice.yaml"
    hub = path.read_text().replace("dataset_path: json", "dataset_path: somebody/questions")
    path.write_text(hub.replace("dataset_kwargs: {data_files: {test: questions.jsonl}}\n", ""))
    with pytest.raises(DataError, match=r"somebody/questions from the Hugging Face hub") as caught:
        load("choice", folder=task_folder)
    assert "dataset_path: json" in str(caught.value)


def test_data_that_is_missing_or_damaged_is_told_for_each_task(task_folder):
    (task_folder / "questions.jsonl").write_text('{"question": "The')
    (task_folder / "texts.jsonl").unlink()
    with pytest.raises(DataError, match=r"(?s)choice cannot be loaded.*text cannot be loaded"):
        load("choice", "text", folder=task_folder)
