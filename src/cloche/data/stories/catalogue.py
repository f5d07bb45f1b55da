"""All plot shapes, and the rule that keeps combinations for the held-out part."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from cloche.data.stories.dice import Dice
from cloche.data.stories.places import PLACES, places_tagged
from cloche.data.stories.shapes import (
    friends,
    giving,
    growing,
    helping,
    losing,
    making,
    surprises,
    weather,
)
from cloche.data.stories.shapes.shape import Shape
from cloche.data.stories.tale import Plan
from cloche.data.stories.things import kinds_tagged
from cloche.data.stories.words import CHILDREN
from cloche.data.stories.world import Kind, Place

Part = Literal["train", "held_out"]

SHAPES: tuple[Shape, ...] = (
    *losing.SHAPES,
    *giving.SHAPES,
    *helping.SHAPES,
    *weather.SHAPES,
    *friends.SHAPES,
    *making.SHAPES,
    *growing.SHAPES,
    *surprises.SHAPES,
)
TRAIN_SHAPES = tuple(shape for shape in SHAPES if not shape.held_out)

_BUCKETS = 10  # of the combinations, one bucket is held out


def choose_plan(dice: Dice, *, part: Part) -> tuple[Shape, Plan]:
    """A shape, and a hero, thing and place for it, of the given part.

    Drawn again until the combination belongs to the part, so no combination is in both.
    """
    shape = dice.pick(TRAIN_SHAPES if part == "train" else SHAPES)
    kinds, places = kinds_for(shape), places_for(shape)
    while True:
        plan = Plan(dice.pick(CHILDREN), dice.pick(kinds), dice.pick(places))
        if part_of(shape, plan) == part:
            return shape, plan


def part_of(shape: Shape, plan: Plan) -> Part:
    """The part that a combination belongs to: held out are whole shapes and every tenth hash."""
    if shape.held_out:
        return "held_out"
    words = (shape.name, plan.hero.english, plan.kind.english, plan.place.english)
    bucket = zlib.crc32("|".join(words).encode()) % _BUCKETS
    return "held_out" if bucket == 0 else "train"


@lru_cache(maxsize=256)
def kinds_for(shape: Shape) -> Sequence[Kind]:
    """What the shape can be about."""
    return kinds_tagged(shape.things)


@lru_cache(maxsize=256)
def places_for(shape: Shape) -> Sequence[Place]:
    """Where the shape can happen."""
    return places_tagged(shape.places) if shape.places else PLACES
