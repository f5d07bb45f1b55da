"""A prompt laid out: system text, examples, then the question, a blank line between them.

    You answer in one word.          system text

    Input: hot                       examples (few-shot: Brown et al. 2020,
    Output: cold                     https://arxiv.org/abs/2005.14165)

    Input: wet                       the question, which the model goes on with
    Output:

This is plain text, for models that continue text.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from cloche.errors import SettingError, TextError, join_problems
from cloche.text.templates import Template

SEPARATOR = "\n\n"
PROMPT, OUTPUT = "prompt", "output"
QUESTION_LAYOUT = "Input: {{ prompt }}\nOutput:"
SHOT_LAYOUT = "Input: {{ input }}\nOutput: {{ output }}"
"""How questions and examples look where no template is given."""


class Example(NamedTuple):
    """One example of a file of them."""

    place: str
    """As messages call it: "shots.jsonl, line 3"."""
    fields: Mapping[str, object]


@dataclass(frozen=True)
class PromptLayout:
    """What stands around every prompt: system text, examples, a template and its constants."""

    system: str = ""
    shots: tuple[str, ...] = ()
    """Examples, laid out."""
    template: Template | None = None
    """Of the question; without one, the prompt is the question."""
    constants: tuple[tuple[str, str], ...] = ()
    """Values of the template for every prompt; a field of the same name goes before."""

    def lay_out(self, fields: Mapping[str, object]) -> str:
        """The whole prompt for one question, whose text is the field `prompt` or in the template's.

        Raises TextError where a field is missing or no text.
        """
        question = self._question(fields)
        return SEPARATOR.join([*([self.system] if self.system else []), *self.shots, question])

    def missing(self, fields: Mapping[str, object]) -> list[str]:
        """The variables that neither `fields` nor the constants give, each with its line."""
        if self.template is None:
            return []
        return self.template.missing({**dict(self.constants), **fields})

    def takes(self, name: str) -> bool:
        """Whether the layout shows the field of this name."""
        return name in (self.template.variables if self.template else (PROMPT,))

    def _question(self, fields: Mapping[str, object]) -> str:
        if self.template is not None:
            return self.template.fill({**dict(self.constants), **fields})
        text = fields.get(PROMPT)
        if not isinstance(text, str):
            has = ", ".join(map(repr, sorted(fields)[:8])) or "nothing"
            kind = f"{PROMPT!r} is no text" if PROMPT in fields else f"there is no {PROMPT!r}"
            raise TextError(f"{kind} (there is {has}); give one, or a template that takes others")
        return text


def make_layout(
    template: Template | None,
    *,
    system: str = "",
    examples: Sequence[Example] = (),
    shot_template: Template | None = None,
    constants: Mapping[str, str] | None = None,
) -> PromptLayout:
    """The layout of these parts; `constants` fill variables of the templates for every prompt.

    Without `shot_template` an example is the template, filled with its fields, and then its
    `output`; without any template, SHOT_LAYOUT. Raises SettingError for a constant that no
    template names, and TextError for every example that lacks a field.
    """
    given = constants or {}
    refuse_unused(given, [template, shot_template])
    if examples and template is None and shot_template is None:
        _refuse_unshown(examples)
        shot_template = Template(SHOT_LAYOUT, name="the usual layout of examples")
    if examples and template is None:
        template = Template(QUESTION_LAYOUT, name="the usual layout of questions")
    shots = _filled_shots(examples, template, shot_template=shot_template, constants=given)
    return PromptLayout(system, tuple(shots), template, tuple(sorted(given.items())))


def refuse_unused(constants: Mapping[str, str], templates: Sequence[Template | None]) -> None:
    """Raise SettingError for constants that no template names, telling what they name."""
    there = [template for template in templates if template is not None]
    known = sorted({name for template in there for name in template.variables})
    unused = sorted(constants.keys() - set(known))
    if not unused:
        return
    what = f"its variables are: {', '.join(known)}" if known else "it has no variables"
    reason = what if there else "there is no template"
    raise SettingError(
        join_problems([f"the value of {name!r} would not be used: {reason}" for name in unused])
    )


def parse_constants(given: Iterable[str]) -> dict[str, str]:
    """`["language=German"]` as a dictionary. SettingError for all that are no such pairs."""
    found: dict[str, str] = {}
    problems = []
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            problems.append(f"--set {pair!r} is not NAME=VALUE, such as --set language=German")
        elif name in found:
            problems.append(f"--set gives {name!r} twice: {found[name]!r} and {value!r}")
        else:
            found[name] = value
    if problems:
        raise SettingError(join_problems(problems))
    return found


def read_examples(text: str, *, name: str) -> list[Example]:
    """The examples in the text of a file, by the ending of its name: .jsonl, .json, .csv, .tsv.

    Raises TextError with the place of what is no example.
    """
    readers = {".jsonl": _of_lines, ".json": _of_list, ".csv": _of_table, ".tsv": _of_table}
    path = PurePath(name.lower())
    ending = path.with_suffix("").suffix if path.suffix in (".gz", ".zst") else path.suffix
    if ending not in readers:
        raise TextError(
            f"{name}: examples are read from {', '.join(readers)}, and this ends in "
            f"{ending or 'nothing'}; rename or convert it"
        )
    examples = readers[ending](text, name)
    if not examples:
        raise TextError(f"{name} holds no examples")
    return examples


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`; ValueError, saying why, where it is none.

    A key that comes twice, NaN and infinities are no JSON, though Python reads them.
    """
    found = _parse_json(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(f"it is no JSON ({exc.msg} at character {exc.pos + 1})") from exc


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {key!r} twice")
        found[key] = value
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not know")


def _filled_shots(
    examples: Sequence[Example],
    template: Template | None,
    *,
    shot_template: Template | None,
    constants: Mapping[str, str],
) -> list[str]:
    shots, problems = [], []
    for example in examples:
        try:
            shots.append(_shot(example, template, shot_template=shot_template, constants=constants))
        except TextError as exc:
            problems.append(f"{example.place}: {exc}")
    if problems:
        more = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        heading = f"{len(problems)} of {len(examples)} examples cannot be laid out:"
        raise TextError("\n  - ".join([heading, *problems[:10], *more]))
    return shots


def _shot(
    example: Example,
    template: Template | None,
    *,
    shot_template: Template | None,
    constants: Mapping[str, str],
) -> str:
    values = {**constants, **example.fields}
    if shot_template is not None:
        return shot_template.fill(values)
    assert template is not None, "examples always have a layout"
    output = example.fields.get(OUTPUT)
    if not isinstance(output, str):
        raise TextError(
            f"it has no text {OUTPUT!r} to put behind the template; add it, or say with "
            "--shot-template what an example looks like"
        )
    question = template.fill(values)
    # a space stands before a word, but not in Chinese, nor on a new line
    parted = question and question[-1].isascii() and not question[-1].isspace()
    return f"{question} {output}" if parted else question + output


def _refuse_unshown(examples: Sequence[Example]) -> None:
    """Raise SettingError where the usual layout would leave a field of an example out."""
    unshown = sorted({name for example in examples for name in example.fields} - {"input", OUTPUT})
    if unshown:
        raise SettingError(
            f"the examples hold {', '.join(map(repr, unshown))}, which the usual layout of 'input' "
            "and 'output' does not show: say with --template and --shot-template how they look"
        )


def _of_lines(text: str, name: str) -> list[Example]:
    examples = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{name}, line {number}"
            try:
                examples.append(Example(place, parse_object(line)))
            except ValueError as exc:
                raise TextError(f"{place} is no example: {exc}") from exc
    return examples


def _of_list(text: str, name: str) -> list[Example]:
    try:
        found = _parse_json(text)
    except ValueError as exc:
        raise TextError(f"{name} holds no list of examples: {exc}") from exc
    if not isinstance(found, list):
        raise TextError(f"{name} holds no list of examples, [{{...}}, {{...}}], but another value")
    for number, fields in enumerate(found, start=1):
        if not isinstance(fields, dict):
            raise TextError(f"{name}, example {number} is not an object but {fields!r:.60}")
    return [Example(f"{name}, example {n}", fields) for n, fields in enumerate(found, start=1)]


def _of_table(text: str, name: str) -> list[Example]:
    first = text.partition("\n")[0]
    delimiter = "\t" if ".tsv" in name.lower() else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as exc:
        raise TextError(f"{name}: line {reader.line_num} is no CSV ({exc})") from exc
    columns = [column.strip() for column in rows[0][1]] if rows else []
    if len(set(columns)) < len(columns) or not all(columns):
        raise TextError(f"{name}: the first row must name each column, and none twice: {columns}")
    for line, row in rows[1:]:
        if len(row) != len(columns):
            raise TextError(
                f"{name}: line {line} has {len(row)} cells for {len(columns)} columns; text with "
                "separators needs quotes"
            )
    return [
        Example(f"{name}, line {line}", dict(zip(columns, row, strict=True)))
        for line, row in rows[1:]
    ]
