"""People's choices: a model answers, the answers are shown without a name, and one is chosen."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cloche.alignment.collect_store import ChoiceStore, Round, StoredAnswer, Verdict
from cloche.data.order import mix, shuffled
from cloche.data.preferences import PromptRecord, read_prompts
from cloche.errors import SettingError, TextError
from cloche.generation.request import GenerationRequest
from cloche.run import LM
from cloche.text.chat import ChatTemplate
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks
from cloche.text.messages import USER, Conversation, Message
from cloche.text.sources import find_sources
from cloche.weights.identity import model_hash
from cloche.weights.prompting import load_chat_template

LEAST, MOST = 2, 4
TRIES = 3
"""Times that answers are written anew where all came out the same."""
_SHOWN_ORDER, _ANSWER_SEEDS = 21, 22
_SAMPLING = (
    *("max_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty"),
    *("presence_penalty", "frequency_penalty", "no_repeat_ngram", "stop", "min_tokens"),
)
ReadKey = Callable[[], str]
"""One key, as the character it types; empty at the end of the input."""
KEYS: Mapping[str, str] = {
    **{str(place): "best" for place in range(1, MOST + 1)},
    "t": "tie",
    "=": "tie",
    "b": "all_bad",
    "0": "all_bad",
    "s": "skip",
    "u": "undo",
    "q": "quit",
    "": "quit",
}


@dataclass(frozen=True)
class Shown:
    """What is to be shown: a prompt and its answers, in the order of their keys."""

    prompt: Conversation
    answers: tuple[str, ...]
    number: int
    """Of the prompt among those to be judged, from 1."""
    count: int


@dataclass(frozen=True)
class Screen:
    """Where a collection is seen."""

    show: Callable[[Shown], None]
    say: Callable[[str], None]
    read_key: ReadKey


class Answerer:
    """Writes the answers of a round: a function of the seed, the prompt and the round's number."""

    def __init__(self, lm: LM, asked: GenerationRequest, *, answers: int, seed: int) -> None:
        if not LEAST <= answers <= MOST:
            raise SettingError(f"answers must be from {LEAST} to {MOST}, got {answers}")
        if asked.temperature == 0:
            raise SettingError(
                "without chance all answers are the same: give a temperature above 0"
            )
        self.lm = lm
        self.asked = asked
        self.answers = answers
        self.seed = seed
        self.hash = model_hash(lm.folder)
        source = load_chat_template(lm.folder)
        self.template = None if source is None else ChatTemplate(source, name=str(lm.folder))

    def write(self, record: PromptRecord, *, attempt: int) -> Round | None:
        """A round of answers to the prompt; None where they came out the same each time."""
        key = prompt_key(record.conversation)
        prompt = self._prompt_ids(record)
        for again in range(TRIES):
            seed = mix(self.seed, int(key[:15], 16), attempt, again) >> 2  # SQLite's have a sign
            answers = self._answers(prompt, seed=seed)
            if len({answer.text for answer in answers}) > 1:
                order = shuffled(
                    np.arange(self.answers), size=self.answers, key=mix(seed, _SHOWN_ORDER)
                )
                return Round(
                    id=0,
                    prompt_key=key,
                    prompt=prompt_fields(record.conversation),
                    place=record.place,
                    checkpoint=str(self.lm.folder),
                    model_hash=self.hash,
                    sampling={name: getattr(self.asked, name) for name in _SAMPLING},
                    seed=seed,
                    shown=tuple(order.tolist()),
                    answers=answers,
                )
        return None

    def _answers(self, prompt: tuple[int, ...], *, seed: int) -> tuple[StoredAnswer, ...]:
        requests = [
            replace(self.asked, prompt=prompt, seed=mix(seed, _ANSWER_SEEDS, number) >> 2, n=1)
            for number in range(self.answers)
        ]
        if self.template is not None:
            stops = self.template.stop_ids(self.lm.tokenizer)
            requests = [replace(request, stop_ids=stops) for request in requests]
        tokens = len(prompt) + self.asked.max_tokens
        engine = self.lm.engine(rows=self.answers, tokens=tokens)
        written = engine.generate(requests)
        return tuple(
            StoredAnswer(one.text, tuple(one.token_ids), request.seed or 0, one.finish_reason)
            for (one, *_), request in zip(written, requests, strict=True)
        )

    def _prompt_ids(self, record: PromptRecord) -> tuple[int, ...]:
        if self.template is not None:
            ids = self.template.prompt_ids(record.conversation, self.lm.tokenizer)
        elif len(record.conversation) == 1:
            ids = self.lm.prompt_ids(_joined(record.conversation[0]))
        else:
            raise TextError(
                f"{record.place} is a conversation of {len(record.conversation)} messages, and the "
                f"model in {self.lm.folder} has no chat template: tune it first (cloche tune), or "
                "give plain prompts"
            )
        if len(ids) >= self.lm.config.context:
            raise TextError(
                f"{record.place} has {len(ids)} tokens, which leaves no room for an answer within "
                f"the model's {self.lm.config.context}: shorten it, or leave it out"
            )
        return ids


class Collection:
    """One sitting: prompts in turn, until they are over or the person is."""

    def __init__(
        self,
        store: ChoiceStore,
        answerer: Answerer,
        prompts: Sequence[PromptRecord],
        *,
        screen: Screen,
        chooser: str,
        again: bool = False,
    ) -> None:
        self._store = store
        self._answerer = answerer
        self._screen = screen
        self._chooser = chooser
        self._again = again
        judged = set() if again else store.judged()
        unique = {prompt_key(record.conversation): record for record in prompts}
        self._open = {key: record for key, record in unique.items() if key not in judged}
        self.judged_before = len(unique) - len(self._open)
        self.counts: Counter[str] = Counter()
        """Verdicts of this sitting."""

    @property
    def left(self) -> int:
        """Prompts that are still to be judged."""
        return len(self._open) - sum(self.counts[name] for name in ("best", "tie", "all_bad"))

    def run(self) -> None:
        """Ask until all prompts were shown, or a key ends it. Every choice is on disk at once."""
        records = list(self._open.values())
        shown: list[Round] = []
        place = 0
        while place < len(records):
            made = self._round(records[place], redo=shown[place] if place < len(shown) else None)
            if made is None:
                self._screen.say(f"{records[place].place}: all answers came out the same; passed.")
                records.pop(place)
                continue
            shown[place:] = [made]
            self._show(records[place], made, number=place + 1, count=len(records))
            action = self._ask(len(made.answers), can_undo=place > 0)
            if action == "quit":
                return
            if action == "undo":
                place -= 1
                self._take_back()
            else:
                self._choose(made, action)
                place += 1

    def _round(self, record: PromptRecord, *, redo: Round | None) -> Round | None:
        """The round to show: one that was taken back, one left open, or a new one."""
        key = prompt_key(record.conversation)
        found = redo or self._store.open_round(key, model_hash=self._answerer.hash)
        if found is not None and len(found.answers) == self._answerer.answers:
            return found
        made = self._answerer.write(record, attempt=self._store.rounds_of(key))
        return None if made is None else self._store.add_round(made)

    def _show(self, record: PromptRecord, made: Round, *, number: int, count: int) -> None:
        texts = tuple(made.answers[each].text for each in made.shown)
        self._screen.show(Shown(record.conversation, texts, number, count))

    def _ask(self, answers: int, *, can_undo: bool) -> str:
        """What the next key that means something says: a place, or the name of an action."""
        while True:
            key = self._screen.read_key().lower()
            action = KEYS.get(key)
            if action == "best" and int(key) <= answers:
                return key
            if action == "undo" and not can_undo:
                self._screen.say("There is no choice of this sitting to take back.")
            elif action not in (None, "best"):
                return str(action)

    def _choose(self, made: Round, action: str) -> None:
        best = made.shown[int(action) - 1] if action.isdecimal() else None
        verdict: Any = "best" if best is not None else action
        chosen: Verdict = verdict
        self._store.choose(made, chosen, best=best, chooser=self._chooser)
        self.counts[chosen] += 1

    def _take_back(self) -> None:
        taken = self._store.take_back()
        assert taken is not None, "a choice of this sitting came before"
        self.counts[taken.verdict] -= 1
        self._screen.say("The last choice was taken back.")


def read_prompt_file(path: Path) -> list[PromptRecord]:
    """The prompts of a file of records, or of a .txt with one in each line; at least one."""
    if path.suffix.lower() != ".txt":
        return read_prompts(path)
    (source,) = find_sources([str(path)])
    encoding = detect_encoding(source.open_bytes, name=source.name)
    with source.open_bytes() as stream:
        lines = "".join(decode_blocks(stream, encoding, name=source.name)).splitlines()
    found = [
        PromptRecord(f"{path.name}, line {number}", (Message(USER, line.strip()),), {}, number - 1)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not found:
        raise TextError(f"{path} holds no prompt: write one in each line")
    return found


def prompt_key(conversation: Conversation) -> str:
    """SHA-256 of a prompt, in hexadecimal."""
    parts = [[message.role, message.content, message.input] for message in conversation]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def prompt_fields(conversation: Conversation) -> dict[str, Any]:
    """The prompt as fields of a record that `data.preferences` reads back to the same."""
    if len(conversation) == 1 and conversation[0].role == USER:
        message = conversation[0]
        if message.input:
            return {"instruction": message.content, "input": message.input}
        return {"prompt": message.content}
    return {
        "prompt": [{"role": each.role, "content": _joined(each)} for each in conversation],
    }


def _joined(message: Message) -> str:
    return "\n\n".join(part for part in (message.content, message.input) if part)
