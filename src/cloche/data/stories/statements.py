"""What can be said at the end of a story, and which of it is true.

A writer that ends a story makes a statement where its sentence is one that the closings could tell
of anybody and anything: who has what, where it lies, how many somebody has, what colour it was,
where it all happened. It is true where the story's world says the same. Whatever else is written
(a smile, a good night) is no statement: nothing could check it.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from cloche.data.stories import chinese, english
from cloche.data.stories import closings as c
from cloche.data.stories.catalogue import Part
from cloche.data.stories.corpus import tell_tale
from cloche.data.stories.phrases import Phrasings
from cloche.data.stories.places import ALL_SPOTS, PLACES
from cloche.data.stories.tale import Tale
from cloche.data.stories.teller import Language
from cloche.data.stories.templates import parse_template
from cloche.data.stories.things import KINDS
from cloche.data.stories.words import ANY_COLOUR, EVERYONE, GOLDEN, SILVER
from cloche.data.stories.world import Entity, Word

_ENDS = re.compile(r"[.!?。！？][\"”]?(?=\s|$|[^\s\"”.!?。！？])")
_MARKS = '.!?。！？"” \n'


def first_sentence(text: str) -> str:
    """The first sentence of a text, without the space before it and its closing mark.

    The whole text where no sentence ends in it.
    """
    text = text.lstrip()
    end = _ENDS.search(text)
    return (text[: end.end()] if end else text).rstrip(_MARKS)


def is_statement(sentence: str, language: Language) -> bool:
    """Whether the sentence, with or without its closing mark, is one that closings could tell."""
    return _any_statement(language).fullmatch(sentence.strip().rstrip(_MARKS)) is not None


def true_statements(
    index: int, *, seed: int, language: Language, part: Part = "train"
) -> frozenset[str]:
    """Every statement that is true at the end of the story, as sentences without closing marks."""
    _, tale, _ = tell_tale(index, seed=seed, language=language, part=part)
    world = tale.world
    things = {*world.holders, *world.spots, *world.gone, *tale.main_things()}
    found: set[str] = set()
    for thing, holder in world.holders.items():
        found |= _worded(tale, c.HOLDER_CLOSINGS, {"who": holder, "what": thing})
    for thing, spot in world.spots.items():
        found |= _worded(tale, c.SPOT_CLOSINGS, {"what": thing, "where": spot})
    for person, amount in world.counts.items():
        found |= _worded(tale, c.COUNT_CLOSINGS, {"who": person, "what": amount})
    for person in tale.people():
        found |= _worded(tale, c.PLACE_CLOSINGS, {"hero": person, "where": tale.place})
        for thing in things:
            found |= _worded(tale, c.THING_CLOSINGS, {"hero": person, "what": thing})
    return frozenset(found)


def _worded(tale: Tale, phrasings: Phrasings, roles: Mapping[str, Entity]) -> set[str]:
    names = {role: f"stated {role}" for role in roles}
    for role, entity in roles.items():
        tale.cast(names[role], entity)
    sentences = (tale.fill(tale.template(phrasing), names) for phrasing in phrasings)
    return {sentence.rstrip(_MARKS) for sentence in sentences}


@cache
def _any_statement(language: Language) -> re.Pattern[str]:
    """What every statement of that language looks like."""
    people = _one_of(_plain(EVERYONE, language))
    things = _things(language)
    spots = _one_of(_plain(ALL_SPOTS, language))
    word = english.word_english if language == "en" else chinese.word_chinese
    places = _one_of(word(place)["at"] for place in PLACES)
    gaps: list[tuple[Phrasings, dict[str, str]]] = [
        (c.HOLDER_CLOSINGS, {"who": people, "what": things}),
        (c.SPOT_CLOSINGS, {"what": things, "where": spots}),
        (c.THING_CLOSINGS, {"hero": people, "what": things}),
        (c.PLACE_CLOSINGS, {"hero": people, "where": places}),
        (c.COUNT_CLOSINGS, {"who": people, "what": _amounts(language)}),
    ]
    patterns = [
        _pattern(phrasing[0] if language == "en" else phrasing[1], filling)
        for phrasings, filling in gaps
        for phrasing in phrasings
    ]
    return re.compile("|".join(dict.fromkeys(patterns)), re.IGNORECASE)


def _pattern(text: str, filling: Mapping[str, str]) -> str:
    template = parse_template(text)
    parts = [re.escape(gap.before) + filling[gap.role] for gap in template.gaps]
    return "".join([*parts, re.escape(template.tail.rstrip(_MARKS))])


def _things(language: Language) -> str:
    """Things with or without a colour, as "the red ball" or 红色的皮球."""
    colours = _one_of(_plain((*ANY_COLOUR, SILVER, GOLDEN), language))
    kinds = _one_of(_plain(KINDS, language))
    return f"the (?:{colours} )?{kinds}" if language == "en" else f"(?:{colours}的)?{kinds}"


def _amounts(language: Language) -> str:
    """Numbers of things, as "three apples" or 三个苹果."""
    if language == "en":
        nouns = _one_of(name for kind in KINDS for name in (kind.english, kind.plural))
        return f"{_one_of(english.NUMBERS)} {nouns}"
    nouns = _one_of(kind.measure + kind.chinese for kind in KINDS)
    return f"{_one_of(chinese.NUMBERS)}{nouns}"


def _plain(words: Iterable[Word], language: Language) -> Iterable[str]:
    return (word.english if language == "en" else word.chinese for word in words)


def _one_of(texts: Iterable[str]) -> str:
    longest_first = sorted(set(texts), key=lambda text: (-len(text), text))
    return f"(?:{'|'.join(map(re.escape, longest_first))})"
