"""Tells sentences: the cast of a story, the choice of a phrasing, names turned into pronouns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from cloche.data.stories.chinese import word_chinese
from cloche.data.stories.dice import Dice
from cloche.data.stories.english import word_english
from cloche.data.stories.templates import Template, parse_template
from cloche.data.stories.world import Entity, Group, Person, Phrasing, World

Language = Literal["en", "zh"]
Member = TypeVar("Member", bound=Entity)

_PARAGRAPH_SHARE = 0.75  # of the places where a plot allows a new paragraph
_PRONOUN_SHARE = 0.7  # of the sentences whose subject the one before has named


@dataclass(frozen=True)
class Role:
    """Someone or something in the story, with every form of its name."""

    entity: Entity
    forms: Mapping[str, str]


class Teller:
    """The sentences told so far, in one language, and who and what they are about.

    The choices never depend on the language, so the same dice tell the same story in both.
    """

    def __init__(self, dice: Dice, *, language: Language) -> None:
        self.dice = dice
        self.language: Language = language
        self.world = World()
        self.paragraphs: list[list[str]] = [[]]
        self.roles: dict[str, Role] = {}
        self._people_before: set[Entity] = set()

    def cast(self, role: str, member: Member) -> Member:
        """The member, now named by the role in templates."""
        forms = word_english(member) if self.language == "en" else word_chinese(member)
        self.roles[role] = Role(member, forms)
        return member

    def person(self, role: str) -> Person:
        """The person of the role."""
        entity = self.roles[role].entity
        assert isinstance(entity, Person), f"{role} is not a person"
        return entity

    def paragraph(self) -> None:
        """Mostly starts a new paragraph, where everyone is called by name again."""
        if self.dice.chance(_PARAGRAPH_SHARE) and self.paragraphs[-1]:
            self.paragraphs.append([])
            self._people_before = set()

    def tell(self, *phrasings: Phrasing, **names: str) -> None:
        """Tells one of the phrasings; `names` lets a gap stand for a role of another name."""
        template = self.template(self.dice.pick(phrasings))
        by_pronoun = self.dice.chance(_PRONOUN_SHARE) and self._may_use_pronoun(template, names)
        self.paragraphs[-1].append(self.fill(template, names, pronoun=by_pronoun))
        self._people_before = self._people(template, names)

    def say(self, sentence: str) -> None:
        """Tells a sentence that is already worded."""
        self.paragraphs[-1].append(sentence)
        self._people_before = set()

    def template(self, phrasing: Phrasing) -> Template:
        """The phrasing's template in the language of the story."""
        return parse_template(phrasing[0] if self.language == "en" else phrasing[1])

    def fill(self, template: Template, names: Mapping[str, str], *, pronoun: bool = False) -> str:
        """The sentence: gaps filled, the first letter a capital."""
        sentence = self.fill_phrase(template, names, pronoun=pronoun)
        start = 1 if sentence[0] == '"' else 0
        return sentence[:start] + sentence[start].upper() + sentence[start + 1 :]

    def fill_phrase(
        self, template: Template, names: Mapping[str, str], *, pronoun: bool = False
    ) -> str:
        """The words with their gaps filled, as they stand within a sentence."""
        parts = []
        for number, gap in enumerate(template.gaps):
            forms = self.roles[names.get(gap.role, gap.role)].forms
            parts.append(gap.before)
            parts.append(forms["he" if pronoun and number == 0 else gap.form])
        parts.append(template.tail)
        return "".join(parts)

    def _may_use_pronoun(self, template: Template, names: Mapping[str, str]) -> bool:
        """Whether the sentence before named the subject, and nobody else could be meant."""
        if template.subject is None:
            return False
        subject = self.roles[names.get(template.subject, template.subject)].entity
        if subject not in self._people_before:
            return False
        others = (self._people(template, names) | self._people_before) - {subject}
        if isinstance(subject, Group):
            return others <= {subject.first, subject.second}
        assert isinstance(subject, Person), "only people are subjects here"
        if subject.kind == "trade":  # the doctor stays the doctor
            return False
        return not any(isinstance(o, Group) or _same_gender(o, subject) for o in others)

    def _people(self, template: Template, names: Mapping[str, str]) -> set[Entity]:
        entities = (self.roles[names.get(gap.role, gap.role)].entity for gap in template.gaps)
        return {entity for entity in entities if isinstance(entity, Person | Group)}


def _same_gender(other: Entity, person: Person) -> bool:
    return isinstance(other, Person) and other.gender == person.gender
