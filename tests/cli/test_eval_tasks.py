"""`cloche eval RUN --tasks`: a table, or one JSON object; options that do not go together."""

import json
from pathlib import Path

import pytest
import torch

from cloche.cli.main import main
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.weights.checkpoint import save_checkpoint

TEXT = "The cat sat on the mat. A dog ran over the hill, and the bird sang.\n"


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """Data sets and their caches in a folder of the test; a look at the network is an error."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    tokenizer = train_bpe([TEXT * 20], vocab_size=300, rule="gpt-2")
    size = tokenizer.vocab_size
    config = complete(ModelOptions(), vocab_size=size, layers=1, width=32, context=256)
    torch.manual_seed(1)
    folder: Path = tmp_path_factory.mktemp("model") / "tiny"
    save_checkpoint(folder, model=build_model(config), config=config, tokenizer=tokenizer, card="")
    return str(folder)


def test_json_is_one_object_and_nothing_else(model_folder, capsys):
    command = ["eval", model_folder, "--tasks", "cloche_choice, cloche_text", "--json"]
    assert main([*command, "--shots", "1", "--limit", "4"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["run"], values["checkpoint"], values["limit"]) == (model_folder, model_folder, 4)
    assert [task["name"] for task in values["tasks"]] == ["cloche_choice", "cloche_text"]
    choice = values["tasks"][0]
    assert (choice["documents"], choice["shots"], choice["version"]) == (4, 1, "1.0")
    accuracy = choice["metrics"][0]
    assert accuracy.keys() == {"name", "filter", "value", "stderr", "higher_is_better"}
    assert accuracy["name"] == "acc"
    assert accuracy["value"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert values["groups"] == []


def test_the_table_names_tasks_scores_and_what_must_be_known(model_folder, capsys):
    command = ["eval", model_folder, "--tasks", "cloche_choice,cloche_answer"]
    assert main([*command, "--limit", "3", "--rows", "2"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split()[:3] == ["task", "shots", "documents"]
    assert [line.split()[0] for line in lines[1:4]] == [
        "cloche_choice",
        "acc_norm",
        "cloche_answer",
    ]
    assert "exact_match" in lines[3]
    assert f"checkpoint {model_folder}" in printed
    assert "only the first 3 documents" in printed


def test_what_is_cut_is_told(model_folder, tmp_path, capsys):
    rows = [{"text": TEXT * 40, "end": " mat"}]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "long.yaml").write_text(
        "task: long\ndataset_path: json\ndataset_kwargs: {data_files: {test: long.jsonl}}\n"
        "test_split: test\noutput_type: loglikelihood\ntarget_delimiter: ''\n"
        'doc_to_text: "{{text}}"\ndoc_to_target: "{{end}}"\n'
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    assert main(["eval", model_folder, "--tasks", str(tmp_path / "long.yaml")]) == 0
    assert (
        "longer than the model's context, which were cut at the left: 1" in capsys.readouterr().out
    )


def test_options_that_go_with_texts_alone_are_refused(model_folder, capsys):
    command = ["eval", model_folder, "book.txt", "--tasks", "cloche_text", "--stride", "3"]
    assert main(command) == 2
    told = capsys.readouterr()
    assert "TEXT, --stride is for measuring on texts" in told.err
    assert not told.out


def test_options_of_tasks_without_tasks_are_refused(model_folder, capsys):
    assert main(["eval", model_folder, "--limit", "3", "--include-path", "tasks"]) == 2
    assert "--include-path, --limit is for tasks" in capsys.readouterr().err


def test_a_task_that_is_not_there_and_numbers_out_of_range_are_told(model_folder, capsys):
    assert main(["eval", model_folder, "--tasks", "lost.yaml"]) == 2
    assert "the task file lost.yaml does not exist" in capsys.readouterr().err
    assert main(["eval", model_folder, "--tasks", ",", "--limit", "0", "--json"]) == 2
    told = capsys.readouterr()
    assert "tasks must name one task or more" in told.err
    assert "limit must be at least 1 document, got 0" in told.err
    assert not told.out
