"""Stories as conversations: somebody is told one, and asks what is true at its end.

All are pure functions of (index, seed, language, part), as the stories are. The answers are bare,
as `questions.py` words them: no full stop, so that right is exactly right.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from cloche.data.conversations import ConversationRecord, Conversations
from cloche.data.preferences import PreferencePair, Preferences, PromptRecord
from cloche.data.stories import chinese, english
from cloche.data.stories.catalogue import Part
from cloche.data.stories.corpus import Story, shape_name, story, story_and_tale
from cloche.data.stories.dice import Dice
from cloche.data.stories.places import PLACES, SPOTS
from cloche.data.stories.questions import Question, QuestionKind
from cloche.data.stories.tale import Tale
from cloche.data.stories.teller import Language
from cloche.data.stories.words import ANY_COLOUR, EVERYONE, FEELINGS
from cloche.data.stories.world import Amount, Entity
from cloche.text.messages import ASSISTANT, USER, Conversation, Message

TANGLED_QUESTIONS = 3
HARD_PLOTS = (
    "a birthday present",
    "a heavy load",
    "a homemade present",
    "a mix-up",
    "a promise kept",
    "a race",
    "a trade",
    "fruit for sale",
    "shared fruit",
    "the giant vegetable",
    "the owner is found",
    "the wrong box",
)
"""Those of whose questions a small tuned model answered more than one in twenty wrong, in stories
that it had not read (docs/log.md): things change hands twice, or somebody counts."""
_NUMBERS = range(1, 11)
_FORMS: Mapping[QuestionKind, str] = {"count": "number", "place": "at"}  # of the word; else plain
_BEFORE_CHINESE: Mapping[QuestionKind, str] = {"feeling": "很", "place": "在"}


def story_conversation(
    index: int, *, seed: int, language: Language, part: Part = "train"
) -> Conversation:
    """The story with one of its questions, the answer, then all further questions with theirs.

    One reading of the story so gives several answers to learn. The questions are in an order drawn
    by (seed, index), so that each kind comes first at times, as it does where it is asked alone.
    """
    return _conversation(story(index, seed=seed, language=language, part=part), part)


def hasty_conversation(
    index: int, *, share: float, seed: int, language: Language, part: Part = "train"
) -> Conversation:
    """The same as somebody writes it who mixes up two: where the story names exactly one other of
    an answer's kind, that one is named, in this share of all such questions.
    """
    told, tale = story_and_tale(index, seed=seed, language=language, part=part)
    dice = Dice(f"cloche story haste {seed} {part} {index}")
    mixed_up = {
        question: wrong[0]
        for number, question in enumerate(told.questions)
        if dice.chance(share)
        and len(wrong := list(_named_in_story(tale, question, told, number=number))) == 1
    }
    return _conversation(told, part, mixed_up)


def story_prompt(
    index: int, question_number: int, *, seed: int, language: Language, part: Part = "train"
) -> tuple[Conversation, Question]:
    """The story with one of its questions, which is given too, with its answer.

    Questions are numbered from 0; a number beyond them begins with the first one again.
    """
    told = story(index, seed=seed, language=language, part=part)
    question = told.questions[question_number % len(told.questions)]
    return (Message(USER, _asked(told, question)),), question


def story_preferences(
    index: int, *, seed: int, language: Language, part: Part = "train"
) -> PreferencePair:
    """One question of the story, with its right answer and a wrong one of the same kind.

    The wrong one names somebody or something else of the story where there is such, and else
    something that might be in it.
    """
    told, tale = story_and_tale(index, seed=seed, language=language, part=part)
    dice = Dice(f"cloche story preferences {seed} {part} {index}")
    number = dice.pick(range(len(told.questions)))
    question = told.questions[number]
    same_kind = [asked for asked in told.questions[:number] if asked.kind == question.kind]
    wrong = _wrong_answers(tale, question, told, number=len(same_kind))
    return PreferencePair(
        place=_place(told, part),
        prompt=(Message(USER, _asked(told, question)),),
        chosen=(Message(ASSISTANT, question.answer),),
        rejected=(Message(ASSISTANT, dice.pick(wrong)),),
        number=index,
    )


def story_rankings(
    index: int, *, most: int, seed: int, language: Language, part: Part = "train"
) -> list[tuple[Conversation, list[str]]]:
    """Each question of the story as a prompt, with its answers: the right one first, then wrong
    ones, `most` in all. Those that the story names come before others. The questions are in an
    order drawn by (seed, index).
    """
    told, tale = story_and_tale(index, seed=seed, language=language, part=part)
    dice = Dice(f"cloche story rankings {seed} {part} {index}")
    numbers = list(range(len(told.questions)))
    found = []
    while numbers:
        number = numbers.pop(dice.pick(range(len(numbers))))
        question = told.questions[number]
        earlier = sum(asked.kind == question.kind for asked in told.questions[:number])
        before, wrong = _all_wrong(tale, question, told, number=earlier)
        named = [text for text in wrong if _names(told, text)]
        others = [text for text in wrong if text not in named]
        drawn = [
            pool.pop(dice.pick(range(len(pool)))) for pool in (named, others) for _ in list(pool)
        ]
        answers = [question.answer, *(before + text for text in drawn[: most - 1])]
        found.append(((Message(USER, _asked(told, question)),), answers))
    return found


def stories_to_converse(
    count: int, *, first: int = 0, seed: int, language: Language, part: Part = "train"
) -> Conversations:
    """The conversations of so many stories, from the index `first` on, as if read from a file."""
    records = []
    for index in range(first, first + count):
        told = story(index, seed=seed, language=language, part=part)
        fields = {"shape": told.shape}
        place = _place(told, part)
        records.append(ConversationRecord(place, _conversation(told, part), index, fields))
    return Conversations(tuple(records), "messages")


def stories_to_ask(
    count: int, *, first: int = 0, seed: int, language: Language, part: Part = "train"
) -> list[PromptRecord]:
    """One question about each of so many stories, from the index `first` on, with its answer.

    Which of a story's questions it is, is drawn by (seed, index). The fields are `answer`, and the
    question's `kind`.
    """
    records = []
    for index in range(first, first + count):
        told = story(index, seed=seed, language=language, part=part)
        question = Dice(f"cloche story prompts {seed} {part} {index}").pick(told.questions)
        prompt = (Message(USER, _asked(told, question)),)
        fields = {"answer": question.answer, "kind": question.kind}
        records.append(PromptRecord(_place(told, part), prompt, fields, index))
    return records


def stories_to_prefer(
    count: int, *, first: int = 0, seed: int, language: Language, part: Part = "train"
) -> Preferences:
    """The preferences of so many stories, from the index `first` on, as if read from a file."""
    pairs = [
        story_preferences(index, seed=seed, language=language, part=part)
        for index in range(first, first + count)
    ]
    return Preferences("pairs", count, pairs=pairs)


def is_tangled(index: int, *, seed: int, language: Language, part: Part = "train") -> bool:
    """Whether the story is easily answered wrong: it counts or hides something, or names another of
    the answer's kind for three of its questions.

    Two stories in five are so.
    """
    told, tale = story_and_tale(index, seed=seed, language=language, part=part)
    if any(question.kind in ("count", "spot") for question in told.questions):
        return True
    mixable = (
        question
        for number, question in enumerate(told.questions)
        if any(_named_in_story(tale, question, told, number=number))
    )
    return len(list(islice(mixable, TANGLED_QUESTIONS))) == TANGLED_QUESTIONS


def has_hard_plot(index: int, *, seed: int, part: Part = "train") -> bool:
    """Whether the story has one of the plots that are understood last. One in four has."""
    return shape_name(index, seed=seed, part=part) in HARD_PLOTS


def _conversation(
    told: Story, part: Part, instead: Mapping[Question, str] | None = None
) -> Conversation:
    dice = Dice(f"cloche story turns {told.seed} {part} {told.index}")
    questions = list(told.questions)
    messages: list[Message] = []
    while questions:
        question = questions.pop(dice.pick(range(len(questions))))
        asked = question.question if messages else _asked(told, question)
        messages += [
            Message(USER, asked),
            Message(ASSISTANT, (instead or {}).get(question, question.answer)),
        ]
    return tuple(messages)


def _asked(told: Story, question: Question) -> str:
    return f"{told.text}\n\n{question.question}"


def _place(told: Story, part: Part) -> str:
    return f"stories {told.language} {part}, story {told.index}"


def _wrong_answers(tale: Tale, question: Question, told: Story, *, number: int) -> Sequence[str]:
    """Wrong answers of the question's kind: those that the story names, else all there are.

    `number` counts the questions of that kind before this one.
    """
    before, wrong = _all_wrong(tale, question, told, number=number)
    in_story = [text for text in wrong if _names(told, text)]
    return [before + text for text in in_story or wrong]


def _named_in_story(tale: Tale, question: Question, told: Story, *, number: int) -> Iterator[str]:
    """Wrong answers that the story names; `number` is that of the question among all."""
    earlier = sum(asked.kind == question.kind for asked in told.questions[:number])
    before, wrong = _all_wrong(tale, question, told, number=earlier)
    return (before + text for text in wrong if _names(told, text))


def _all_wrong(
    tale: Tale, question: Question, told: Story, *, number: int
) -> tuple[str, Sequence[str]]:
    """What stands before answers of the question's kind, and all wrong ones without it."""
    before = _BEFORE_CHINESE.get(question.kind, "") if told.language == "zh" else ""
    word = english.word_english if told.language == "en" else chinese.word_chinese
    form = _FORMS.get(question.kind, "")
    texts = [word(entity)[form] for entity in _alternatives(tale, question.kind, number)]
    return before, [text for text in dict.fromkeys(texts) if before + text != question.answer]


def _alternatives(tale: Tale, kind: QuestionKind, number: int) -> Sequence[Entity]:
    """All that an answer of this kind may be in such a story."""
    match kind:
        case "holder":
            return EVERYONE
        case "spot":
            return SPOTS[tale.place.spots]
        case "colour":
            return ANY_COLOUR
        case "count":
            amount = list(tale.world.counts.values())[number]
            return [Amount(amount.kind, count) for count in _NUMBERS]
        case "feeling":
            return list(FEELINGS.values())
        case "place":
            return PLACES


def _names(told: Story, text: str) -> bool:
    """Whether the words stand in the story; in English, as whole words."""
    if told.language == "zh":
        return text in told.text
    if text.casefold() not in told.text.casefold():
        return False
    return re.search(rf"\b{re.escape(text)}\b", told.text, re.IGNORECASE) is not None
