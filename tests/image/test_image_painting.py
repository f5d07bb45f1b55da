"""What pipelines of other kinds do not take, refuse or fail at, with stand-ins for them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cloche.errors import CheckpointError, SettingError
from cloche.image.loading import Painter
from cloche.image.options import DrawingOptions
from cloche.image.painting import Order, paint
from cloche.image.settling import Settled, arguments_for, settle

USUAL = {
    "num_inference_steps": 20,
    "guidance_scale": 3.5,
    "negative_prompt": None,
    "width": None,
    "height": None,
}


class StandIn:
    """A pipeline that answers as it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.given: list[dict[str, Any]] = []

    def __call__(self, **given: Any) -> Any:
        self.given.append(given)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def painter(answer: Any = None, takes: dict[str, Any] | None = None) -> Painter:
    return Painter(StandIn(answer), "cpu", "float32", USUAL if takes is None else takes)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in USUAL.items() if name not in names}


def options(**settings: Any) -> DrawingOptions:
    return DrawingOptions(model="someone/other", **settings)


def grey(count: int = 1, **more: Any) -> Any:
    return SimpleNamespace(images=np.full((count, 8, 8, 3), 0.5), **more)


def drawn(answer: Any, *, count: int = 1, heard: list[str] | None = None, **settings: Any) -> Any:
    chosen = options(count=count, batch=count, **settings)
    order = Order("a sea", chosen, Settled(1, 0.0, None), 3, None, None, lambda _: None)
    warn = ([] if heard is None else heard).append
    return list(paint(painter(answer), order, files=None, warn=warn))


def test_a_pipelines_own_settings_are_taken_where_nobody_says():
    settled = settle(painter(), options())
    assert settled == Settled(20, 3.5, None)
    assert settle(painter(), options(steps=4, guidance=0.0)) == Settled(4, 0.0, None)


@pytest.mark.parametrize(
    ("missing", "settings"),
    [
        ("guidance_scale", {"guidance": 3.0}),
        ("negative_prompt", {"negative": "fog"}),
        ("width", {"width": 64}),
        ("strength", {"init": "a.png", "strength": 0.9}),
    ],
)
def test_what_a_pipeline_does_not_take_is_told(missing, settings):
    with pytest.raises(SettingError, match="has no meaning for a StandIn"):
        settle(painter(takes=without(missing)), options(**settings))


def test_guidance_that_the_model_reads_makes_negatives_useless():
    with pytest.raises(SettingError, match="no effect on this StandIn"):
        settle(painter(takes=USUAL | {"true_cfg_scale": 1.0}), options(negative="fog"))
    distilled = painter()
    distilled.pipeline.unet = SimpleNamespace(config=SimpleNamespace(time_cond_proj_dim=256))
    with pytest.raises(SettingError, match="no effect on this StandIn"):
        settle(distilled, options(negative="fog"))


def test_a_pipeline_without_a_number_of_steps_asks_for_one():
    with pytest.raises(CheckpointError, match="give steps"):
        settle(painter(takes=without("num_inference_steps")), options())
    assert settle(painter(takes=without("guidance_scale")), options()).guidance is None


def test_only_what_is_set_is_handed_on():
    given = arguments_for(
        painter(),
        options(),
        Settled(4, None, None),
        prompts=["a", "a"],
        start=None,
        size=(64, 64),
        callback=lambda *_: {},
    )
    assert given == {"prompt": ["a", "a"], "num_inference_steps": 4, "output_type": "np"}


def test_a_picture_that_was_taken_away_is_told():
    heard: list[str] = []
    answer = grey(2, nsfw_content_detected=[False, True])
    assert [each.flagged for each in drawn(answer, count=2, heard=heard)] == [False, True]
    assert len(heard) == 1
    assert heard[0].startswith("picture 2 is black")


def test_another_size_than_asked_for_is_told():
    heard: list[str] = []
    drawn(grey(), heard=heard, width=16, height=8)
    assert heard == ["picture 1 is 8 x 8, not 16 x 8: the model draws no others"]


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (ValueError("`height` is odd"), SettingError, "refuses these settings: `height` is odd"),
        (MemoryError(), SettingError, "the memory did not do"),
        (torch.OutOfMemoryError("CUDA out of memory"), SettingError, "draw fewer at once"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            SettingError,
            "the memory did not do",
        ),
        (TypeError("missing: 'image'"), CheckpointError, "could not draw .*missing: 'image'"),
    ],
)
def test_failures_of_a_pipeline_are_told(failure, kind, message):
    with pytest.raises(kind, match=message) as caught:
        drawn(failure)
    assert caught.value.__cause__ is failure


def test_each_picture_has_a_generator_of_its_own_seed():
    order = Order(
        "a sea",
        options(count=5, batch=2),
        Settled(1, 0.0, None),
        40,
        None,
        None,
        lambda _: None,
    )
    answers = iter([grey(2), grey(2), grey(1)])
    hand = painter()
    seeds: list[list[int]] = []

    def answer(**given: Any) -> Any:
        seeds.append([each.initial_seed() for each in given["generator"]])
        assert len(given["prompt"]) == len(given["generator"])
        return next(answers)

    order_painter = Painter(answer, "cpu", "float32", hand.takes)
    found = list(paint(order_painter, order, files=None, warn=lambda _: None))
    assert seeds == [[40, 41], [42, 43], [44]]
    assert [each.seed for each in found] == [40, 41, 42, 43, 44]
