"""Figures by layer in a whole training, which they do not change; and the checkpoints that stay."""

import math

import pytest
from small_runs import SMALL
from tiny_training import TinyTraining, assert_equal_weights

import cloche
from cloche.training.events import StepDone
from cloche.training.options import TrainOptions
from cloche.weights.history import list_checkpoints, point, prune


def figures(tiny, name):
    """The figures of the last step that begin with a name, by what comes after it."""
    metrics = tiny.told(StepDone)[-1].metrics
    return {key.removeprefix(name): value for key, value in metrics.items() if key.startswith(name)}


def trained(steps=3, **options):
    tiny = TinyTraining(**options)
    tiny.run(steps)
    return tiny


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_watched_training_learns_the_same_weights_bit_by_bit(optimizer):
    watched, alone = (trained(optimizer=optimizer, statistics_every=n) for n in (1, 99))
    assert figures(watched, "train/grad_norm/").keys() >= {"layers.0", "layers.1", "norm"}
    assert not figures(alone, "train/grad_norm/")
    assert_equal_weights(watched.weights(), alone.weights())


def test_norms_by_layer_are_those_before_clipping_and_add_up_to_the_whole():
    tiny = trained(statistics_every=1, clip=1e-3)
    norms = figures(tiny, "train/grad_norm/")
    assert math.hypot(*norms.values()) == pytest.approx(
        tiny.told(StepDone)[-1].gradient_norm, rel=1e-5
    )
    assert math.hypot(*norms.values()) > 0.01


def test_steps_in_parts_have_the_figures_of_whole_ones():
    whole, parts = (trained(statistics_every=1, accumulate=number) for number in (1, 4))
    for name in ("train/grad_norm/", "train/update_ratio/"):
        assert figures(parts, name) == pytest.approx(figures(whole, name), rel=1e-3)


def test_the_ratio_is_that_of_the_steps_own_change():
    whole, first = TinyTraining(statistics_every=2), TinyTraining(statistics_every=2)
    whole.run(2)
    first.run(2, stop_requested=lambda: True)  # after one step
    old, new = first.weights(), whole.weights()
    inside = [name for name in new if name.startswith("layers.1.")]
    change = math.hypot(*(float((new[name] - old[name]).norm()) for name in inside))
    size = math.hypot(*(float(old[name].norm()) for name in inside))
    assert figures(whole, "train/update_ratio/")["layers.1"] == pytest.approx(
        change / size, rel=1e-4
    )


def test_the_scale_of_a_loss_in_float16_is_not_in_the_figures():
    half = trained(1, statistics_every=1, precision="float16")
    exact = trained(1, statistics_every=1)
    norms = figures(half, "train/grad_norm/")
    assert norms == pytest.approx(figures(exact, "train/grad_norm/"), rel=0.05)


def test_a_resumed_training_has_the_figures_of_one_that_never_stopped():
    whole = trained(6, statistics_every=3)
    first = TinyTraining(statistics_every=3)
    stops = iter([False, True])
    first.run(6, stop_requested=lambda: next(stops))
    second = first.resumed()
    second.run(second.state)
    assert figures(second, "train/update_ratio/") == figures(whole, "train/update_ratio/")
    assert figures(second, "train/grad_norm/") == figures(whole, "train/grad_norm/")


def test_weights_are_copied_in_the_watched_steps_only(monkeypatch):
    steps = []

    def watch(parameters):
        steps.append(tiny.step)
        return {name: weight.detach().clone() for name, weight in parameters}

    monkeypatch.setattr("cloche.training.step.weights_now", watch)
    tiny = TinyTraining(statistics_every=2)
    tiny.run(5)
    assert steps == [2, 4]


@pytest.mark.parametrize(
    ("keep", "left"), [(2, [2, 6, 7]), (3, [2, 5, 6, 7]), (0, [1, 2, 3, 4, 5, 6, 7])]
)
def test_so_many_checkpoints_stay_and_the_best(tmp_path, keep, left):
    for step in range(1, 8):
        (tmp_path / "checkpoints" / f"step-{step:06}").mkdir(parents=True)
    point(tmp_path, "best", tmp_path / "checkpoints" / "step-000002")
    prune(tmp_path, keep=keep)
    assert kept_steps(tmp_path) == left


def test_a_run_keeps_as_many_checkpoints_as_asked_which_may_change_when_it_goes_on(book, tmp_path):
    run = tmp_path / "run"
    options = {
        **SMALL,
        "train.steps": 4,
        "train.eval_every": 4,
        "train.save_every": 1,
        "train.sample_tokens": 0,
        "train.trackers": ("none",),
    }
    cloche.train(book, out=run, options={**options, "train.keep": 0})
    assert kept_steps(run) == [1, 2, 3, 4]
    assert cloche.train(out=run, resume=True, options={"train.keep": 2}).finished


@pytest.mark.parametrize("keep", [1, -2])
def test_too_few_checkpoints_are_refused(keep):
    (problem,) = TrainOptions(keep=keep).problems()
    assert problem.startswith("train.keep must be 0, for all checkpoints, or at least 2")
    assert problem.endswith(f"got {keep}")


def kept_steps(run):
    return [int(folder.name.removeprefix("step-")) for folder in list_checkpoints(run)]
