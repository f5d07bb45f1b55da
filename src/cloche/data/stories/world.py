"""The small world that a story moves through: people, things, places, and who has what where.

Every action checks that it is possible, so a story cannot tell what its world forbids: a plot that
gives away what nobody holds stops as a bug instead of becoming a wrong sentence.
"""

from dataclasses import dataclass, replace
from typing import Literal

Gender = Literal["f", "m"]
Phrasing = tuple[str, str]
"""One sentence with gaps, in English and in Chinese."""
Event = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Word:
    """One meaning in both languages. Words are constants, compared by identity."""

    english: str
    chinese: str


@dataclass(frozen=True, eq=False)
class Person(Word):
    """Someone with a name, or known by a trade."""

    gender: Gender
    kind: Literal["child", "family", "trade"] = "child"


@dataclass(frozen=True)
class Group:
    """Two people who act together."""

    first: Person
    second: Person


@dataclass(frozen=True, eq=False)
class Kind(Word):
    """What a thing is."""

    measure: str
    """The Chinese measure word."""
    tags: frozenset[str]
    """What can be done with it; plots ask for these."""
    colours: tuple[Word, ...]
    """Colours that it may have; none when its colour is never told."""
    plural: str


@dataclass(frozen=True)
class Thing:
    """One thing (or animal) of a story."""

    kind: Kind
    colour: Word | None
    size: Word | None


@dataclass(frozen=True)
class Amount:
    """A number of things of one kind, as in three apples."""

    kind: Kind
    number: int


@dataclass(frozen=True, eq=False)
class Place(Word):
    """Where a story happens; English is the bare noun."""

    preposition: str
    """English: in, on, at or by."""
    inside: str
    """Chinese, after 在."""
    spots: str
    """Which spots for hiding and losing things fit: room, shed, green, water or paved."""
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Feeling(Word):
    """A feeling, and what a person who has it may do."""

    gestures: tuple[Word, ...]


Entity = Word | Group | Thing | Amount


class World:
    """Who is where, who holds what, where things lie, who feels what; and all that happened."""

    def __init__(self) -> None:
        self.holders: dict[Thing, Person] = {}
        self.spots: dict[Thing, Word] = {}
        self.places: dict[Person, Place] = {}
        self.feelings: dict[Person, Feeling] = {}
        self.counts: dict[Person, Amount] = {}
        self.gone: set[Thing] = set()
        self.events: list[Event] = []

    def arrive(self, person: Person, place: Place) -> None:
        """The person is at the place from now on."""
        self.places[person] = place
        self._log("arrive", person.english, place.english)

    def hold(self, person: Person, thing: Thing) -> None:
        """The person holds the thing, which nobody held; it lies nowhere any more."""
        assert thing not in self.holders, f"{thing} is held by {self.holders.get(thing)}"
        self.spots.pop(thing, None)
        self.holders[thing] = person
        self._log("hold", person.english, _key(thing))

    def give(self, giver: Person, thing: Thing, receiver: Person) -> None:
        """The thing passes from one person's hands to another's."""
        assert self.holders.get(thing) == giver, f"{giver} does not hold {thing}"
        assert giver != receiver, f"{giver} gives {thing} to nobody else"
        self.holders[thing] = receiver
        self._log("give", giver.english, _key(thing), receiver.english)

    def put(self, thing: Thing, spot: Word) -> None:
        """The thing leaves any hands and lies at the spot."""
        self.holders.pop(thing, None)
        self.spots[thing] = spot
        self._log("put", _key(thing), spot.english)

    def remove(self, thing: Thing) -> None:
        """The thing is gone: eaten, broken or flown away."""
        assert thing in self.holders or thing in self.spots, f"{thing} is nowhere"
        self.holders.pop(thing, None)
        self.spots.pop(thing, None)
        self.gone.add(thing)
        self._log("remove", _key(thing))

    def paint(self, thing: Thing, colour: Word) -> Thing:
        """The same thing in its new colour, in the same hands or at the same spot."""
        assert thing.colour != colour, f"{thing} already has that colour"
        painted = replace(thing, colour=colour)
        if thing in self.holders:
            self.holders[painted] = self.holders.pop(thing)
        if thing in self.spots:
            self.spots[painted] = self.spots.pop(thing)
        self._log("paint", _key(thing), _key(painted))
        return painted

    def feel(self, person: Person, feeling: Feeling) -> None:
        """The person feels so from now on."""
        self.feelings[person] = feeling
        self._log("feel", person.english, feeling.english)

    def last_to_feel(self) -> tuple[Person, ...]:
        """Those whose feelings changed last, after everything else that happened."""
        recent = []
        for event in reversed(self.events):
            if event[0] != "feel":
                break
            recent.append(event[1])
        return tuple(person for person in self.feelings if person.english in recent)

    def count(self, person: Person, amount: Amount) -> None:
        """The person has this many things of the kind from now on."""
        assert amount.number >= 0, f"{person} cannot have {amount.number} things"
        self.counts[person] = amount
        self._log("count", person.english, str(amount.number), amount.kind.english)

    def _log(self, *event: str) -> None:
        self.events.append(event)


def _key(thing: Thing) -> str:
    return f"{thing.colour.english if thing.colour else ''} {thing.kind.english}".strip()
