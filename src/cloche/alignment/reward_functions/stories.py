"""Reward: is what is said true of the built-in stories' world?"""

from collections.abc import Mapping
from typing import Any, get_args

from cloche.alignment.reward_functions.reading import RewardFunction, field_of
from cloche.data.stories.catalogue import Part
from cloche.data.stories.statements import first_sentence, true_statements
from cloche.data.stories.teller import Language
from cloche.errors import DataError, SettingError

_MARKS = ".!?。！？"


def reward_stories(option: str | None) -> RewardFunction:
    """1 where the answer is true of a story.

    A record with the field `answer` asks a question, and that is the true answer, capitals and
    closing marks aside. One without has the fields `story` (its index), `seed`, `language` and
    `part` ("train" when it has none), and the answer's first sentence must be a true statement
    about the story's end.
    """
    if option is not None:
        raise SettingError(f"the reward stories takes no option, got {option!r}")

    def stories(prompt: str, answer: str, record: Mapping[str, Any]) -> float:  # noqa: ARG001
        if record.get("answer") is not None:
            return float(_plain(answer) == _plain(str(record["answer"])))
        return float(first_sentence(answer) in _statements(record))

    return stories


def _statements(record: Mapping[str, Any]) -> frozenset[str]:
    index, seed, language = (field_of(record, name) for name in ("story", "seed", "language"))
    part = record.get("part", "train")
    for name, value in (("story", index), ("seed", seed)):
        if type(value) is not int:
            raise DataError(f"the field {name!r} must hold a whole number, got {value!r:.80}")
    if language not in get_args(Language) or part not in get_args(Part):
        raise DataError(
            f"the field 'language' must be one of {', '.join(get_args(Language))} and 'part' one "
            f"of {', '.join(get_args(Part))}, got {language!r:.80} and {part!r:.80}"
        )
    return true_statements(index, seed=seed, language=language, part=part)


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(_MARKS).casefold()
