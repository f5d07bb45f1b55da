"""A pretrained model in the tasks that come along: our adapter beside the harness's own model."""

import os
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from cloche.evaluation.harness import run_tasks
from cloche.evaluation.harness_tasks import OWN_TASKS
from cloche.run import load

NAMES = ["cloche_choice", "cloche_text", "cloche_answer"]


@pytest.mark.bars
def test_scores_of_smollm2_are_those_of_the_harness(monkeypatch):
    folder = os.environ.get("CLOCHE_SMOLLM")
    if not folder:
        pytest.skip("CLOCHE_SMOLLM does not name SmolLM2 as a Hugging Face folder")
    told: list[str] = []
    found = run_tasks(load(folder, device="cpu"), NAMES, shots=2, warn=told.append)
    monkeypatch.chdir(OWN_TASKS)
    harness: Any = lm_eval
    theirs = harness.simple_evaluate(
        "hf",
        model_args={"pretrained": folder, "dtype": "float32"},
        device="cpu",
        tasks=list(NAMES),
        num_fewshot=2,
        task_manager=TaskManager(include_path=str(OWN_TASKS), include_defaults=False),
    )
    for result in found.tasks:
        for metric in result.metrics:
            score = theirs["results"][result.name][f"{metric.name},{metric.filter}"]
            assert metric.value == pytest.approx(score, rel=1e-4), (result.name, metric.name)
    assert {result.name for result in found.tasks} == set(NAMES)
    assert all("fewshot_split is None" in message for message in told)
