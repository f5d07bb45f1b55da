"""The fields of preferences: prompts, and answers of which one is better, ranked, or judged."""

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from cloche.data.conversation_fields import FieldReader, Turn, order_problems
from cloche.data.records import kind_of
from cloche.text.messages import ASSISTANT, USER, Conversation, Message

GOOD = (True, "good", "true", 1)
BAD = (False, "bad", "false", -1, 0)
"""What a vote may be."""


def read_prompt(reader: FieldReader, form: str) -> Conversation:
    """The prompt of a record: of `prompt`, of Alpaca's fields, or of `messages`."""
    turns = _prompt_turns(reader, form)
    return reader.conversation(turns, answered=False)


def read_chosen_rejected(reader: FieldReader) -> tuple[Conversation, Conversation, Conversation]:
    """Prompt, better and worse answer of a pair."""
    chosen, rejected = reader.answer("chosen"), reader.answer("rejected")
    form = _prompt_form(reader)
    if form is None:
        prompt = _common_beginning(reader, chosen, rejected)
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        prompt = reader.with_system(prompt)
    else:
        prompt = _prompt_turns(reader, form)
        chosen, rejected = _without(prompt, chosen), _without(prompt, rejected)
    return (
        _checked(reader, prompt),
        _checked_answer(reader, prompt, chosen, name="chosen"),
        _checked_answer(reader, prompt, rejected, name="rejected"),
    )


def read_answered(reader: FieldReader) -> tuple[Conversation, list[Conversation], list[float]]:
    """Prompt, answers and their ranks, 1 for the best; answers that tie have the same rank."""
    prompt = _needed_prompt(reader)
    given = reader.fields.get("answers")
    if not isinstance(given, list) or len(given) < 2:
        what = kind_of(given) if not isinstance(given, list) else f"a list of {len(given)}"
        reader.problems.append(f"'answers' is {what}: two or more are needed to rank them")
        return (), [], []
    answers = []
    for place, answer in enumerate(given):
        name = f"answers[{place}]"
        turns = _without(prompt, reader.answer_of(answer, name))
        answers.append(_checked_answer(reader, prompt, turns, name=name))
    return _checked(reader, prompt), answers, _ranks(reader, len(given))


def read_vote(reader: FieldReader) -> tuple[Conversation, Conversation, bool]:
    """Prompt, answer, and whether it was found good."""
    prompt = _needed_prompt(reader)
    name = "completion" if "completion" in reader.fields else "answer"
    answer = _checked_answer(reader, prompt, _without(prompt, reader.answer(name)), name=name)
    return _checked(reader, prompt), answer, _judged(reader)


def ranked_pairs(ranks: Sequence[float]) -> list[tuple[int, int]]:
    """Places of the better and the worse answer of every pair that does not tie."""
    order = sorted(range(len(ranks)), key=lambda place: ranks[place])
    return [
        (better, worse)
        for number, better in enumerate(order)
        for worse in order[number + 1 :]
        if ranks[better] < ranks[worse]
    ]


def _prompt_form(reader: FieldReader) -> str | None:
    if reader.has("prompt"):
        return "prompt"
    return "alpaca" if reader.has("instruction") else None


def _needed_prompt(reader: FieldReader) -> list[Turn]:
    return _prompt_turns(reader, _prompt_form(reader) or "prompt")


def _prompt_turns(reader: FieldReader, form: str) -> list[Turn]:
    if form == "alpaca":
        return reader.instruction()
    if form == "messages":
        return reader.with_system(reader.messages("messages"))
    return reader.prompt("prompt")


def _common_beginning(
    reader: FieldReader, chosen: Sequence[Turn], rejected: Sequence[Turn]
) -> list[Turn]:
    """What two conversations begin with alike, but for the last answer of each."""
    if len(chosen) < 2 or len(rejected) < 2:
        if not reader.problems:
            reader.problems.append(
                "there is no 'prompt' and no 'instruction', and 'chosen' and 'rejected' are no "
                "conversations that begin with one"
            )
        return []
    pairs = zip(chosen[:-1], rejected[:-1], strict=False)
    same = [one for one, _ in takewhile(lambda pair: pair[0].message == pair[1].message, pairs)]
    first = chosen[len(same)], rejected[len(same)]
    if not reader.problems and any(turn.message.role != ASSISTANT for turn in first):
        reader.problems.append(
            f"'{first[0].name}' and '{first[1].name}' differ before there is an answer: both must "
            "have the same prompt"
        )
    return same


def _without(prompt: Sequence[Turn], answer: list[Turn]) -> list[Turn]:
    """The answer without the prompt, where it repeats it."""
    asked = [turn.message for turn in prompt]
    beginning = [turn.message for turn in answer[: len(asked)]]
    if asked and beginning == asked:
        return answer[len(asked) :]
    told = [message for message in asked if message.role != "system"]
    if told and beginning[: len(told)] == told and asked != told:
        return answer[len(told) :]
    return answer


def _checked(reader: FieldReader, prompt: Sequence[Turn]) -> Conversation:
    return reader.conversation(prompt, answered=False)


def _checked_answer(
    reader: FieldReader, prompt: Sequence[Turn], answer: Sequence[Turn], *, name: str
) -> Conversation:
    """The messages of an answer, where they can follow the prompt."""
    if reader.problems:
        return ()
    if not answer:
        reader.problems.append(f"'{name}' holds no answer behind the prompt")
        return ()
    first, message = answer[0]
    if message.role != ASSISTANT:
        reader.problems.append(
            f"'{first}' is the {message.role}'s, where the answer must begin: up to there, it must "
            "say the same as the prompt"
        )
        return ()
    asked = list(prompt) or [Turn("prompt", Message(USER, "?"))]
    reader.problems.extend(order_problems([*asked, *answer], answered=True))
    return tuple(turn.message for turn in answer)


def _ranks(reader: FieldReader, count: int) -> list[float]:
    """The ranks of answers, lower for better ones: by `ranks`, `scores`, or as they stand."""
    given = [name for name in ("ranks", "scores") if reader.has(name)]
    if len(given) == 2:
        reader.problems.append("'ranks' and 'scores' both say how good answers are: give one")
        return []
    if not given:
        return [float(place) for place in range(count)]
    values = reader.fields[given[0]]
    if not isinstance(values, list) or len(values) != count or not all(map(_is_number, values)):
        reader.problems.append(
            f"'{given[0]}' must be a list of {count} numbers, one for each answer"
        )
        return []
    return [float(value) if given[0] == "ranks" else -float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _judged(reader: FieldReader) -> bool:
    name = "label" if "label" in reader.fields else "vote"
    if name not in reader.fields:
        reader.problems.append("there is no 'label' (nor 'vote') that says good or bad")
        return False
    value = reader.fields[name]
    plain = value.strip().lower() if isinstance(value, str) else value
    if isinstance(plain, str | bool | int) and plain in GOOD:
        return True
    if not (isinstance(plain, str | bool | int) and plain in BAD):
        reader.problems.append(
            f"'{name}' is {value!r:.40}: a vote is good or bad, true or false, 1 or -1"
        )
    return False
