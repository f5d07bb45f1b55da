import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.training.options import TrainOptions
from cloche.training.schedule import FLOOR, Clock, Plan, learning_rate_share


def shares(schedule, **options):
    settings = TrainOptions(schedule=schedule, **options)
    return [learning_rate_share(n / 100, settings) for n in range(101)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_schedule_rises_from_the_floor_to_the_peak(schedule):
    found = shares(schedule, warmup=0.1)
    assert found[0] == FLOOR
    assert found[5] == pytest.approx(0.5)
    assert found[10] == pytest.approx(1.0)


def test_cosine_is_half_way_down_in_the_middle_and_ends_at_the_floor():
    found = shares("cosine", warmup=0.0)
    assert found[50] == pytest.approx(0.5)
    assert found[100] == FLOOR


def test_linear_stays_at_the_peak_and_then_falls_in_a_straight_line():
    found = shares("linear", warmup=0.0, decay=0.4)
    assert found[1:61] == [1.0] * 60
    assert found[80] == pytest.approx(0.5)
    assert found[100] == FLOOR


def test_constant_stays():
    assert shares("constant", warmup=0.0) == [1.0] * 101


def test_a_plan_in_steps_counts_steps():
    plan = Plan(steps=10)
    assert [plan.progress(step) for step in (0, 5, 10)] == [0.0, 0.5, 1.0]


@given(st.integers(2, 500), st.data())
def test_a_new_plan_goes_on_where_the_old_one_stood_and_ends_at_one(steps, data):
    step = data.draw(st.integers(0, steps - 1))
    longer = data.draw(st.integers(step + 1, 1000))
    plan = Plan(steps=steps)
    changed = plan.replanned(step=step, steps=longer)
    assert changed.progress(step) == pytest.approx(plan.progress(step))
    assert changed.progress(longer) == pytest.approx(1.0)
    assert changed.progress(step) < changed.progress(longer)


def test_a_plan_cut_to_the_present_is_finished():
    plan = Plan(steps=100).replanned(step=30, steps=10)
    assert plan.steps == 30


def test_the_clock_says_how_many_steps_fit_before_the_last_pause():
    clock = Clock(deadline=100.0, step_seconds=1.0, pause_seconds=9.0, pause_every=9)
    assert clock.steps_left(now=50.0) == 20  # 50 - 9 - 1 seconds, two for a step and its share
    assert clock.steps_left(now=99.0) == 0


def test_the_clock_learns_from_steps_but_not_from_the_first():
    clock = Clock(deadline=100.0, step_seconds=1.0, pause_seconds=1.0, pause_every=1)
    clock.observe_step(1000.0)
    assert clock.step_seconds == 1.0
    clock.observe_step(2.0)
    assert clock.step_seconds == pytest.approx(1.1)
    clock.observe_pause(3.0)
    assert clock.pause_seconds == pytest.approx(2.0)
