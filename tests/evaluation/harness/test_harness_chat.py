"""Questions of tasks asked by the chat template, as the harness's own model asks them."""

import shutil
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from cloche.errors import RequestError
from cloche.evaluation.harness import run_tasks
from cloche.evaluation.harness_model import HarnessModel
from cloche.run import LM, load

TEMPLATE = """\
{% for m in messages %}{{ '[' + m.role[0] + ']' + m.content }}\
{% if m.role == 'assistant' %}<|endoftext|>{% endif %}{% endfor %}\
{% if add_generation_prompt %}[a]{% endif %}"""


@pytest.fixture
def tuned_folder(folder_of, tmp_path) -> Path:
    folder = shutil.copytree(folder_of(), tmp_path / "tuned")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def asked(tuned_folder) -> LM:
    return load(tuned_folder, device="cpu").asking()


def test_scores_of_a_model_asked_by_its_template_are_those_of_the_harness(
    tuned_folder, asked, task_folder, monkeypatch
):
    names, read = ["choice", "answer"], []
    encode = HarnessModel.tok_encode

    def noted(self, string, *given, **named):
        read.append(string)
        return encode(self, string, *given, **named)

    monkeypatch.setattr(HarnessModel, "tok_encode", noted)
    ours = run_tasks(asked, names, include_path=task_folder, shots=1, warn=lambda _text: None)
    assert all(text.count("[u]") == 2 for text in read if "[a]" in text)
    assert sum(text.endswith("[a]") for text in read) >= 14
    monkeypatch.chdir(task_folder)
    harness: Any = lm_eval
    theirs = harness.simple_evaluate(
        "hf",
        model_args={"pretrained": str(tuned_folder), "dtype": "float32"},
        device="cpu",
        tasks=list(names),
        num_fewshot=1,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
    )
    for result in ours.tasks:
        expected = theirs["results"][result.name]
        for metric in result.metrics:
            score = expected[f"{metric.name},{metric.filter}"]
            assert metric.value == pytest.approx(score, rel=1e-4)


def test_the_harness_sees_the_conversation_as_the_template_writes_it(asked):
    model = HarnessModel(asked, rows=1)
    shots = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert model.apply_chat_template(shots) == "[u]a[a]b<|endoftext|>[u]c[a]"
    begun = [*shots, {"role": "assistant", "content": "It is"}]
    written = model.apply_chat_template(begun, add_generation_prompt=False)
    assert written == "[u]a[a]b<|endoftext|>[u]c[a]It is"


def test_a_model_without_a_template_cannot_be_asked(lm):
    with pytest.raises(RequestError, match="no chat template"):
        lm.asking()
