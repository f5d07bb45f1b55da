"""Conversations as a model reads them: one chat template for tuning, chat, evaluation and export.

The template is Jinja, as in a model's `chat_template.jinja`, in a sandbox. What the model learns
and what it is asked with come from the same text: an answer is everything behind the generation
prompt, its stop token included. Special tokens that somebody types in a message stay plain text.

Source of the format: https://huggingface.co/docs/transformers/chat_templating
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from cloche.errors import SettingError, TextError, TokenizerError
from cloche.text.chat_answers import Layout, lay_out
from cloche.text.chat_presets import PRESETS
from cloche.text.chat_rendering import ROLE_VARIABLES, Renderer, Writer
from cloche.text.chat_stand_ins import StandIns, disguise, unused_characters
from cloche.text.chat_tokens import EncodedChat, encode_layout
from cloche.text.encodings import find_lone_surrogate
from cloche.text.messages import ASSISTANT, ROLES, USER, Message
from cloche.text.tokenizer import Tokenizer

_TRIAL = (Message(USER, "Hello"), Message(ASSISTANT, "Good day"), Message(USER, "Farewell"))
_MARK = re.compile(r"<(\|?)[^\s<>|]+\1>")  # <|im_end|>, <end_of_turn>


class ChatTemplate:
    """How a conversation is written. SettingError, with the line, where its syntax is wrong."""

    def __init__(
        self, source: str, *, name: str, now: Callable[[], datetime] = datetime.now
    ) -> None:
        """`name` is the template as messages call it; `now` tells templates what day it is."""
        self.source = source
        self.name = name
        self._now = now
        self._renderer = Renderer(source, name=name, strftime_now=self._strftime_now)

    def __reduce__(self) -> tuple[Callable[..., "ChatTemplate"], tuple[str]]:
        return partial(ChatTemplate, name=self.name, now=self._now), (self.source,)

    def __repr__(self) -> str:
        return f"ChatTemplate({self.name!r})"

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tokenizer: Tokenizer | None = None,
    ) -> str:
        """The text of a conversation; `add_generation_prompt` lets it end where an answer begins.

        A template that writes `bos_token` or `eos_token` needs the `tokenizer`. Raises TextError
        where a message is none, or the template refuses or fails.
        """
        _check(messages)
        named = self._renderer.roles_named
        if tokenizer is None and named:
            raise SettingError(f"{self.name} writes {', '.join(named)}: give it the tokenizer, too")
        return self._renderer.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tokens=_tokens(tokenizer),
        ).text

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer) -> EncodedChat:
        """A conversation as tokens, each with the number of the answer that it belongs to.

        An answer that the template ends in no special token gets the tokenizer's end-of-text token
        as its stop. Raises TextError naming a message that cannot be learned from, and
        TokenizerError where nothing could end an answer, or the tokenizer lacks a character.
        """
        _check(messages)
        if problem := _no_lesson(messages):
            raise TextError(problem)
        layout, stand_ins = self._lay_out(messages, tokenizer, prompt=False)
        if layout.problems:
            first, *others = layout.problems
            more = f" (so it is with {len(others)} more)" if others else ""
            raise TextError(f"{self.name}: {first}{more}")
        stop_id = self._stop_for(layout, tokenizer)
        return encode_layout(layout, tokenizer, stand_ins, stop_id=stop_id)

    def prompt_ids(self, messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[int, ...]:
        """The tokens after which the model is to answer the last message.

        Answers before it are written as `encode` writes them. Raises TextError, TokenizerError.
        """
        _check(messages)
        if messages[-1].role == ASSISTANT:
            raise TextError(
                f"message {len(messages)}, the last one, is an answer already: a prompt ends with "
                "what is to be answered"
            )
        layout, stand_ins = self._lay_out(messages, tokenizer, prompt=True)
        stop_id = self._stop_for(layout, tokenizer)
        return encode_layout(layout, tokenizer, stand_ins, stop_id=stop_id).ids

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Tokens that end an answer: what the template writes behind one, and end of text.

        Raises TokenizerError where there is none, TextError where the template fails.
        """
        layout, _ = self._lay_out(_TRIAL[:2], tokenizer, prompt=False)
        if layout.problems:
            raise TextError(f"{self.name}: {layout.problems[0]}")
        eos = self._stop_for(layout, tokenizer)
        written = layout.answers[0].stop
        stops = (eos if written is None else tokenizer.special_tokens[written], eos)
        return tuple(dict.fromkeys(stop for stop in stops if stop is not None))

    def special_tokens(self) -> tuple[str, ...]:
        """Names of the special tokens that the tokenizer must have for this template.

        These are all marks of the kind that ends an answer, such as <|im_start|> and <|im_end|>.
        None where answers end in the tokenizer's own end-of-text token: there, other marks may well
        be meant as text.
        """
        try:
            text = Writer(self._renderer, {}, "").ask(_TRIAL).text
        except TextError:
            return ()
        ending = _MARK.match(text.partition(_TRIAL[1].content)[2].lstrip())
        if ending is None:
            return ()
        marks = [match[0] for match in _MARK.finditer(text) if match[1] == ending[1]]
        return tuple(dict.fromkeys(marks))

    def _lay_out(
        self, messages: Sequence[Message], tokenizer: Tokenizer, *, prompt: bool
    ) -> tuple[Layout, StandIns]:
        """The text with stand-ins, the answers in it, and what they stand for."""
        names = tokenizer.special_tokens
        unused = unused_characters(messages, self.source)
        mark, marks = next(unused), next(unused) + next(unused)
        harmless, stand_ins = disguise(messages, names, unused)
        writer = Writer(self._renderer, _tokens(tokenizer), marks)
        layout = lay_out(harmless, writer, names=names, mark=mark, prompt=prompt)
        if stand_ins.originals:
            plain = self.render(messages, add_generation_prompt=prompt, tokenizer=tokenizer)
            if stand_ins.restore(layout.text) != plain:
                raise TextError(
                    f"{self.name} treats messages otherwise that hold special tokens, or parts "
                    "of them, as text; leave those out of the messages"
                )
        return layout, stand_ins

    def _stop_for(self, layout: Layout, tokenizer: Tokenizer) -> int | None:
        """What ends the answers that the template does not end; None where there are none."""
        eos = tokenizer.special_ids.eos
        if eos is None and any(answer.stop is None for answer in layout.answers):
            raise TokenizerError(
                f"nothing could end an answer: {self.name} writes no special token behind it, and "
                "the tokenizer has no end-of-text token; name one in its tokenizer_config.json "
                "(eos_token), or take a template whose marks the tokenizer has"
            )
        return eos

    def _strftime_now(self, form: str) -> str:
        return self._now().strftime(form)


def preset(name: str) -> ChatTemplate:
    """The template of that name: chatml, brief or alpaca. Raises SettingError."""
    if name not in PRESETS:
        raise SettingError(f"there is no chat template {name!r}; there are {', '.join(PRESETS)}")
    return ChatTemplate(PRESETS[name], name=f"the {name} template")


def _tokens(tokenizer: Tokenizer | None) -> dict[str, str]:
    """`bos_token` and the like, as far as the tokenizer has them."""
    if tokenizer is None:
        return {}
    names = {number: name for name, number in tokenizer.special_tokens.items()}
    special = tokenizer.special_ids
    ids = (special.bos, special.eos, special.pad, special.unk)
    found = zip(ROLE_VARIABLES, ids, strict=True)
    return {role: names[number] for role, number in found if number in names}


def _check(messages: Sequence[Message]) -> None:
    """Raise TextError, with all that is wrong, where this is no conversation."""
    problems = [] if messages else ["a conversation without messages"]
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            problems.append(
                f"message {number} has the role {message.role!r}; there are {', '.join(ROLES)}"
            )
        if message.input and message.role != USER:
            problems.append(
                f"message {number} ({message.role}) has an input, which only a user's can have"
            )
        for text in (message.content, message.input):
            if half := find_lone_surrogate(text):
                problems.append(
                    f"message {number} ({message.role}) holds the lone surrogate "
                    f"U+{ord(half[0]):04X}, which is half a character"
                )
    if problems:
        raise TextError("; ".join(problems))


def _no_lesson(messages: Sequence[Message]) -> str:
    """Why there is nothing to learn from a conversation; empty where there is."""
    answers = [n for n, message in enumerate(messages, 1) if message.role == ASSISTANT]
    if not answers:
        return "no message has the role assistant: there is nothing to learn"
    if answers[0] == 1:
        return "message 1 has the role assistant, but nothing stands before it to be answered"
    empty = [f"message {n} (assistant) is empty" for n in answers if not _holds(messages[n - 1])]
    return "; ".join(empty)


def _holds(message: Message) -> bool:
    return bool(message.content.strip())
