"""Conversations to tune on, from files of any usual form; which one is found out, not declared.

| form | a record has |
| --- | --- |
| messages | `messages`: a list of `role` and `content` |
| sharegpt | `conversations`: a list of `from` and `value` |
| alpaca | `instruction`, `output`; perhaps `input`, `system`, `history` |
| prompt | `prompt`, `completion`: texts, or lists of messages |

Every record must be a conversation that can be learned from: an order of roles that makes sense,
no empty text, an answer at its end. What is wrong is told for all records at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from cloche.data.conversation_fields import FieldReader, Turn
from cloche.data.conversation_forms import RecordForm, detect_form, named_form, read_each
from cloche.data.records import Record, read_records
from cloche.text.messages import ASSISTANT, SYSTEM, Conversation, Message
from cloche.text.plurals import counted

Form = Literal["messages", "sharegpt", "alpaca", "prompt"]

FORMS: tuple[RecordForm, ...] = (
    RecordForm("messages", "messages (role, content)", (("messages",),)),
    RecordForm("sharegpt", "conversations (from, value)", (("conversations",),)),
    RecordForm("alpaca", "instruction, input, output", (("instruction",), ("output",))),
    RecordForm("prompt", "prompt, completion", (("prompt",), ("completion",))),
)
"""Where a record fits several, the first one is taken."""


@dataclass(frozen=True)
class ConversationRecord:
    """One conversation, and the record that it was read from."""

    place: str
    """As messages call it: "data.json, record 7"."""
    conversation: Conversation
    number: int
    """Of the record among all of the files, from 0."""
    fields: Mapping[str, Any]
    """All of the record."""


@dataclass(frozen=True)
class Conversations(Sequence[ConversationRecord]):
    """Conversations in the order of their files."""

    records: tuple[ConversationRecord, ...]
    form: Form

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: Any) -> Any:
        return self.records[place]

    def __iter__(self) -> Iterator[ConversationRecord]:
        return iter(self.records)

    def take(self, places: Iterable[int]) -> "Conversations":
        """Those at these places, in their order."""
        return replace(self, records=tuple(self.records[place] for place in places))

    def describe(self) -> list[str]:
        """What they are, in lines for the screen."""
        about = named_form(self.form, FORMS).about
        answers = [count_answers(record.conversation) for record in self.records]
        turns = f"{counted(sum(answers), 'answer')}, at most {max(answers, default=0):,} in one"
        system = sum(bool(r.conversation) and _begins(r, SYSTEM) for r in self.records)
        told = f"; {system:,} begin with a system message" if system else ""
        return [f"{counted(len(self.records), 'conversation')} ({about}), {turns}{told}."]


def read_conversations(
    paths: str | Path | Sequence[str | Path],
    *,
    records: str = "",
    encoding: str = "auto",
    form: Form | None = None,
) -> Conversations:
    """The conversations of one or several files, of the records in the slice `records`.

    `form` is found out where it is None. Raises TextError where records have different forms, and
    for all records that cannot be learned from: fields that are missing, null, empty or no text,
    unknown roles or a wrong order of them, ids that come twice.
    """
    return to_conversations(read_records(paths, records=records, encoding=encoding), form=form)


def to_conversations(records: Sequence[Record], *, form: Form | None = None) -> Conversations:
    """The conversations of records that are already read; see `read_conversations`."""
    if form is None:
        found = detect_form(records, FORMS, what="conversation")
    else:
        found = named_form(form, FORMS)
    read: list[ConversationRecord] = []

    def add(record: Record) -> list[str]:
        reader = FieldReader(record.fields)
        turns = _TURNS[found.name](reader)
        conversation = reader.conversation(turns, answered=True)
        read.append(ConversationRecord(record.place, conversation, record.number, record.fields))
        return reader.problems

    read_each(records, add, what="learned from")
    name = next(name for name in get_args(Form) if name == found.name)
    return Conversations(tuple(read), name)


def count_answers(conversation: Conversation) -> int:
    """How many messages of it are the assistant's."""
    return sum(message.role == ASSISTANT for message in conversation)


def text_of(messages: Iterable[Message]) -> str:
    """What the messages say, roles left out, a line break between them."""
    return "\n".join(
        text for message in messages for text in (message.content, message.input) if text
    )


def _begins(record: ConversationRecord, role: str) -> bool:
    return record.conversation[0].role == role


def _messages(reader: FieldReader) -> list[Turn]:
    return reader.with_system(reader.messages("messages"))


def _sharegpt(reader: FieldReader) -> list[Turn]:
    return reader.with_system(reader.messages("conversations"))


def _alpaca(reader: FieldReader) -> list[Turn]:
    return [*reader.instruction(), *reader.answer("output")]


def _prompt(reader: FieldReader) -> list[Turn]:
    return [*reader.prompt("prompt"), *reader.answer("completion")]


_TURNS = {"messages": _messages, "sharegpt": _sharegpt, "alpaca": _alpaca, "prompt": _prompt}
