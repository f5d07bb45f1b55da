"""Questions whose true answers the world knows."""

from dataclasses import dataclass
from typing import Literal

from cloche.data.stories.tale import Tale
from cloche.data.stories.world import Entity, Phrasing

QuestionKind = Literal["holder", "spot", "colour", "count", "feeling", "place"]


@dataclass(frozen=True)
class Question:
    """A question about a story and its answer in a few words, without a full stop."""

    question: str
    answer: str
    kind: QuestionKind


_ASK: dict[QuestionKind, tuple[Phrasing, Phrasing]] = {
    "holder": (
        ("Who had {what.full} at the end?", "最后，{what.full}在谁那里？"),
        ("{who}", "{who}"),
    ),
    "spot": (
        ("Where was {what.full} at the end?", "最后，{what.full}在哪里？"),
        ("{where}", "{where}"),
    ),
    "colour": (
        ("What colour was {what.the} at the end?", "最后，{what}是什么颜色的？"),
        ("{what.colour}", "{what.colour}"),
    ),
    "count": (
        (
            "How many {what.nouns} did {who} have at the end?",
            "最后，{who}有几{what.measure}{what.nouns}？",
        ),
        ("{what.number}", "{what.number}"),
    ),
    "feeling": (
        ("How did {who} feel at the end?", "最后，{who}的心情怎么样？"),
        ("{feeling}", "很{feeling}"),
    ),
    "place": (
        ("Where did the story begin?", "故事是在哪里开始的？"),
        ("{where.at}", "在{where.at}"),
    ),
}


def ask_questions(tale: Tale) -> tuple[Question, ...]:
    """Every question that the finished story answers, the long-range ones first."""
    world, questions = tale.world, []
    things = tale.main_things()
    for thing in things:
        if thing in world.holders:
            questions.append(_ask(tale, "holder", what=thing, who=world.holders[thing]))
        if thing in world.spots:
            questions.append(_ask(tale, "spot", what=thing, where=world.spots[thing]))
        if thing.colour and len({t.kind for t in things}) == len(things):
            questions.append(_ask(tale, "colour", what=thing))
    for person, amount in world.counts.items():
        questions.append(_ask(tale, "count", who=person, what=amount))
    for person in world.last_to_feel():
        questions.append(_ask(tale, "feeling", who=person, feeling=world.feelings[person]))
    questions.append(_ask(tale, "place", where=tale.place))
    return tuple(questions)


def _ask(tale: Tale, kind: QuestionKind, **roles: Entity) -> Question:
    for role, entity in roles.items():
        tale.cast(f"asked {role}", entity)
    names = {role: f"asked {role}" for role in roles}
    question, answer = (tale.template(phrasing) for phrasing in _ASK[kind])
    return Question(tale.fill(question, names), tale.fill_phrase(answer, names), kind)
