"""Stories as rows of data: questions with true answers, pairs of continuations, parallel text.

Also as what files of tunings hold: conversations, preferences, prompts.
"""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from typing import Any, Literal

from cloche.data.stories.catalogue import Part
from cloche.data.stories.conversations import (
    stories_to_ask,
    story_conversation,
    story_preferences,
)
from cloche.data.stories.corpus import Story, story
from cloche.data.stories.teller import Language

Form = Literal["questions", "pairs", "parallel", "chat", "preferences", "prompts"]
OTHER: dict[Language, Language] = {"en": "zh", "zh": "en"}


def story_rows(
    form: Form, language: Language, *, size_bytes: int, seed: int, part: Part = "train"
) -> Iterator[dict[str, Any]]:
    """One row a story, from index 0 on, until the stories' text has reached the size in UTF-8.

    questions: `text`, `shape`, `questions` (each `question`, `answer`, `kind`). pairs: `prompt`,
    `right`, `wrong`. parallel: `en` and `zh`, lists of sentences that mean the same one by one;
    `language` then only says whose text is counted. chat: `messages`, all questions of the story.
    preferences: `prompt`, `chosen`, `rejected`. prompts: `prompt`, `answer`, `kind`.
    """
    size = 0
    for index in count():
        told = story(index, seed=seed, language=language, part=part)
        if form == "parallel":
            other = story(index, seed=seed, language=OTHER[language], part=part)
            yield {tale.language: list(tale.sentences) for tale in (told, other)}
        else:
            yield _row(form, told, part=part)
        size += len(told.text.encode())
        if size >= size_bytes:
            return


def _row(form: Form, told: Story, *, part: Part) -> dict[str, Any]:
    which: Any = {"seed": told.seed, "language": told.language, "part": part}
    match form:
        case "pairs":
            return asdict(told.continuation)
        case "chat":
            messages = story_conversation(told.index, **which)
            return {"messages": [{"role": m.role, "content": m.content} for m in messages]}
        case "preferences":
            pair = story_preferences(told.index, **which)
            sides = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
            return {name: messages[0].content for name, messages in sides.items()}
        case "prompts":
            (record,) = stories_to_ask(1, first=told.index, **which)
            return {"prompt": record.conversation[0].content, **record.fields}
        case _:
            questions = [asdict(question) for question in told.questions]
            return {"text": told.text, "shape": told.shape, "questions": questions}
