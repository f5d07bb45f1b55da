"""Which folders a run is written into, and which are left alone."""

import pytest

import cloche
from cloche.errors import RunError
from cloche.training.folder import claimed

VERBS = {
    "train": lambda given, out: cloche.train(given, out=out, listeners=[]),
    "tune": lambda given, out: cloche.tune("base", given, out=out, listeners=[]),
    "text": lambda given, out: cloche.tune_on_text("base", given, out=out, listeners=[]),
    "classify": lambda given, out: cloche.tune_classify("base", given, out=out, listeners=[]),
    "reward": lambda given, out: cloche.align_reward("base", given, out=out, listeners=[]),
    "dpo": lambda given, out: cloche.align_dpo("base", given, out=out, listeners=[]),
    "ppo": lambda given, out: cloche.align_ppo(
        "base", given, out=out, options={"reward": ["exact"]}, listeners=[]
    ),
    "grpo": lambda given, out: cloche.align_grpo(
        "base", given, out=out, options={"reward": ["exact"]}, listeners=[]
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(verb, book, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.toml").write_text('[tool]\nname = "mine"\n')
    (mine / "metrics.jsonl").write_text("my own\n")
    with pytest.raises(RunError, match=r"no run of cloche.*config\.toml.*touched.*--out.*move"):
        VERBS[verb](book, mine)
    assert {path.name: path.read_text() for path in mine.iterdir()} == {
        "config.toml": '[tool]\nname = "mine"\n',
        "metrics.jsonl": "my own\n",
    }


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_a_model_folder_is_no_place_for_a_run(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(RunError, match="is a model folder"), claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_a_run_is_not_written_into_its_own_base(verb, book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    with pytest.raises(RunError, match="is the model to begin with itself"):
        VERBS[verb](book, tmp_path / "base")
    assert not list((tmp_path / "base").iterdir())


@pytest.mark.parametrize(
    "left",
    [
        {},
        {".gitkeep": ""},
        {"began.txt": "2026-01-01T00:00:00", "reference.safetensors": ""},
        {"config.toml": "[train]\nsteps = 4\n", "metrics.jsonl": "", "notes.txt": "mine"},
    ],
    ids=["nothing", "hidden", "died early", "no checkpoint"],
)
def test_an_empty_folder_and_a_run_without_a_checkpoint_are_taken(tmp_path, left):
    for name, text in left.items():
        (tmp_path / name).write_text(text)
    with claimed(tmp_path):
        assert (tmp_path / ".lock").exists()
