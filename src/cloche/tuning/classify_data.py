"""Texts with classes as examples: split, checked and encoded."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.data.conversation_split import split_records
from cloche.data.examples import Example
from cloche.errors import SettingError, TextError, TokenizerError
from cloche.text.tokenizer import Tokenizer
from cloche.tuning.classify_options import TuneClassifyOptions
from cloche.tuning.classify_rows import (
    NAMED,
    Columns,
    LabelledText,
    classes_of,
    read_labelled,
    require_known,
    without_copies,
)
from cloche.tuning.classify_scoring import scored_example
from cloche.weights.prompting import load_begins_with_bos, load_special_ids

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class LabelledExamples:
    """The rows of each part as examples."""

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    cut: int
    """Texts that are longer than the context, of which the end is not read."""
    rows: tuple[LabelledText, ...]
    """Of the training part."""

    @property
    def hash(self) -> str:
        """SHA-256 of the training and validation examples and the classes."""
        found = hashlib.sha256(json.dumps(self.classes).encode())
        for example in (*self.train, *self.validation):
            found.update(example.ids.tobytes())
        return found.hexdigest()

    @property
    def commonest(self) -> int:
        """The class that most training rows have."""
        counts = Counter(row.label for row in self.rows)
        return self.classes.index(counts.most_common(1)[0][0])


def text_encoder(folder: Path, tokenizer: Tokenizer) -> Encode:
    """Ids of a text as the model in the folder reads texts; at least one."""
    bos = load_special_ids(folder).bos if load_begins_with_bos(folder) else None
    begin = [] if bos is None else [bos]

    def encode(text: str) -> list[int]:
        ids = tokenizer.encode(text)
        if not ids:
            raise TokenizerError(f"the tokenizer makes no token of {text[:40]!r}")
        return [*begin, *ids]

    return encode


def read_examples(options: TuneClassifyOptions, encode: Encode) -> LabelledExamples:
    """The rows of the sources, split as the options say, as examples.

    Raises ClocheError for rows that cannot be used, with the place of each.
    """
    if not options.sources:
        raise SettingError("name a table of texts and classes to tune on")
    columns = Columns(options.classify.text_column, options.classify.label_column)
    rows = read_labelled(
        options.sources, columns, records=options.data.records, encoding=options.data.encoding
    )
    if options.data.drop_duplicates:
        rows = without_copies(rows)
    split = split_records(
        len(rows),
        split=options.data.split,
        seed=options.train.seed,
        order="shuffled" if options.data.shuffle else "kept",
    )
    train, validation, test = (
        [rows[number] for number in numbers]
        for numbers in (split.train, split.validation, split.test)
    )
    classes = classes_of(train)
    require_known(validation, classes, part="validation")
    require_known(test, classes, part="test")
    context = options.classify.context
    assert context is not None, "completed before"
    parts = [encoded(part, classes, encode) for part in (train, validation, test)]
    cut = sum(len(ids) > context for part in parts for ids, _ in part)
    found = [
        tuple(
            scored_example(ids[:context], label=label, number=number)
            for number, (ids, label) in enumerate(part)
        )
        for part in parts
    ]
    return LabelledExamples(classes, found[0], found[1], found[2], cut, tuple(train))


def encoded(
    rows: Sequence[LabelledText], classes: Sequence[str], encode: Encode
) -> list[tuple[list[int], int]]:
    """Ids and the number of the class of each row; TextError with all that cannot be encoded."""
    numbers = {label: number for number, label in enumerate(classes)}
    found, problems = [], []
    for row in rows:
        try:
            found.append((encode(row.text), numbers[row.label]))
        except TokenizerError as exc:
            problems.append(f"{row.place}: {exc}")
    if problems:
        more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
        heading = f"{len(problems)} of {len(rows)} texts cannot be encoded:"
        raise TextError("\n  - ".join([heading, *problems[:NAMED], *more]))
    return found
