"""The sandbox in which chat templates run: those of Hugging Face models, which come from anybody.

A template sees the conversation and nothing else. It may loop, call macros and build texts, but
only so many steps and characters of it: a few lines can otherwise loop for days or fill the memory.
What it can name is what `transformers` gives it, with blocks and their lines handled alike.

Source: https://huggingface.co/docs/transformers/chat_templating_writing
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_STEPS = 1_000_000
"""Of one rendering: turns of loops, calls, and values looked at; about a second."""
MOST_CHARACTERS = 64_000_000
"""Of a text or list that a template makes."""
MOST_CHARACTERS_MADE = 4 * MOST_CHARACTERS
"""Of all texts together that are made on the way."""
LARGEST_ARGUMENT = 100_000
"""A number that a filter may be given, such as a width."""

RENDERING = "the rendering"  # a name with a space, which no template can write
_FILTERS = (
    *("abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first"),
    *("float", "forceescape", "groupby", "indent", "int", "items", "join", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse"),
    *("round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "trim"),
    *("truncate", "unique", "upper", "urlencode", "wordcount"),
)
_COUNTING = ("length", "count")  # make no text, and often stand in loops over all messages
_PADDING = frozenset(
    (
        *("center", "expandtabs", "format", "format_map", "from_bytes", "ljust", "maketrans"),
        *("rjust", "to_bytes", "translate", "zfill"),
    )
)
_NUMBERS = (int, float)


@dataclass
class Rendering:
    """One rendering: what it may still spend, and what marks `{% generation %}` blocks."""

    open_mark: str = ""
    close_mark: str = ""
    steps: int = 0
    characters: int = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises ExhaustedError where there are too many."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise ExhaustedError(f"it takes more than {MOST_STEPS:,} steps, and so may never end")

    def size(self, value: object) -> int:
        """Characters and values in `value`, all that it holds included."""
        if isinstance(value, str):
            return len(value)
        if isinstance(value, Namespace):
            raise SecurityError("a namespace is no text, and is in no list")
        self.spend()
        if isinstance(value, list | tuple):
            return 1 + sum(map(self.size, value))
        if isinstance(value, dict):
            return 1 + sum(self.size(key) + self.size(each) for key, each in value.items())
        return 1

    def limit(self, characters: int) -> None:
        """Raise ExhaustedError where a text or list would be too large."""
        if characters > MOST_CHARACTERS:
            raise ExhaustedError(f"it makes a text of more than {MOST_CHARACTERS:,} characters")

    def made(self, value: Any) -> Any:
        """The value. Raises ExhaustedError where too much text has been made by now."""
        if isinstance(value, str):
            self.characters += len(value)
            if self.characters > MOST_CHARACTERS_MADE:
                raise ExhaustedError(f"it makes more than {MOST_CHARACTERS_MADE:,} characters")
        return value


class ExhaustedError(SecurityError):
    """A template that takes too long, or makes too much."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compiles chat templates; each rendering is given its `Rendering` under RENDERING."""

    intercepted_binops = frozenset({"%", "*", "+", "**"})

    def __init__(self, strftime_now: Callable[[str], str]) -> None:
        """`strftime_now` gives the present time in a format, for templates that write the date."""
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        plain = Environment(autoescape=False)
        filters = {name: pass_context(_Filter(name, plain)) for name in _FILTERS}
        self.filters = {**filters, "tojson": _tojson}
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": strftime_now}
        self.finalize = _written

    def step(self) -> bool:
        """True; being called counts as a step."""
        return True

    def join_texts(self, *texts: Any) -> str:
        """The texts as one."""
        return "".join(map(str, texts))

    def keep(self, value: Any) -> Any:
        """The value: a list that was measured by being handed over."""
        return value

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """What a function of the template, of a text or of this environment returns."""
        rendering: Rendering = context[RENDERING]
        rendering.spend()
        given = [value for value in (*args, *kwargs.values()) if not callable(value)]
        rendering.limit(sum(map(rendering.size, given)))
        bound = getattr(function, "__self__", None)
        if bound is self:
            return rendering.made(function(*args))
        if isinstance(bound, str) and function.__name__ in ("join", "replace"):
            args = _limited(rendering, function.__name__, bound, args)
        return rendering.made(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What an operator gives, where that is no larger than a text may be."""
        numbers = isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)
        if operator == "**" or (operator == "%" and not numbers):
            raise SecurityError(f"{operator} is only for numbers, and ** for none")
        rendering: Rendering = context[RENDERING]
        if operator == "*" and not numbers:
            many, once = (left, right) if isinstance(left, int) else (right, left)
            rendering.limit(rendering.size(once) * max(0, many) if isinstance(many, int) else 0)
        elif not numbers:
            rendering.limit(rendering.size(left) + rendering.size(right))
        elif abs(left) > 1e300 or abs(right) > 1e300:
            raise SecurityError("a number grows too large")
        return rendering.made(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use it; what pads texts to any width it may not."""
        return attr not in _PADDING and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """None: no text formats others."""

    def compiled(self, source: str) -> Any:
        """The template, every loop of which counts its turns. Raises TemplateSyntaxError."""
        return self.from_string(_Counting().visit(self.parse(source)))


class _Filter:
    """A filter of jinja2 that is given only so much, and makes only so much."""

    def __init__(self, name: str, plain: Environment) -> None:
        self._name = name
        self._plain = plain

    def __call__(self, context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        """What the filter makes of a value."""
        rendering: Rendering = context[RENDERING]
        rendering.spend()
        given = (*args, *kwargs.values())
        if self._name not in _COUNTING:
            rendering.limit(sum(map(rendering.size, (value, *given))))
        if any(isinstance(each, int) and abs(each) > LARGEST_ARGUMENT for each in given):
            raise SecurityError(f"{self._name} with a number beyond {LARGEST_ARGUMENT:,}")
        if self._name == "join":
            value = _listed(rendering, value)
            rendering.limit(sum(map(rendering.size, value)) + _product(value, args, kwargs))
        elif self._name in ("replace", "indent"):
            rendering.limit(_product(str(value), args, kwargs))
        made = self._plain.call_filter(
            self._name, value, list(args), kwargs, context=context, eval_ctx=context.eval_ctx
        )
        return rendering.made(made)


class _Generation(Extension):
    """`{% generation %}` blocks: what the assistant writes, set between two marks."""

    tags = {"generation"}  # noqa: RUF012, as jinja2 reads it

    def parse(self, parser: Parser) -> nodes.Node:
        """The block, its text handed to `_mark`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_mark", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _mark(self, context: Context, caller: Callable[[], str]) -> str:
        rendering: Rendering = context[RENDERING]
        return f"{rendering.open_mark}{caller()}{rendering.close_mark}"


class _Counting(NodeTransformer):
    """Puts a step into every turn of a loop, and measures what is joined or listed."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802, as jinja2 names it
        """The loop, each turn of which is a step, those that its test leaves out as well."""
        self.generic_visit(node)
        line = node.lineno
        node.body.insert(0, nodes.ExprStmt(_own("step", [], line), lineno=line))
        if node.test is not None:
            node.test = nodes.And(_own("step", [], line), node.test, lineno=line)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """`~` as a call, so that what it makes is measured."""
        self.generic_visit(node)
        return _own("join_texts", node.nodes, node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """The list, measured."""
        self.generic_visit(node)
        return _own("keep", [node], node.lineno) if node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """The dictionary, measured."""
        self.generic_visit(node)
        return _own("keep", [node], node.lineno) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """The tuple, measured; one that is assigned to stays."""
        self.generic_visit(node)
        return _own("keep", [node], node.lineno) if node.items and node.ctx == "load" else node


def _own(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    """A call of a method of the environment."""
    method = nodes.EnvironmentAttribute(name, lineno=line)
    return nodes.Call(method, arguments, [], None, None, lineno=line)


def _listed(rendering: Rendering, values: Iterable[Any]) -> list[Any]:
    found = []
    for value in values:
        rendering.spend()
        found.append(value)
    return found


def _limited(rendering: Rendering, name: str, text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a text's `join` or `replace`, whose outcome is not too large."""
    if name == "join" and args:
        args = (_listed(rendering, args[0]), *args[1:])
        rendering.limit(sum(map(rendering.size, args[0])) + len(args[0]) * len(text))
    elif name == "replace":
        rendering.limit(_product(text, args, {}))
    return args


def _product(value: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> int:
    """The most that the arguments can add, were they put between all parts of a value."""
    given = (*args, *kwargs.values())
    return (len(value) + 1) * max(
        (len(each) if isinstance(each, str) else each if isinstance(each, int) else 0)
        for each in (*given, 1)
    )


@pass_context
def _tojson(context: Context, value: Any, **form: Any) -> str:
    """The value as JSON, in which `<` and the like stay as they are.

    `transformers` writes it so, and allows these forms.
    """
    unknown = form.keys() - {"ensure_ascii", "indent", "separators", "sort_keys"}
    if unknown:
        raise TemplateError(f"tojson knows no {', '.join(sorted(unknown))}")
    rendering: Rendering = context[RENDERING]
    indent = form.get("indent")
    width = indent if isinstance(indent, int) else 0
    rendering.limit(rendering.size(value) * (1 + max(0, width)))
    return rendering.made(json.dumps(value, **{"ensure_ascii": False, **form}))


@pass_context
def _written(context: Context, value: Any) -> Any:
    """The value as it is, measured before it is written."""
    if not isinstance(value, str):
        rendering: Rendering = context[RENDERING]
        rendering.limit(rendering.size(value))
    return value


def _raise_exception(message: object) -> None:
    """What a template calls to refuse a conversation."""
    raise TemplateError(str(message))
