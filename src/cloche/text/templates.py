"""A text with variables, `{{ name }}`, to be filled: jinja2, sandboxed, nothing undefined.

A template may come from anybody, so it sees its values and nothing else: no functions, no files,
no attributes of Python. What fills it is data: braces in a value stay braces.

Source: https://jinja.palletsprojects.com/en/stable/templates/
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cloche.errors import SettingError, TextError
from cloche.text.encodings import find_lone_surrogate

MOST_CHARACTERS = 64_000_000
"""Of a filled template; loops within loops that make more are surely a mistake."""

_FAILURES = (
    *(TemplateError, ArithmeticError, AttributeError, LookupError),
    *(MemoryError, RecursionError, TypeError, ValueError),
)
_IN_TEMPLATE = "<template>"


class Template:
    """A text with variables. SettingError, with the line, where its syntax is wrong."""

    def __init__(self, source: str, *, name: str) -> None:
        """`name` is the template as messages call it: "the template", "--template qa.txt"."""
        self.source = source
        self.name = name
        self._environment = _environment()
        try:
            tree = self._environment.parse(source)
            self._compiled = self._environment.from_string(source)
        except TemplateSyntaxError as exc:
            raise SettingError(f"{name}: line {exc.lineno}: {exc.message}") from exc
        except RecursionError as exc:
            raise SettingError(f"{name} is nested too deeply") from exc
        self._check_blocks(tree)
        self.variables: Mapping[str, int] = _variables(tree)
        """Every variable, and the line (from 1) that names it first."""
        self._required = self.variables.keys() - _guarded(tree)

    def missing(self, values: Mapping[str, object]) -> list[str]:
        """What each variable that `values` lacks should be told: its name and line.

        A variable that the template itself asks after (`is defined`, `default`) may be missing.
        """
        names = sorted(
            self._required - values.keys(), key=lambda name: (self.variables[name], name)
        )
        return [f"{{{{ {name} }}}} (line {self.variables[name]})" for name in names]

    def fill(self, values: Mapping[str, object]) -> str:
        """The text with `values` in place of the variables; what else they hold is not used.

        Raises TextError, with the template's line, where a value is missing, null, or not what the
        template does with it.
        """
        if missing := self.missing(values):
            known = ", ".join(map(repr, sorted(values)[:8])) or "nothing"
            raise TextError(
                f"{self.name} needs {', '.join(missing)}, which is not given; given: {known}"
            )
        try:
            text = self._joined({name: values[name] for name in self.variables if name in values})
        except _FAILURES as exc:
            line = _line(exc.__traceback__)
            place = f"{self.name}: line {line}" if line else self.name
            raise TextError(f"{place}: {str(exc) or type(exc).__name__}") from exc
        if half := find_lone_surrogate(text):
            raise TextError(
                f"{self.name}, filled, holds the lone surrogate U+{ord(half[0]):04X}, which is "
                "half a character; mend the value"
            )
        return text

    def _joined(self, values: Mapping[str, object]) -> str:
        pieces, characters = [], 0
        for piece in self._compiled.generate(values):
            characters += len(piece)
            if characters > MOST_CHARACTERS:
                raise ValueError(f"the text grows beyond {MOST_CHARACTERS:,} characters")
            pieces.append(piece)
        return "".join(pieces)

    def _check_blocks(self, tree: nodes.Template) -> None:
        """Raise SettingError where another template is called for: there is none."""
        kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
        for node in tree.find_all(kinds):
            raise SettingError(
                f"{self.name}: line {node.lineno}: {type(node).__name__.lower()} asks for another "
                "template, and a prompt has only this one; write its text here"
            )


class _Environment(ImmutableSandboxedEnvironment):
    """Without what turns a short template into a text that fills the memory."""

    intercepted_binops = frozenset({"%", "*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What two numbers give; a text is not repeated or padded, nothing raised to a power."""
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{operator} is only for numbers, and ** for none")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
    found = _Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_not_null
    )
    found.globals.clear()  # among them `range`, which lets two lines loop for days
    return found


def _not_null(value: object) -> object:
    """The value as it is; null, which would be written as the word None, is refused."""
    if value is None:
        raise ValueError("a value is null; leave it out of the text, or test it with `is none`")
    return value


def _variables(tree: nodes.Template) -> dict[str, int]:
    undeclared = meta.find_undeclared_variables(tree)
    found: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in undeclared:
            found[node.name] = min(node.lineno, found.get(node.name, node.lineno))
    return found


def _guarded(tree: nodes.Template) -> set[str]:
    """Variables whose absence the template looks after itself."""
    tests = (node for node in tree.find_all(nodes.Test) if node.name in ("defined", "undefined"))
    defaults = (node for node in tree.find_all(nodes.Filter) if node.name in ("default", "d"))
    asked = [node.node for node in (*tests, *defaults)]
    return {node.name for node in asked if isinstance(node, nodes.Name)}


def _line(traceback: TracebackType | None) -> int | None:
    """The template's line in which an error arose; None where it arose outside."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _IN_TEMPLATE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
