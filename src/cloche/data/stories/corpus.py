"""Stories without end, in English and Chinese, with questions and answers whose truth is known.

A story is a pure function of its index, seed, language and part. The same index, seed and part
tell the same world in both languages, sentence by sentence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import get_args

from cloche.data.stories.catalogue import Part, choose_plan
from cloche.data.stories.closings import Closing, close_tale
from cloche.data.stories.dice import Dice
from cloche.data.stories.questions import Question, ask_questions
from cloche.data.stories.tale import Tale
from cloche.data.stories.teller import Language
from cloche.errors import SettingError


@dataclass(frozen=True)
class Continuation:
    """The beginning of a story, and two ways to go on, one of which contradicts it.

    `prompt + right` is exactly how the story begins; right and wrong start with the space or
    line break, if any, that parts them from the prompt.
    """

    prompt: str
    right: str
    wrong: str


@dataclass(frozen=True)
class Story:
    """One story, and what can be asked about it."""

    language: Language
    seed: int
    index: int
    shape: str
    """Name of the plot shape."""
    text: str
    """Paragraphs parted by one line break; none at the end."""
    sentences: tuple[str, ...]
    questions: tuple[Question, ...]
    continuation: Continuation


def story(index: int, *, seed: int, language: Language, part: Part = "train") -> Story:
    """The story of this index.

    Raises:
        SettingError: for an unknown language or part.
    """
    return story_and_tale(index, seed=seed, language=language, part=part)[0]


def story_and_tale(
    index: int, *, seed: int, language: Language, part: Part = "train"
) -> tuple[Story, Tale]:
    """The story of this index, and its world. Raises SettingError as `story` does."""
    shape, tale, closing = tell_tale(index, seed=seed, language=language, part=part)
    told = Story(
        language=language,
        seed=seed,
        index=index,
        shape=shape,
        text=_text(tale),
        sentences=tuple(sentence for lines in tale.paragraphs for sentence in lines),
        questions=ask_questions(tale),
        continuation=_continuation(tale, closing),
    )
    return told, tale


def stories(language: Language, *, seed: int, part: Part = "train") -> Iterator[Story]:
    """The stories of index 0, 1, 2, ... without end."""
    return (story(index, seed=seed, language=language, part=part) for index in count())


def stories_text(language: Language, *, size_bytes: int, seed: int, part: Part = "train") -> str:
    """Whole stories from index 0 on, parted by one blank line, until the size is reached.

    The text ends with one line break. Its UTF-8 size is at least `size_bytes`, and without its
    last story it would be smaller.

    Raises:
        SettingError: for a size below 1, or an unknown language or part.
    """
    if size_bytes < 1:
        raise SettingError(f"the size of the stories must be at least 1 byte, got {size_bytes}")
    texts, size = [], 0
    for index in count():
        _, tale, _ = tell_tale(index, seed=seed, language=language, part=part)
        texts.append(_text(tale))
        size += len(texts[-1].encode()) + (2 if index else 1)  # the blank line, the last break
        if size >= size_bytes:
            break
    return "\n\n".join(texts) + "\n"


def parse_size(size: str) -> int:
    """The number of bytes that a size such as 500KB, 2MB or 1.5GB means (1 KB is 1000 bytes).

    Raises:
        SettingError: when it is no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)?", size.strip(), re.IGNORECASE)
    if not match:
        raise SettingError(
            f"{size!r} is not a size; write a number and B, KB, MB or GB, such as 500KB or 2MB"
        )
    units = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
    size_bytes = round(float(match[1]) * units[(match[2] or "B").upper()])
    if size_bytes < 1:
        raise SettingError(f"{size!r} is no size to fill; it must be at least 1 byte")
    return size_bytes


def shape_name(index: int, *, seed: int, part: Part) -> str:
    """The name of the story's plot shape, found without telling it; the same in both languages."""
    return choose_plan(_dice(index, seed=seed, part=part), part=part)[0].name


def tell_tale(
    index: int, *, seed: int, language: Language, part: Part
) -> tuple[str, Tale, Closing]:
    """The shape's name, the finished tale with its world, and its closing sentence."""
    check_choices(language, part)
    dice = _dice(index, seed=seed, part=part)
    shape, plan = choose_plan(dice, part=part)
    tale = Tale(dice, language=language, plan=plan)
    shape.tell(tale)
    return shape.name, tale, close_tale(tale)


def _dice(index: int, *, seed: int, part: Part) -> Dice:
    return Dice(f"cloche stories {seed} {part} {index}")


def check_choices(language: str, part: str) -> None:
    """Refuses a language or a part that stories do not have.

    Raises:
        SettingError: naming the ones there are.
    """
    if language not in get_args(Language):
        raise SettingError(f"there are stories in en and zh, not in {language!r}")
    if part not in get_args(Part):
        raise SettingError(f"stories have the parts train and held_out, not {part!r}")


def _text(tale: Tale) -> str:
    space = " " if tale.language == "en" else ""
    return "\n".join(space.join(lines) for lines in tale.paragraphs)


def _continuation(tale: Tale, closing: Closing) -> Continuation:
    space = " " if tale.language == "en" else ""
    before = [space.join(lines) for lines in tale.paragraphs[: closing.paragraph]]
    same = tale.paragraphs[closing.paragraph][: closing.sentence]
    prompt = "\n".join([*before, space.join(same)] if same else before)
    start = space if same else "\n"
    return Continuation(prompt, start + closing.right, start + closing.wrong)
