"""The options that make prompts, and the files behind them: templates, examples, system texts."""

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.cli.sampling import require_unicode, tell
from cloche.errors import RequestError, SettingError, TextError

if TYPE_CHECKING:
    from cloche.run import LM
    from cloche.text.prompts import PromptLayout
    from cloche.text.sources import SourceFile
    from cloche.text.templates import Template

STANDARD_INPUT = "-"
MOST_CHARACTERS = 64_000_000  # of a file that is read whole; more is surely a mistake


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What the model reads before it writes."""

    chat: bool = False
    """Ask by the model's chat template, as in its tuning: the prompt is a question, and --system
    a message of its own."""
    prompt_file: str | None = None
    """File that holds the prompt, every character of it; - is standard input."""
    template: str | None = None
    """Prompt with variables, {{ name }}: a file, or the text itself where it holds {{ or {%.
    PROMPT is its variable `prompt`; others come from --set and the fields of --input."""
    set_: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="set", metavar="NAME=VALUE"),
    ] = ()
    """Value of a variable of the template; can be given several times."""
    system: str | None = None
    """Text put before the prompt, with a blank line between; @FILE reads it from a file."""
    few_shot: str | None = None
    """Examples put before the prompt: a .jsonl, .json or .csv file with the fields of the template
    and `output`; without a template, with `input` and `output`."""
    shot_template: str | None = None
    """How an example looks, as --template; the template and then `output` when not given."""
    shots: int | None = None
    """Use this many examples, the first ones; all when not given."""
    encoding: str | None = None
    """Encoding of these files and of --input; detected when not given."""
    window: bool = False
    """Of a prompt longer than the context, read the last part only; refused when not given."""

    def prompt_problems(self, prompt: str | None) -> list[str]:
        """What cannot be done with these options and PROMPT, one sentence each."""
        found = []
        if prompt is not None and self.prompt_file is not None:
            found.append(
                f"both PROMPT and --prompt-file {self.prompt_file} were given: leave one of them "
                "out"
            )
        if self.few_shot is None:
            for option, value in (("--shot-template", self.shot_template), ("--shots", self.shots)):
                if value is not None:
                    found.append(f"{option} belongs to --few-shot: add that, or leave it out")
        if self.shots is not None and self.shots < 1:
            found.append(f"--shots must be at least 1, got {self.shots}; without, leave out both")
        if self.set_ and self.template is None and self.shot_template is None:
            found.append("--set fills the variables of --template: add that, or leave it out")
        if self.encoding is not None and not any(self._files(prompt)):
            found.append("--encoding belongs to files, and none is read: leave it out")
        return found

    def layout_names(self) -> list[str]:
        """The options given that lay a prompt out, which a model that translates does not take."""
        given = {
            "--chat": self.chat or None,
            "--template": self.template,
            "--set": self.set_ or None,
            "--system": self.system,
            "--few-shot": self.few_shot,
            "--shot-template": self.shot_template,
            "--shots": self.shots,
            "--window": self.window or None,
        }
        return [name for name, value in given.items() if value is not None]

    def layout(self) -> "PromptLayout":
        """The layout that these options describe; its files are read now. Raises ClocheError."""
        from cloche.text.prompts import make_layout, parse_constants, read_examples

        constants = parse_constants(self.set_)
        for name, value in constants.items():
            require_unicode(value, what=f"the value of {name}")
        template = self._template(self.template, option="--template")
        shot_template = self._template(self.shot_template, option="--shot-template")
        examples = []
        if self.few_shot is not None:
            examples = read_examples(self._text_of(self.few_shot), name=self.few_shot)
            if self.shots is not None and self.shots > len(examples):
                raise SettingError(
                    f"--shots {self.shots} is more than the {len(examples)} examples of "
                    f"{self.few_shot}"
                )
        return make_layout(
            template,
            system="" if self.chat else self.system_text(),
            examples=examples[: self.shots],
            shot_template=shot_template,
            constants=constants,
        )

    def read_prompt(self, given: str | None) -> str | None:
        """The prompt as it stands, from the command line or its file; None where there is none."""
        source = given if self.prompt_file is None else self.prompt_file
        if source == STANDARD_INPUT:
            return read_standard_input(encoding=self.encoding)
        if self.prompt_file is not None:
            return self._text_of(self.prompt_file)
        if given is not None:
            require_unicode(given, what="the prompt")
        return given

    def system_text(self) -> str:
        """The text of --system; empty where there is none."""
        if self.system is None:
            return ""
        text = self.system
        if text.startswith("@"):
            text = self._text_of(text[1:]).removesuffix("\n").removesuffix("\r")
        require_unicode(text, what="the text of --system")
        if not text:
            raise SettingError(f"--system {self.system!r} holds no text: leave it out")
        return text

    def _template(self, given: str | None, *, option: str) -> "Template | None":
        from cloche.text.templates import Template

        if given is None:
            return None
        if holds_variables(given):
            require_unicode(given, what=f"the text of {option}")
            return Template(given, name=option)
        try:
            text = self._text_of(given)
        except TextError as exc:
            raise TextError(f"{exc} (text given as {option} holds a {{{{ variable }}}})") from exc
        return Template(text, name=given)

    def _text_of(self, name: str) -> str:
        return read_text_file(name, encoding=self.encoding)

    def _files(self, prompt: str | None) -> Iterator[bool]:
        """Whether bytes are read, for each option that may name a file."""
        yield prompt == STANDARD_INPUT
        yield self.prompt_file is not None
        yield self.few_shot is not None
        yield self.system is not None and self.system.startswith("@")
        for template in (self.template, self.shot_template):
            yield template is not None and not holds_variables(template)


def holds_variables(given: str) -> bool:
    """Whether what was given as a template is the template itself, and no file's name."""
    return "{{" in given or "{%" in given


def plain_source(name: str) -> "SourceFile":
    """The one file of this name, which holds plain text. Raises TextError."""
    from cloche.text.sources import find_sources, refuse_binary

    if name == STANDARD_INPUT:
        raise TextError(f"standard input is no file here: only a prompt and --input can be {name}")
    sources = find_sources([name])
    if len(sources) != 1 or Path(name).is_dir():
        raise TextError(f"{name} is no single file, and one is needed: name it")
    source = sources[0]
    if not source.has_encoding:
        raise TextError(f"{name} is no plain text: convert it first")
    refuse_binary(source)
    return source


def read_text_file(name: str, *, encoding: str | None) -> str:
    """The whole text of a file, its encoding detected where None. Raises TextError."""
    from cloche.text.detection import detect_encoding
    from cloche.text.encodings import decode_blocks

    source = plain_source(name)
    chosen = encoding or detect_encoding(source.open_bytes, name=name)
    pieces, characters = [], 0
    with source.open_bytes() as stream:
        for piece in decode_blocks(stream, chosen, name=name):
            characters += len(piece)
            if characters > MOST_CHARACTERS:
                raise TextError(
                    f"{name} holds more than {MOST_CHARACTERS:,} characters: shorten it"
                )
            pieces.append(piece)
    return "".join(pieces)


def read_standard_input(*, encoding: str | None) -> str:
    """What standard input holds, every line of it; UTF-8 where no encoding is given."""
    from cloche.text.encodings import decode_blocks

    data = sys.stdin.buffer.read()
    if encoding is not None:
        return "".join(decode_blocks(io.BytesIO(data), encoding, name="standard input"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise TextError(
            f"the prompt on standard input is not UTF-8: byte {exc.start} is "
            f"0x{exc.object[exc.start]:02x}; convert it first, as iconv does, or name its encoding "
            "with --encoding"
        ) from exc


def fitting_prompt(
    lm: "LM", text: str, *, max_tokens: int, window: bool
) -> tuple[tuple[int, ...], int]:
    """The ids of a prompt, and how many of its tokens had to be left out.

    One longer than the context is a RequestError with both sizes; with `window`, its last tokens
    are taken: as many as leave the context room for the answer, but no fewer than stay when a full
    context slides. A beginning-of-text token that begins every prompt stays where it is.
    """
    from cloche.generation.engine import kept_when_sliding

    ids, context = lm.prompt_ids(text), lm.config.context
    if len(ids) <= context:
        return ids, 0
    if not window:
        raise RequestError(
            f"the prompt has {len(ids)} tokens, but the context holds {context}: shorten it, or "
            "have only its last part read with --window"
        )
    kept = max(kept_when_sliding(context), context - max_tokens)
    begun = ids[:1] if lm.begins_with_bos and ids[0] == lm.bos and kept > 1 else ()
    return begun + ids[len(ids) - kept + len(begun) :], len(ids) - kept


def speak_by_template(lm: "LM", command: PromptOptions) -> "LM":
    """The model, asked by its chat template with --chat.

    RequestError where it has none. Without --chat, it is told where there would be one and a
    system text stands in plain text.
    """
    if command.chat:
        return lm.asking(system=command.system_text())
    if command.system is not None and lm.template is not None:
        tell(
            "the model has a chat template, which is not used: the text of --system stands before "
            "the prompt as plain text; --chat uses it"
        )
    return lm
