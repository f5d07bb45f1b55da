"""The actions that plots are made of: each changes the world and tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloche.data.stories import phrases as p
from cloche.data.stories.dice import Dice
from cloche.data.stories.places import PLACES, SPOTS
from cloche.data.stories.teller import Language, Teller
from cloche.data.stories.things import kinds_tagged, sizes_of
from cloche.data.stories.words import CHILDREN, FEELINGS, TIMES, TRAITS, WEATHERS
from cloche.data.stories.world import (
    Amount,
    Group,
    Kind,
    Person,
    Phrasing,
    Place,
    Thing,
    Word,
)


@dataclass(frozen=True)
class Plan:
    """What is decided before a story begins: the combination that parts are told apart by."""

    hero: Person
    kind: Kind
    place: Place


class Tale(Teller):
    """One story as it happens. Roles at the start: hero, thing, place, weather, time, trait."""

    def __init__(self, dice: Dice, *, language: Language, plan: Plan) -> None:
        super().__init__(dice, language=language)
        self.plan = plan
        self.place = plan.place
        self.cast("hero", plan.hero)
        self.cast("place", plan.place)
        self.cast("weather", dice.pick(WEATHERS))
        self.cast("time", dice.pick(TIMES))
        self.cast("trait", dice.pick(TRAITS))
        self.cast("thing", self._make(plan.kind))

    # Casting

    def thing(self, role: str = "thing") -> Thing:
        """The thing of the role."""
        entity = self.roles[role].entity
        assert isinstance(entity, Thing), f"{role} is not a thing"
        return entity

    def main_things(self) -> list[Thing]:
        """What the story is about: the thing, and the other one if there is."""
        named = (self.roles[role].entity for role in ("thing", "other") if role in self.roles)
        held = set(self.world.holders) | set(self.world.spots)
        return [e for e in named if isinstance(e, Thing) and (e in held or e in self.world.gone)]

    def people(self) -> list[Person]:
        """Everyone in the story, each once."""
        return list(
            dict.fromkeys(r.entity for r in self.roles.values() if isinstance(r.entity, Person))
        )

    def add_thing(self, role: str, tag: str) -> None:
        """Casts another thing with the tag, of a kind the story does not have yet."""
        taken = {r.entity.kind for r in self.roles.values() if isinstance(r.entity, Thing)}
        names = " ".join(kind.english for kind in taken)
        free = [k for k in kinds_tagged(tag) if k not in taken and k.english not in names]
        self.cast(role, self._make(self.dice.pick(free)))

    def without_age(self) -> None:
        """Leaves out whether the thing is new or big, where the plot might contradict it."""
        self.cast("thing", replace(self.thing(), size=None))

    def add_twin(self, role: str) -> None:
        """Casts a thing of the same kind and size as `thing`, in another colour."""
        thing = self.thing()
        self.cast(role, Thing(thing.kind, self.other_colour(thing), thing.size))

    def other_colour(self, thing: Thing) -> Word:
        """A colour that the thing might have but does not."""
        return self.dice.pick([c for c in thing.kind.colours if c is not thing.colour])

    def add_child(self, role: str = "friend") -> None:
        """Casts another child, who is at the place; hero and friend act together as `both`."""
        taken = {r.entity for r in self.roles.values()}
        child = self.cast(role, self.dice.pick([c for c in CHILDREN if c not in taken]))
        self.world.arrive(child, self.place)
        if role == "friend":
            self.cast("both", Group(self.person("hero"), child))

    def add_adult(self, adults: Sequence[Person], role: str = "adult") -> None:
        """Casts one of the adults, who is at the place."""
        self.world.arrive(self.cast(role, self.dice.pick(adults)), self.place)

    def add_spot(self, role: str = "spot") -> None:
        """Casts a spot at the place that no other role has."""
        taken = {r.entity for r in self.roles.values()}
        spots = [spot for spot in SPOTS[self.place.spots] if spot not in taken]
        self.cast(role, self.dice.pick(spots))

    def add_open_spot(self, role: str = "spot") -> None:
        """Casts a spot where a thing can lie in the open: under and in nothing."""
        open_starts = (
            "beside",
            "behind",
            "near",
            "next",
            "at",
            "on",
            "in the tall",
            "in the reeds",
        )
        spots = [s for s in SPOTS[self.place.spots] if s.english.startswith(open_starts)]
        self.cast(role, self.dice.pick(spots))

    def add_place(self, role: str, tag: str) -> Place:
        """Casts another place with the tag."""
        places = [place for place in PLACES if tag in place.tags and place is not self.place]
        return self.cast(role, self.dice.pick(places))

    def _make(self, kind: Kind) -> Thing:
        colour = self.dice.pick(kind.colours) if kind.colours else None
        sizes = sizes_of(kind)
        size = self.dice.pick(sizes) if self.dice.chance(0.45) and sizes else None
        return Thing(kind, colour, size)

    # Openings

    def begin(self) -> None:
        """The hero is at the place; sometimes what kind of child, and what is to be seen there."""
        self.world.arrive(self.person("hero"), self.place)
        if self.dice.chance(0.4):
            self.tell(*p.INTRODUCTIONS)
        self.tell(*(p.OPENINGS_HOME if "home" in self.place.tags else p.OPENINGS_AWAY))
        self._look_around(0.5)

    def begin_together(self) -> None:
        """Hero and friend are at the place together; sometimes what is to be seen there."""
        self.open_together()
        self._look_around(0.4)

    def open_together(self) -> None:
        """Hero and friend are at the place together."""
        self.add_child()
        self.world.arrive(self.person("hero"), self.place)
        opening = self.dice.pick(p.OPENINGS_BOTH)
        self.tell(opening)
        if "{place" not in opening[0]:
            self.tell(*p.TOGETHER_THERE[:2] if "{hero}" in opening[0] else p.TOGETHER_THERE[2:])

    def meet(self) -> None:
        """A friend is there, too."""
        self.add_child()
        self.tell(*p.MEETINGS)

    def _look_around(self, probability: float) -> None:
        if self.dice.chance(probability):
            self.tell(*p.SIGHTS[self.place.spots], *p.HABITS)

    # Actions

    def own(self, who: str, what: str, *phrasings: Phrasing) -> None:
        """The person has the thing from before the story."""
        self.world.hold(self.person(who), self.thing(what))
        self.tell(*(phrasings or self._owning(self.thing(what).kind)), who=who, what=what)

    def take(self, who: str, what: str, *phrasings: Phrasing) -> None:
        """The person takes the thing, which nobody holds."""
        self.world.hold(self.person(who), self.thing(what))
        self.tell(*(phrasings or p.TAKING), who=who, what=what)

    def give(self, who: str, what: str, whom: str, *phrasings: Phrasing) -> None:
        """The thing passes from one person to another."""
        self.world.give(self.person(who), self.thing(what), self.person(whom))
        self.tell(*(phrasings or p.GIVING), who=who, what=what, whom=whom)

    def swap(self, who: str, what: str, whom: str, other: str, *phrasings: Phrasing) -> None:
        """Two people, each with a thing, end up with the other's."""
        self.world.give(self.person(who), self.thing(what), self.person(whom))
        self.world.give(self.person(whom), self.thing(other), self.person(who))
        self.tell(*phrasings)

    def put(self, who: str, what: str, where: str, *phrasings: Phrasing) -> None:
        """The person lays the thing down at the spot."""
        assert self.world.holders.get(self.thing(what)) == self.person(who), f"{who} lacks {what}"
        self.lay(what, where)
        self.tell(*(phrasings or p.PUTTING), who=who, what=what, where=where)

    def lose(self, what: str, where: str, *phrasings: Phrasing) -> None:
        """The thing gets to the spot without anyone's wish."""
        self.lay(what, where)
        self.tell(*phrasings, what=what, where=where)

    def find(self, who: str, what: str, where: str = "spot", *phrasings: Phrasing) -> None:
        """The person finds the thing at the spot, and holds it."""
        assert self.world.spots.get(self.thing(what)) is self.roles[where].entity, (
            f"{what} not there"
        )
        self.world.hold(self.person(who), self.thing(what))
        self.tell(*(phrasings or p.FINDING), who=who, what=what, where=where)

    def remove(self, what: str, *phrasings: Phrasing) -> None:
        """The thing is gone for good."""
        self.world.remove(self.thing(what))
        self.tell(*phrasings, what=what)

    def paint(self, what: str, *phrasings: Phrasing) -> None:
        """The thing gets the colour of the role `colour`; the phrasings may say `{colour}`."""
        colour = self.roles["colour"].entity
        assert isinstance(colour, Word)
        self.tell(*phrasings, what=what)
        self.cast(what, self.world.paint(self.thing(what), colour))

    def feel(self, who: str, *feelings: str) -> None:
        """The person, or the group, comes to feel one of the feelings by what has just happened."""
        if self._set_feeling(who, feelings):
            self.tell(*p.FEELING_BOTH, p.CAUSED_FEELING_BOTH, who=who)
        else:
            self.tell(*p.FEELING, p.CAUSED_FEELING, who=who)

    def be_feeling(self, who: str, *feelings: str) -> None:
        """The person already feels one of the feelings when the others get to see it."""
        self._set_feeling(who, feelings)
        self.tell(*p.FEELING, who=who)

    def _owning(self, kind: Kind) -> tuple[Phrasing, ...]:
        carried = p.OWNING_CARRIED if "carry" in kind.tags else ()
        given = p.OWNING_GIVEN if "gift" in kind.tags else ()
        return (*p.OWNING, *carried, *given)

    def _set_feeling(self, who: str, feelings: Sequence[str]) -> bool:
        """Whether it is a group that feels one of the feelings now."""
        feeling = self.cast("feeling", FEELINGS[self.dice.pick(feelings)])
        self.cast("gesture", self.dice.pick(feeling.gestures))
        entity = self.roles[who].entity
        people = (entity.first, entity.second) if isinstance(entity, Group) else (entity,)
        for person in people:
            assert isinstance(person, Person), f"{who} has no feelings"
            self.world.feel(person, feeling)
        return len(people) == 2

    def have(self, who: str, kind: Kind, number: int, *phrasings: Phrasing) -> None:
        """The person has so many of the kind; the phrasings may say `{amount}`."""
        amount = self.cast("amount", Amount(kind, number))
        self.world.count(self.person(who), amount)
        self.tell(*phrasings, who=who)

    def search(self, who: str) -> None:
        """The person looks for something, in vain so far."""
        self.tell(*p.SEARCHING, who=who)

    def thank(self, who: str, whom: str) -> None:
        """One person thanks another, who sometimes answers."""
        self.tell(*p.THANKING, who=who, whom=whom)
        if self.dice.chance(0.4):
            self.tell(*p.ANSWERING, who=whom)

    def maybe(self, probability: float, *phrasings: Phrasing) -> None:
        """One of the phrasings, or nothing."""
        if self.dice.chance(probability):
            self.tell(*phrasings)

    def lay(self, what: str, where: str) -> None:
        """The thing lies at the spot; nothing is told of how it came there."""
        spot = self.roles[where].entity
        assert isinstance(spot, Word)
        self.world.put(self.thing(what), spot)
