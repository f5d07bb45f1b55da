"""A village that a tiny model knows by heart in seconds, for lessons on what comes afterwards.

Forty people, each with a home, a colour and an animal. A text tells it all, many times over; there
are questions about each of it, and every fourth of these is held out.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloche.lessons.stage import Stage
from cloche.training.start import TrainedRun
from cloche.tuning.start import tune

NAMES: tuple[str, ...] = (
    *("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivan", "Jun"),
    *("Kai", "Lena", "Milo", "Nora", "Otto", "Pia", "Quin", "Rosa", "Sami", "Tara"),
    *("Ugo", "Vera", "Wim", "Xenia", "Yara", "Zoe", "Amir", "Bela", "Carl", "Dina"),
    *("Enzo", "Finn", "Greta", "Hugo", "Ines", "Jana", "Karl", "Lola", "Max", "Nina"),
)
VALUES: tuple[tuple[str, ...], ...] = (
    ("Oslo", "Rome", "Lima", "Cairo", "Paris", "Tokyo", "Delhi", "Accra"),
    ("red", "blue", "green", "white", "black", "brown", "pink", "grey"),
    ("cat", "dog", "horse", "duck", "goat", "snake", "mouse", "bird"),
)
QUESTIONS = ("Where does {} live?", "Which colour does {} like?", "Which animal does {} have?")
SENTENCES = ("{} lives in {}.", "{} likes {}.", "{} has a {}.")
HELD_OUT = 30

ON_A_CPU = {
    "train.sample_tokens": 0,
    "train.seed": 1,
    "train.compile": "off",
    "train.device": "cpu",
    "train.precision": "float32",
}
PRETRAINING = {
    **ON_A_CPU,
    "text.tokenizer": "bpe",
    "text.vocab_size": 450,
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 48,
    "model.context": 64,
    "model.dropout": 0.0,
    "train.steps": 250,
    "train.batch": 8,
    "train.learning_rate": 0.02,
    "train.eval_every": 250,
}
TUNING = {
    **ON_A_CPU,
    "data.split": (0.9, 0.1),
    "train.steps": 200,
    "train.batch": 8,
    "train.learning_rate": 0.003,
    "train.eval_every": 20,
    "train.save_every": 200,
}


@dataclass(frozen=True)
class Fact:
    """Something that is true of somebody in the village."""

    name: str
    kind: int
    """0 the home, 1 the colour, 2 the animal."""
    value: str

    @property
    def question(self) -> str:
        """What is asked for it."""
        return QUESTIONS[self.kind].format(self.name)

    @property
    def answer(self) -> str:
        """The sentence that tells it."""
        return SENTENCES[self.kind].format(self.name, self.value)

    def wrong(self, number: int) -> "Fact":
        """The same of somebody who has another value, one of seven."""
        values = VALUES[self.kind]
        step = 1 + number % (len(values) - 1)
        value = values[(values.index(self.value) + step) % len(values)]
        return Fact(self.name, self.kind, value)


def village_facts() -> list[Fact]:
    """All that is true, person by person."""
    draw = random.Random(1)
    kinds = tuple(enumerate(VALUES))
    return [Fact(name, kind, draw.choice(values)) for name in NAMES for kind, values in kinds]


def village_text(*, tellings: int = 60) -> str:
    """Everybody in an order drawn for each telling, and so the sentences about each."""
    draw = random.Random(0)
    people = [village_facts()[begin : begin + 3] for begin in range(0, 3 * len(NAMES), 3)]
    told = []
    for _ in range(tellings):
        for facts in draw.sample(people, len(people)):
            told.append("\n".join(fact.answer for fact in draw.sample(facts, len(facts))))
    return "\n\n".join(told) + "\n"


def asked_facts() -> tuple[list[Fact], list[Fact]]:
    """Those whose questions are learned from, and those whose questions are held out."""
    facts = village_facts()
    random.Random(3).shuffle(facts)
    return facts[:-HELD_OUT], facts[-HELD_OUT:]


def write_json_lines(path: Path, records: Iterable[dict[str, str]]) -> Path:
    """A file of records, one a line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def grow_model(stage: Stage) -> TrainedRun:
    """A model that has read the village's text, and only continues."""
    text = stage.folder / "village.txt"
    text.write_text(village_text(), encoding="utf-8")
    return stage.train(str(text), out="grown", options=PRETRAINING)


def teach_answers(stage: Stage) -> TrainedRun:
    """A model that has read the village's text, tuned to answer questions about it."""
    learned, _ = asked_facts()
    records = ({"prompt": fact.question, "completion": fact.answer} for fact in learned)
    path = write_json_lines(stage.folder / "questions.jsonl", records)
    grown = grow_model(stage)
    return tune(grown.folder, path, out=stage.folder / "answering", options=TUNING, listeners=[])
