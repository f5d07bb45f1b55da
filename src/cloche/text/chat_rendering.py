"""A chat template compiled, and what it makes of a conversation: text, told where it cannot be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from jinja2 import TemplateError, TemplateSyntaxError, nodes

from cloche.errors import SettingError, TextError
from cloche.text.chat_environment import RENDERING, ChatEnvironment, ExhaustedError, Rendering
from cloche.text.messages import Message
from cloche.text.templates import MOST_CHARACTERS

_FAILURES = (
    *(TemplateError, ArithmeticError, AttributeError, LookupError),
    *(MemoryError, RecursionError, TypeError, ValueError),
)
_IN_TEMPLATE = "<template>"
ROLE_VARIABLES = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class Rendered:
    """What a template has made of a conversation."""

    text: str
    generated: tuple[tuple[int, int], ...]
    """Where its `{% generation %}` blocks begin and end."""


class Renderer:
    """A compiled chat template. SettingError, with the line, where its syntax is wrong."""

    def __init__(self, source: str, *, name: str, strftime_now: Callable[[str], str]) -> None:
        self._name = name
        environment = ChatEnvironment(strftime_now)
        try:
            tree = environment.parse(source)
            self._compiled = environment.compiled(source)
        except TemplateSyntaxError as exc:
            raise SettingError(f"{name}: line {exc.lineno}: {exc.message}") from exc
        except RecursionError as exc:
            raise SettingError(f"{name} is nested too deeply") from exc
        for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            raise SettingError(
                f"{name}: line {node.lineno}: {type(node).__name__.lower()} asks for another "
                "template, and there is only this one; write its text here"
            )
        names = {node.name for node in tree.find_all(nodes.Name)}
        self.roles_named = tuple(name for name in ROLE_VARIABLES if name in names)
        """The variables for special tokens that it looks at."""
        self.shows_input = _looks_at(tree, "input")
        """Whether it has a place for `Message.input`."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tokens: Mapping[str, str],
        marks: str = "",
    ) -> Rendered:
        """The text of a conversation, `tokens` giving `bos_token` and the like.

        `marks` are two characters that occur nowhere; without them, blocks that the assistant
        generates are not looked for. Raises TextError, with the line and the message, where the
        template refuses or fails.
        """
        try:
            text = self._write(
                messages, tokens, add_generation_prompt=add_generation_prompt, marks=marks
            )
        except _FAILURES as exc:
            said = _told(exc)
            place = self._place(exc, said, messages, tokens)
            raise TextError(f"{self._name}: {place}{said}") from exc
        return _without_marks(text, marks)

    def _write(
        self,
        messages: Sequence[Message],
        tokens: Mapping[str, str],
        *,
        add_generation_prompt: bool = False,
        marks: str = "",
    ) -> str:
        rendering = Rendering(open_mark=marks[:1], close_mark=marks[1:])
        values = {
            **tokens,
            "messages": [self._fields(message) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
            RENDERING: rendering,
        }
        pieces, characters = [], 0
        for piece in self._compiled.generate(values):
            characters += len(piece)
            if characters > MOST_CHARACTERS:
                raise ExhaustedError(f"the text grows beyond {MOST_CHARACTERS:,} characters")
            pieces.append(piece)
        return "".join(pieces)

    def _fields(self, message: Message) -> dict[str, str]:
        if self.shows_input and message.input:
            return {"role": message.role, "content": message.content, "input": message.input}
        parts = [part for part in (message.content, message.input) if part]
        return {"role": message.role, "content": "\n\n".join(parts)}

    def _place(
        self, exc: Exception, said: str, messages: Sequence[Message], tokens: Mapping[str, str]
    ) -> str:
        """Where it failed: the line, and the first message with which it fails so."""
        line = _line(exc.__traceback__)
        place = f"line {line}: " if line else ""
        if isinstance(exc, ExhaustedError | MemoryError | RecursionError):
            return place
        for count in range(1, len(messages) + 1):
            try:
                self._write(messages[:count], tokens)
            except _FAILURES as found:
                if _told(found) == said:
                    return f"{place}at message {count} ({messages[count - 1].role}): "
        return place


@dataclass(frozen=True)
class Writer:
    """A template that writes for one tokenizer."""

    renderer: Renderer
    tokens: Mapping[str, str]
    marks: str
    """Two characters that occur nowhere."""

    def write(self, messages: Sequence[Message]) -> Rendered:
        """The text of the messages."""
        return self.renderer.render(
            messages, add_generation_prompt=False, tokens=self.tokens, marks=self.marks
        )

    def ask(self, messages: Sequence[Message]) -> Rendered:
        """The text of the messages and of the generation prompt."""
        return self.renderer.render(
            messages, add_generation_prompt=True, tokens=self.tokens, marks=self.marks
        )


def _told(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _without_marks(text: str, marks: str) -> Rendered:
    """The text without its marks, and the places between them."""
    if not marks or marks[0] not in text:
        return Rendered(text, ())
    opening, closing = marks
    pieces, generated, start, length = [], [], 0, 0
    for block in text.split(opening):
        inside, closed, behind = block.partition(closing)
        start = length
        pieces += [inside, behind]
        length += len(inside) + len(behind)
        if closed:
            generated.append((start, start + len(inside)))
    return Rendered("".join(pieces), tuple(generated))


def _looks_at(tree: nodes.Template, key: str) -> bool:
    """Whether the template looks at this field of anything."""
    attributes = (node.attr for node in tree.find_all(nodes.Getattr))
    arguments = (node.arg for node in tree.find_all(nodes.Getitem))
    keys = (node.value for node in arguments if isinstance(node, nodes.Const))
    return key in {*attributes, *keys}


def _line(traceback: TracebackType | None) -> int | None:
    """The template's line in which an error arose; None where it arose outside."""
    line: int | None = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _IN_TEMPLATE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
