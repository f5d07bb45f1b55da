import pytest

from cloche.training.verdict import Evaluation, evaluations_in, judge


def curve(*pairs):
    return [Evaluation(100 * (n + 1), *pair) for n, pair in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([(3.0, 2.9), (2.5, 2.4), (2.2, 2.1)], "Still learning"),
        ([(3.0, 2.9), (2.2, 2.2), (2.21, 2.2), (2.2, 2.2)], "levelled off"),
        ([(3.0, 2.9), (2.5, 2.4), (2.2, 2.2), (2.199, 2.2)], "Still learning"),
        ([(3.0, 2.9), (2.5, 2.2), (2.4, 1.8)], "by heart has begun"),
        ([(3.0, 2.9), (2.5, 2.2), (2.8, 1.5)], "Overfitting"),
    ],
)
def test_a_curve_is_put_into_words(pairs, said):
    assert said in (judge(curve(*pairs)) or "")


def test_an_overfitted_run_is_told_where_its_best_checkpoint_stands():
    said = judge(curve((3.0, 2.9), (2.5, 2.2), (2.7, 1.8), (2.9, 1.5)))
    assert said is not None
    assert "lowest at step 200 (2.500)" in said
    assert "2.900 nats" in said


def test_a_run_of_a_few_steps_is_not_judged():
    evaluations = [Evaluation(4 * n, 7.1 - 0.01 * n, 7.1 - 0.01 * n) for n in range(1, 11)]
    said = judge(evaluations)
    assert said is not None
    assert said.startswith("Too short to judge by, with 40 steps: it ended at 7.000 nats")


def test_two_evaluations_are_no_curve():
    assert judge(curve((3.0, 2.9), (2.5, 2.2))) is None


def test_evaluations_are_found_among_the_rows():
    rows = [
        {"step": 0, "eval/loss": 5.0, "eval/train_loss": 5.0},
        {"step": 1, "train/loss": 4.0},
        {"step": 1, "eval/loss": 4.0, "eval/train_loss": 3.9},
    ]
    assert evaluations_in(rows) == [Evaluation(1, 4.0, 3.9)]
