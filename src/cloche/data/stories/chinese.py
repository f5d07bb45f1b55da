"""How people, things and places are worded in Chinese: measure words, pronouns, colours."""

from collections.abc import Mapping

from cloche.data.stories.world import Amount, Entity, Group, Person, Place, Thing

# Before a measure word 两 stands for two; 二 is for counting.
NUMBERS = ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十")


def word_chinese(entity: Entity) -> Mapping[str, str]:
    """Every form a template can ask for; the plain one is under the empty name."""
    match entity:
        case Person():
            return _person(entity)
        case Group():
            return _group(entity)
        case Thing():
            return _thing(entity)
        case Amount():
            count = f"{NUMBERS[_number(entity)]}{entity.kind.measure}"
            noun, measure = entity.kind.chinese, entity.kind.measure
            return {"": f"{count}{noun}", "number": count, "nouns": noun, "measure": measure}
        case Place():
            return {"": entity.chinese, "at": entity.inside, "to": entity.chinese}
        case _:
            return {"": entity.chinese}


def _person(person: Person) -> dict[str, str]:
    pronoun = "她" if person.gender == "f" else "他"
    return {
        "": person.chinese,
        "he": pronoun,
        "him": pronoun,
        "his": f"{pronoun}的",
        "himself": "自己",
        "child": "女孩" if person.gender == "f" else "男孩",
    }


def _group(group: Group) -> dict[str, str]:
    women = group.first.gender == group.second.gender == "f"
    they = "她们" if women else "他们"
    both = f"{group.first.chinese}和{group.second.chinese}"
    return {"": both, "he": they, "him": they, "his": f"{they}的"}


def _thing(thing: Thing) -> dict[str, str]:
    noun, measure = thing.kind.chinese, thing.kind.measure
    colour = thing.colour.chinese if thing.colour else ""
    coloured = f"{colour}的" if colour else ""
    size = thing.size.chinese if thing.size else ""
    return {
        "": noun,
        "one": f"一{measure}{noun}",
        "the": f"那{measure}{noun}",
        "a": f"一{measure}{coloured}{size}{noun}",
        "full": f"{coloured}{noun}",
        "bare": f"{coloured if len(noun) == 1 else colour}{noun}",
        "that": f"那{measure}{coloured}{noun}",
        "measure": measure,
        "colour": colour,
        "it": "它",
    }


def _number(amount: Amount) -> int:
    """The number of an amount, checked to be one that has a word here."""
    assert amount.number < len(NUMBERS), f"no word for {amount.number}"
    return amount.number
