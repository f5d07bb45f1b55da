"""Whether what a model writes of the built-in stories is true.

Each story is given up to its closing sentence, and the model goes on. Its next sentence is checked
against the world of the story (`data/stories/statements.py`): a model that learned from these
stories mostly says there who has what, where it lies, how many there are, or where it all was.
The stories are of the held-out part: no model has learned from their combinations.
"""

import math
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from cloche.data.batches import Tokens, TokensInMemory
from cloche.data.stories.corpus import Continuation, Story, stories, story
from cloche.data.stories.statements import first_sentence, is_statement, true_statements
from cloche.data.stories.teller import Language
from cloche.errors import DataError, TokenizerError
from cloche.evaluation.likelihood import nats_of_windows
from cloche.evaluation.trials import TrialEstimate, share_of
from cloche.evaluation.writers import continue_prompts
from cloche.run import LM

SLACK = 16
"""Tokens that the model may write beyond what the stories' closing sentences take."""
SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")
LOOKED_AT = 20
"""Stories that are looked at for each one wanted, until enough fit into a short context."""
_EXAMPLES = 3
_OPENING = 200  # characters of the first story that a text has to begin with


@dataclass(frozen=True)
class FalseStatement:
    """A statement of the model that is not true, and the story's own closing sentence."""

    story: int
    """Index of the story."""
    said: str
    truth: str


@dataclass(frozen=True)
class StoriesTruth:
    """How a model ends stories whose truth is known."""

    language: Language
    stories: int
    left_out: int
    """Stories before the last one used that are too long for the model's context, with the
    sentence to write."""
    statements: TrialEstimate
    """Share of the stories in which the model's sentence is a statement that can be checked."""
    true: TrialEstimate | None
    """Of the statements, the share that is true; None where there is none."""
    prefers_truth: TrialEstimate
    """Share of the stories in which the true closing sentence is likelier to the model than the
    same one with a fact of it wrong; 0.5 by chance."""
    false_statements: tuple[FalseStatement, ...]
    """The first few."""


@dataclass(frozen=True)
class _Task:
    index: int
    prompt: tuple[int, ...]
    continuation: Continuation


def measure_truth(lm: LM, *, language: Language, count: int, seed: int) -> StoriesTruth:
    """How the model ends `count` held-out stories of that seed, taking the likeliest token always.

    Those are taken that fit into its context, which may be fewer, where it is short. DataError
    where none does, TokenizerError where its vocabulary cannot write the language.
    """
    tasks, longest, left_out = _tasks(lm, language=language, count=count, seed=seed)
    prompts = (task.prompt for task in tasks)
    written = continue_prompts(
        lm, prompts, tokens=longest, stop_ids=lm.stop_ids, stop=SENTENCE_ENDS
    )
    statements, false = 0, []
    for task, answer in zip(tasks, written, strict=True):
        sentence = first_sentence(answer.text)
        if not is_statement(sentence, language):
            continue
        statements += 1
        if sentence not in true_statements(
            task.index, seed=seed, language=language, part="held_out"
        ):
            truth = first_sentence(task.continuation.right)
            false.append(FalseStatement(task.index, sentence, truth))
    preferred = sum(_prefers_truth(lm, task) for task in tasks)
    return StoriesTruth(
        language=language,
        stories=len(tasks),
        left_out=left_out,
        statements=share_of(statements, len(tasks)),
        true=share_of(statements - len(false), statements) if statements else None,
        prefers_truth=share_of(preferred, len(tasks)),
        false_statements=tuple(false[:_EXAMPLES]),
    )


def language_learned(lm: LM, training: Tokens, *, seed: int) -> Language | None:
    """The language of the built-in stories of that seed, where the training text begins with them.

    None where the model learned from another text.
    """
    length = min(len(training.tokens), 4 * _OPENING)
    opening = lm.tokenizer.decode(np.asarray(training.tokens[:length]).tolist())
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        text = story(0, seed=seed, language=language).text[:_OPENING]
        if opening.startswith(text):
            return language
    return None


def _tasks(lm: LM, *, language: Language, count: int, seed: int) -> tuple[list[_Task], int, int]:
    """The first stories that fit, the most tokens to write after each, and how many did not fit."""
    try:
        return _find_tasks(lm, language=language, count=count, seed=seed)
    except TokenizerError as exc:
        raise TokenizerError(
            f"the model cannot write the stories ({language}) whose truth is known: {exc}"
        ) from exc


def _find_tasks(
    lm: LM, *, language: Language, count: int, seed: int
) -> tuple[list[_Task], int, int]:
    told = stories(language, seed=seed, part="held_out")
    first = list(islice(told, count))
    longest = max(_closing_tokens(lm, each) for each in first) + SLACK
    room = lm.config.context - longest
    tasks: list[_Task] = []
    shortest, looked_at = math.inf, 0
    for each in islice(chain(first, told), count * LOOKED_AT):
        looked_at += 1
        prompt = _ids(lm, each.continuation.prompt)
        shortest = min(shortest, len(prompt))
        if len(prompt) <= room and _closing_tokens(lm, each) <= longest:
            tasks.append(_Task(each.index, prompt, each.continuation))
        if len(tasks) == count:
            break
    if not tasks:
        raise DataError(
            f"no story fits into the model's context of {lm.config.context} tokens: the shortest "
            f"of {looked_at:,} has {shortest} tokens, and {longest} are for the sentence that "
            "follows. Leave the stories out with --writing-stories none"
        )
    return tasks, longest, looked_at - len(tasks)


def _closing_tokens(lm: LM, told: Story) -> int:
    """Tokens of the story's closing sentence, the true or the wrong one."""
    endings = (told.continuation.right, told.continuation.wrong)
    return max(len(lm.tokenizer.encode(ending)) for ending in endings)


def _ids(lm: LM, text: str) -> tuple[int, ...]:
    """The text as a document begins: behind the beginning-of-text token where there is one."""
    ids = tuple(lm.tokenizer.encode(text))
    return ids if lm.bos is None else (lm.bos, *ids)


def _prefers_truth(lm: LM, task: _Task) -> bool:
    right, wrong = (
        _nats(lm, _ids(lm, task.continuation.prompt + ending))
        for ending in (task.continuation.right, task.continuation.wrong)
    )
    return right < wrong


def _nats(lm: LM, ids: tuple[int, ...]) -> float:
    """What a text costs the model, its first token given."""
    row = TokensInMemory(np.array(ids, np.int64), np.array([len(ids)]), separated=False)
    starts = np.zeros(1, np.int64)
    nats, _ = nats_of_windows(lm.model, row, starts=starts, context=len(ids) - 1, rows=1)
    return nats
