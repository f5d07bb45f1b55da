"""Machinery for options: frozen dataclasses to TOML and back, overrides, nearest names.

Each room owns its options; this file knows none of them. A tree of options is a dataclass whose
fields are dataclasses (sections) or plain values. `section.key` names a value; `-` and `_` are
the same in names.
"""

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from cloche.errors import SettingError, join_problems

Options = TypeVar("Options")


def to_values(options: Any) -> dict[str, Any]:
    """The tree as plain nested dictionaries, without what is None (TOML has no null)."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            found[field.name] = to_values(value)
        elif value is not None:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def to_toml(options: Any) -> str:
    """The tree as TOML text."""
    return tomli_w.dumps(to_values(options))


def read_toml(path: Path) -> dict[str, Any]:
    """Nested dictionaries of a TOML file. SettingError where it is absent or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SettingError(f"there is no file {path}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingError(f"{path} is not valid TOML: {exc}") from exc


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`{"model.layers": 4}` as `{"model": {"layers": 4}}`."""
    found: dict[str, Any] = {}
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return found


def with_values(options: Options, values: Mapping[str, Any], *, source: str) -> Options:
    """The options with `values` laid over them; every unknown key or wrong type is told at once.

    `source` says where the values come from ("recipe book.toml"), for the message.
    """
    problems: list[str] = []
    changed = _replace(options, values, prefix="", problems=problems)
    if problems:
        raise SettingError(f"{source}: {join_problems(problems)}")
    return changed


def check(*sections: Any) -> None:
    """Raise one SettingError with the problems of all sections, or return."""
    problems = [problem for section in sections for problem in section.problems()]
    if problems:
        raise SettingError(join_problems(problems))


def differences(old: Any, new: Any, *, ignore: Iterable[str] = ()) -> list[str]:
    """One line for each value in which two trees of one type differ: `train.seed: 0 -> 1`."""
    before, after = flatten(to_values(old)), flatten(to_values(new))
    names = sorted((before.keys() | after.keys()) - set(ignore))
    return [
        f"{name}: {before.get(name, 'not given')} -> {after.get(name, 'not given')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"layers": 4}}` as `{"model.layers": 4}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found.update(flatten(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence's end that names the nearest known name, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(choices)}"


def _replace(options: Any, values: Mapping[str, Any], *, prefix: str, problems: list[str]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(options)}
    hints = get_type_hints(type(options))
    changes: dict[str, Any] = {}
    for given, value in values.items():
        name = given.replace("-", "_")
        if name not in fields:
            problems.append(f"unknown key {prefix}{given}: {nearest(name, fields)}")
            continue
        current = getattr(options, name)
        if dataclasses.is_dataclass(current):
            if isinstance(value, Mapping):
                changes[name] = _replace(
                    current, value, prefix=f"{prefix}{given}.", problems=problems
                )
            else:
                problems.append(f"{prefix}{given} is a section, it cannot be {value!r}")
            continue
        try:
            changes[name] = _typed(value, hints[name])
        except ValueError as exc:
            problems.append(f"{prefix}{given}: {exc}")
    return dataclasses.replace(options, **changes)


def _typed(value: Any, hint: Any) -> Any:
    """`value` as the field's type; ValueError says what is expected."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            names = [str(choice) for choice in arguments]
            raise ValueError(f"{value!r} is none of {', '.join(names)}")
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(value, _without_none(arguments))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected a list, got {value!r}")
        return tuple(_typed(item, arguments[0]) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"expected {hint.__name__}, got {value!r}")
    return value


def _without_none(arguments: tuple[Any, ...]) -> Any:
    kept = [argument for argument in arguments if argument is not type(None)]
    if len(kept) != 1:
        raise TypeError(f"an option may be one type or None, got {arguments}")
    return kept[0]
