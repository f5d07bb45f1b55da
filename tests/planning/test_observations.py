from dataclasses import replace

import pytest

from cloche.errors import RunError
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.planning.observations import RunRecord, observe


def record(name="a", *, width=64, losses=(3.0, 2.5, 2.2, 2.0, 1.9), every=100, **changes):
    config = complete(ModelOptions(), vocab_size=100, layers=2, width=width, context=32)
    rows = [{"step": 0, "eval/loss": 4.6}]
    for number, loss in enumerate(losses, start=1):
        rows += [{"step": number * every, "train/loss": loss + 0.1}]
        rows += [{"step": number * every, "eval/loss": loss}]
    found = RunRecord(name, config, 8, rows, "text-of-all", "tokens-of-all", 10**9, {"train.x": 1})
    return replace(found, **changes)


def several(*, sizes=(32, 64, 96), lengths=(100, 200, 400)):
    return [
        record(f"{width}-{every}", width=width, every=every) for width in sizes for every in lengths
    ]


def test_a_single_run_gives_its_evaluations_with_a_warning():
    found = observe([record()])
    assert found.which == "all"
    assert [point.tokens for point in found.points] == [k * 100 * 8 * 32 for k in range(1, 6)]
    assert found.points[0].parameters == parameter_count(record().config)
    assert "learning rate had not come down" in found.notes[0]


def test_many_runs_give_their_last_evaluations():
    found = observe(several())
    assert found.which == "last"
    assert len(found.points) == 9
    assert len(found.sizes) == 3
    assert {point.loss for point in found.points} == {1.9}
    assert found.notes == ()


def test_all_evaluations_can_be_asked_for_and_the_first_tenth_is_left_out():
    long = record(losses=[3 - k / 20 for k in range(20)])
    assert len(observe([long], which="all").points) == 19


def test_other_texts_and_tokenizers_are_named():
    with pytest.raises(RunError, match=r"different texts.*text text-of-all: a, b; text other: c"):
        observe([record("a"), record("b"), record("c", text="other")])
    with pytest.raises(RunError, match=r"different tokenizers.*tokens-of-al: a; tokenizer bpe: b"):
        observe([record("a"), record("b", tokenizer="bpe")])


def test_what_follows_the_best_of_an_overfitted_run_is_left_out():
    found = observe([record(losses=(3, 2.5, 2.2, 2.0, 1.9, 2.1, 2.4))])
    assert min(point.loss for point in found.points) == found.points[-1].loss == 1.9
    assert "a was best at step 500 (1.9000) and ended at 2.4000" in found.notes[0]


def test_too_few_points_sizes_or_lengths_are_told():
    with pytest.raises(RunError, match="at least 5 evaluations, and there are 2"):
        observe([record(losses=(3.0, 2.0))])
    with pytest.raises(RunError, match="at least 3 sizes, and these have 2"):
        observe([record("a"), record("b", width=96)])
    with pytest.raises(RunError, match="at least 5 evaluations, and there are 0"):
        observe([record(losses=())])
    with pytest.raises(RunError, match="of 1: add runs of other lengths"):
        observe([record(str(seed)) for seed in range(6)], which="last")


def test_other_differences_and_many_passes_are_told():
    runs = [*several(), record("odd", settings={"train.x": 2}), record("r", train_tokens=10_000)]
    notes = " ".join(observe(runs).notes)
    assert "differ in train.x, too: 1, 2" in notes
    assert "seen up to 12.8 times" in notes


def test_models_that_are_counted_or_translate_have_no_such_law():
    config = replace(record().config, family="seq2seq")
    with pytest.raises(RunError, match="a is a seq2seq model"):
        observe([record(config=config)])
