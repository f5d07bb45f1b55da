"""How people, things and places are worded in English: articles, pronouns, plurals."""

from collections.abc import Mapping

from cloche.data.stories.world import Amount, Entity, Group, Person, Place, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def word_english(entity: Entity) -> Mapping[str, str]:
    """Every form a template can ask for; the plain one is under the empty name."""
    match entity:
        case Person():
            return _person(entity)
        case Group():
            return {
                "": f"{entity.first.english} and {entity.second.english}",
                "he": "they",
                "him": "them",
                "his": "their",
            }
        case Thing():
            return _thing(entity)
        case Amount():
            return _amount(entity)
        case Place():
            return {
                "": f"the {entity.english}",
                "at": f"{entity.preposition} the {entity.english}",
                "to": f"to the {entity.english}",
            }
        case _:
            return {"": entity.english}


def article(words: str) -> str:
    """The words with a or an before them, by their first letter.

    Right for the words of the stories, where no first letter is silent or sounds otherwise.
    """
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(noun: str) -> str:
    """The plural of a noun that forms it by rule, as all nouns of the stories do."""
    if noun.endswith(("eaf", "arf", "alf")):
        return noun[:-1] + "ves"
    if noun.endswith(("s", "x", "ch", "sh")) or noun in ("potato", "tomato"):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _person(person: Person) -> dict[str, str]:
    woman = person.gender == "f"
    return {
        "": person.english,
        "he": "she" if woman else "he",
        "him": "her" if woman else "him",
        "his": "her" if woman else "his",
        "himself": "herself" if woman else "himself",
        "child": "girl" if woman else "boy",
    }


def _thing(thing: Thing) -> dict[str, str]:
    noun = thing.kind.english
    colour = thing.colour.english if thing.colour else ""
    bare = f"{colour} {noun}".strip()
    return {
        "": noun,
        "one": article(noun),
        "the": f"the {noun}",
        "a": article(f"{thing.size.english} {bare}" if thing.size else bare),
        "full": f"the {bare}",
        "bare": bare,
        "colour": colour,
        "it": "it",
    }


def _amount(amount: Amount) -> dict[str, str]:
    noun = amount.kind.english if amount.number == 1 else amount.kind.plural
    return {
        "": f"{NUMBERS[amount.number]} {noun}",
        "number": NUMBERS[amount.number],
        "nouns": amount.kind.plural,
    }
