"""Last sentences that recall a fact of the story, and the same sentence with the fact wrong."""

from dataclasses import dataclass, replace

from cloche.data.stories.phrases import Phrasings
from cloche.data.stories.places import SPOTS, places_tagged
from cloche.data.stories.tale import Tale
from cloche.data.stories.world import Amount, Entity, Person, Thing, Word

_HOLDER: Phrasings = (
    ("At the end of the day, {who} had {what.full}.", "这一天结束的时候，{what.full}在{who}那里。"),
    ("In the end, it was {who} who had {what.full}.", "最后，{what.full}在{who}那里。"),
    ("Now {what.full} was with {who}.", "现在，{what.full}在{who}那里了。"),
    ("{who} kept {what.full} and took good care of it.", "{who}留着{what.full}，好好地爱护它。"),
    (
        "From then on, {who} took good care of {what.full}.",
        "从那以后，{who}一直好好照看{what.full}。",
    ),
    ("Before bed, {who} looked at {what.full} once more.", "睡觉前，{who}又看了一眼{what.full}。"),
    ("The next morning, {who} still had {what.full}.", "第二天早上，{what.full}还在{who}那里。"),
    (
        "Whoever looked for {what.full} had to ask {who}.",
        "谁想找{what.full}，都得去问{who}。",
    ),
)
_PLAIN_HOLDER = _HOLDER[:3]
_PET_HOLDER: Phrasings = (
    ("That night, {what.full} slept beside {who}'s bed.", "那天晚上，{what.full}睡在{who}的床边。"),
    ("{what.full} stayed with {who} from then on.", "从那以后，{what.full}一直跟着{who}。"),
    ("In the end, {what.full} was with {who}.", "最后，{what.full}在{who}身边。"),
    (
        "From then on, {who} took good care of {what.full}.",
        "从那以后，{who}一直好好照顾{what.full}。",
    ),
)
_SPOT: Phrasings = (
    ("The next morning, {what.full} was still {where}.", "第二天早上，{what.full}还在{where}。"),
    ("They left {what.full} {where}.", "大家让{what.full}留在了{where}。"),
    ("When evening came, {what.full} was still {where}.", "到了晚上，{what.full}还在{where}。"),
)
_COLOUR: Phrasings = (
    ("That night, {hero} dreamed of {what.full}.", "那天夜里，{hero}梦见了{what.full}。"),
    ("Later, {hero} often thought of {what.full}.", "后来，{hero}常常想起{what.full}。"),
    (
        "That evening, {hero} drew a picture of {what.full}.",
        "那天晚上，{hero}画了一幅画，画的是{what.full}。",
    ),
    ("At dinner, {hero} talked about {what.full}.", "吃晚饭的时候，{hero}说起了{what.full}。"),
    ("{hero} never forgot {what.full}.", "{hero}一直没有忘记{what.full}。"),
)
_PET_COLOUR: Phrasings = (
    *_COLOUR[:4],
    (
        "From then on, {hero} never lost sight of {what.full}.",
        "从那以后，{hero}再也没有让{what.full}走丢过。",
    ),
)
_PLACE: Phrasings = (
    ("{hero} never forgot that day {where.at}.", "{hero}一直没有忘记在{where.at}的那一天。"),
    (
        "At home, {hero} told everyone what had happened {where.at}.",
        "回到家，{hero}给大家讲了在{where.at}发生的事。",
    ),
    ("So ended the day {where.at}.", "在{where.at}的一天就这样结束了。"),
    (
        "{hero} wrote a page about the day {where.at}.",
        "{hero}写了一篇日记，记下在{where.at}的这一天。",
    ),
)
_COUNT: Phrasings = (
    ("In the end, {who} had {what}.", "最后，{who}有{what}。"),
    ("At the end of the day, {who} had {what}.", "这一天结束的时候，{who}有{what}。"),
    ("That evening, {who} still had {what}.", "那天晚上，{who}还有{what}。"),
)
_LAST: Phrasings = (
    ("It had been a good day.", "这真是美好的一天。"),
    ("Everyone was satisfied.", "大家都很满意。"),
    ("That was the end of the story.", "故事到这里就讲完了。"),
    ("{hero} fell asleep with a smile.", "{hero}带着微笑睡着了。"),
    ("What a day it had been!", "多么特别的一天啊！"),
    ("{hero} had learned something that day.", "这一天，{hero}学到了一些东西。"),
    ("And all of them slept well.", "大家都睡了个好觉。"),
    ("{hero} would remember it for a long time.", "{hero}会记得很久很久。"),
)

HOLDER_CLOSINGS: Phrasings = (*_HOLDER, *_PET_HOLDER)
"""All that say who has `what`."""
SPOT_CLOSINGS = _SPOT
"""All that say where `what` lies."""
THING_CLOSINGS: Phrasings = (*_COLOUR, *_PET_COLOUR[-1:])
"""All in which the `hero` recalls `what`, with its colour."""
PLACE_CLOSINGS = _PLACE
"""All in which the `hero` recalls `where` it was."""
COUNT_CLOSINGS = _COUNT
"""All that say how many of `what` somebody has."""


@dataclass(frozen=True)
class Closing:
    """A true sentence, the same with one fact wrong, and where in the story it stands."""

    right: str
    wrong: str
    paragraph: int
    """Index of its paragraph."""
    sentence: int
    """Index in that paragraph."""


@dataclass(frozen=True)
class _Fact:
    phrasings: Phrasings
    true: dict[str, Entity]
    false: dict[str, Entity]


def close_tale(tale: Tale) -> Closing:
    """The closing sentence, told as the story's last or last but one."""
    facts = _holder_facts(tale) + _spot_facts(tale) + _count_facts(tale)
    recalled = _colour_facts(tale) + _place_facts(tale)
    likely = facts if facts and tale.dice.chance(0.7) else recalled
    fact = tale.dice.pick(likely or facts or recalled)
    phrasing = tale.dice.pick(fact.phrasings)
    tale.paragraph()
    wrong = _worded(tale, phrasing, fact.true | fact.false)
    right = _worded(tale, phrasing, fact.true)
    closing = Closing(right, wrong, len(tale.paragraphs) - 1, len(tale.paragraphs[-1]))
    tale.say(right)
    tale.maybe(0.45, *_LAST)
    return closing


def _worded(tale: Tale, phrasing: tuple[str, str], roles: dict[str, Entity]) -> str:
    for role, entity in roles.items():
        tale.cast(f"closing {role}", entity)
    names = {role: f"closing {role}" for role in roles}
    return tale.fill(tale.template(phrasing), names)


def _holder_facts(tale: Tale) -> list[_Fact]:
    facts = []
    for thing in tale.main_things():
        holder = tale.world.holders.get(thing)
        others: list[Person] = [person for person in tale.people() if person is not holder]
        if holder and others:
            facts.append(
                _Fact(
                    _holder_phrasings(thing),
                    {"who": holder, "what": thing},
                    {"who": tale.dice.pick(others)},
                )
            )
    return facts


def _holder_phrasings(thing: Thing) -> Phrasings:
    if thing.kind.tags & {"pet", "farm"}:
        return _PET_HOLDER
    return _PLAIN_HOLDER if thing.kind.tags & {"grown", "bloom"} else _HOLDER


def _spot_facts(tale: Tale) -> list[_Fact]:
    facts = []
    for thing in tale.main_things():
        spot = tale.world.spots.get(thing)
        if spot:
            others: list[Word] = [s for s in SPOTS[tale.place.spots] if s is not spot]
            facts.append(
                _Fact(_SPOT, {"what": thing, "where": spot}, {"where": tale.dice.pick(others)})
            )
    return facts


def _count_facts(tale: Tale) -> list[_Fact]:
    facts = []
    for person, amount in tale.world.counts.items():
        others = [n for n in range(1, 11) if n != amount.number]
        wrong = Amount(amount.kind, tale.dice.pick(others))
        facts.append(_Fact(_COUNT, {"who": person, "what": amount}, {"what": wrong}))
    return facts


def _colour_facts(tale: Tale) -> list[_Fact]:
    facts = []
    for thing in tale.main_things():
        if thing.colour:
            wrong: Thing = replace(thing, colour=tale.other_colour(thing))
            phrasings = _PET_COLOUR if "pet" in thing.kind.tags else _COLOUR
            facts.append(_Fact(phrasings, {"what": thing}, {"what": wrong}))
    return facts


def _place_facts(tale: Tale) -> list[_Fact]:
    if "visit" not in tale.place.tags:
        return []
    others = [place for place in places_tagged("visit") if place is not tale.place]
    return [_Fact(_PLACE, {"where": tale.place}, {"where": tale.dice.pick(others)})]
