"""Which form the records of a file have, told by their fields. One file has one form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloche.data.records import Problems, Record
from cloche.errors import TextError


@dataclass(frozen=True)
class RecordForm:
    """One way to write something down in fields."""

    name: str
    about: str
    """What it is, for people."""
    keys: tuple[tuple[str, ...], ...]
    """Fields that must be there: of each entry, one."""
    excluded: tuple[str, ...] = ()
    """Fields with which it would be another form."""

    def fits(self, fields: Mapping[str, Any]) -> bool:
        """Whether the fields are there, none of them null."""
        return self.present(fields) == len(self.keys) and not self._is_other(fields)

    def present(self, fields: Mapping[str, Any]) -> int:
        """How many of the needed fields are there and not null."""
        return sum(any(fields.get(key) is not None for key in keys) for keys in self.keys)

    def begun(self, fields: Mapping[str, Any]) -> int:
        """How many of the needed fields are named, whatever they hold."""
        if self._is_other(fields):
            return 0
        return sum(any(key in fields for key in keys) for keys in self.keys)

    def _is_other(self, fields: Mapping[str, Any]) -> bool:
        return any(fields.get(key) is not None for key in self.excluded)


def detect_form(records: Sequence[Record], forms: Sequence[RecordForm], *, what: str) -> RecordForm:
    """The form that the records have, by the first of `forms` where all of several fit.

    A record that fits no form does not count: reading it tells what it lacks. Raises TextError
    where records have different forms, naming two of them, and where none of them is like any.
    """
    possible, first = list(forms), None
    for record in records:
        fitting = [form for form in forms if form.fits(record.fields)]
        if not fitting:
            continue
        both = [form for form in possible if form in fitting]
        if not both:
            assert first is not None, "all forms are possible at first"
            raise TextError(
                f"the records have more than one form: {first.place} has {possible[0].about}, and "
                f"{record.place} has {fitting[0].about}. Put them into files of their own, or "
                "write them in one form"
            )
        possible, first = both, first or record
    if first is not None:
        return possible[0]
    begun = max(forms, key=lambda form: max(form.begun(record.fields) for record in records))
    if not any(begun.begun(record.fields) for record in records):
        raise _unknown(records[0], forms, what=what)
    return begun


def named_form(name: str, forms: Sequence[RecordForm]) -> RecordForm:
    """The form of that name; TextError where there is none."""
    for form in forms:
        if form.name == name:
            return form
    raise TextError(f"records have the forms {', '.join(form.name for form in forms)}, not {name}")


def read_each(records: Sequence[Record], read: Callable[[Record], list[str]], *, what: str) -> None:
    """Call `read` for every record, which gives what is wrong with it, and refuse all at once.

    Raises TextError with the first problems, an `id` that came before among them; `what` says what
    the records were wanted for, as in "learned from".
    """
    problems = Problems()
    ids: dict[str, str] = {}
    for record in records:
        problems.add(record.place, [*_repeated_id(record, ids), *read(record)])
    problems.refuse(of=len(records), what=what)


def _repeated_id(record: Record, ids: dict[str, str]) -> list[str]:
    """The problem where an earlier record has the same id; `ids` remembers who had which."""
    name = record.fields.get("id")
    if name is None:
        return []
    before = ids.setdefault(repr(name), record.place)
    return [] if before == record.place else [f"'id' is {name!r:.60}, as that of {before}"]


def _unknown(record: Record, forms: Sequence[RecordForm], *, what: str) -> TextError:
    keys = ", ".join(map(repr, list(record.fields)[:8])) or "nothing"
    known = "; ".join(form.about for form in forms)
    hint = ""
    if "chosen" in record.fields and "rejected" in record.fields:
        hint = ". With chosen and rejected they are preferences, which cloche align learns from"
    return TextError(f"{record.place} is no {what}: it has {keys}. Known are: {known}{hint}")
