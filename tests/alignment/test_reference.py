"""What the base thinks of answers is computed once, kept, and never taken for another's."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cloche.alignment import reference
from cloche.alignment.preference_evaluation import pair_logprobs
from cloche.alignment.reference import REFERENCE, reference_logprobs
from cloche.data.examples import Example
from cloche.errors import CheckpointError, RunError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.tuning.session import Telling

VOCAB = 19
BASE = {"base": "one", "data": "some"}


@pytest.fixture(name="answers")
def some_answers() -> list[tuple[Example, Example]]:
    generator = np.random.default_rng(1)

    def example() -> Example:
        ids = generator.integers(VOCAB, size=int(generator.integers(3, 12)))
        return Example(ids, np.arange(len(ids)) >= 2)

    return [(example(), example()) for _ in range(7)]


class Asked:
    """A model, the words that were said, and how often it read."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = complete(ModelOptions(), vocab_size=VOCAB, layers=1, width=16, context=16)
        built = build_model(config)
        assert isinstance(built, Decoder)
        self.model = built
        for weight in built.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        self.passes = 0
        self.warned: list[str] = []
        built.norm.register_forward_hook(self.count)

    def count(self, *_: object) -> None:
        self.passes += 1

    def about(self, run, answers, belongs_to=BASE, *, resumed=False):
        telling = Telling(lambda _: None, self.warned.append, resumed=resumed)
        return reference_logprobs(
            self.model, answers, run=run, belongs_to=belongs_to, telling=telling
        )


def test_they_are_in_the_order_of_the_records_whatever_order_they_are_read_in(tmp_path, answers):
    asked = Asked()
    expected = pair_logprobs(asked.model, answers)
    torch.testing.assert_close(asked.about(tmp_path, answers), expected)


def test_a_second_sitting_reads_the_file_and_not_the_answers(tmp_path, answers):
    first = Asked().about(tmp_path, answers)
    again = Asked()
    found = again.about(tmp_path, answers, resumed=True)
    assert again.passes == 0
    assert found.equal(first)


def test_one_that_was_killed_goes_on_and_ends_the_same(tmp_path, answers, monkeypatch):
    monkeypatch.setattr(reference, "PASS_TOKENS", 20)
    monkeypatch.setattr(reference, "SAVE_SECONDS", -1.0)
    whole = Asked()
    expected = whole.about(tmp_path / "whole", answers)
    assert whole.passes > 4

    killed = Asked()

    def die(*_: object) -> None:
        if killed.passes == 3:
            raise KeyboardInterrupt

    killed.model.norm.register_forward_hook(die)
    with pytest.raises(KeyboardInterrupt):
        killed.about(tmp_path / "killed", answers)
    resumed = Asked()
    assert resumed.about(tmp_path / "killed", answers).equal(expected)
    assert resumed.passes == whole.passes - 2
    files = [(tmp_path / name / REFERENCE).read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_numbers_of_another_base_are_refused_where_the_run_goes_on(tmp_path, answers):
    Asked().about(tmp_path, answers)
    with pytest.raises(RunError, match="computed with another base"):
        Asked().about(tmp_path, answers, {**BASE, "base": "two"}, resumed=True)


def test_they_are_computed_anew_where_the_run_begins(tmp_path, answers):
    Asked().about(tmp_path, answers)
    begun = Asked()
    begun.about(tmp_path, answers, {**BASE, "data": "other"})
    assert begun.passes > 0
    again = Asked()
    again.about(tmp_path, answers, {**BASE, "data": "other"}, resumed=True)
    assert again.passes == 0


@pytest.mark.parametrize("damage", ["cut", "nan", "too long", "no origin", "not a file of tensors"])
def test_a_damaged_file_is_told_and_computed_anew(damage, tmp_path, answers):
    expected = Asked().about(tmp_path, answers)
    path = tmp_path / REFERENCE
    held = load_file(path)["logprobs"]
    key = {"belongs_to": json.dumps(BASE)}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "nan":
        save_file({"logprobs": held.where(held > held.mean(), torch.nan)}, path, metadata=key)
    elif damage == "too long":
        save_file({"logprobs": torch.cat([held, held])}, path, metadata=key)
    elif damage == "no origin":
        save_file({"logprobs": held}, path)
    else:
        path.write_text("numbers")
    asked = Asked()
    torch.testing.assert_close(asked.about(tmp_path, answers, resumed=True), expected)
    assert len(asked.warned) == 1
    assert "computed again" in asked.warned[0]


def test_a_base_that_thinks_in_no_numbers_is_told(tmp_path, answers):
    asked = Asked()
    with torch.no_grad():
        asked.model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="no number"):
        asked.about(tmp_path, answers)
    assert not (tmp_path / REFERENCE).exists()
