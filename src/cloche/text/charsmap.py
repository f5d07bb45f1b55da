"""SentencePiece's normalization rules as a normalizer of the `tokenizers` engine.

SentencePiece replaces, from left to right, the longest stretch that is in its table of rules. The
engine's own normalizer for these tables looks at one character at a time, or at a short cluster of
which it may lose a part. Here clusters are first taken apart with a mark, so that each character
is replaced by itself; letters and their accents are joined afterwards by Unicode composition, with
marks that prevent it wherever no rule joins the two. The outcome is compared with the whole table,
and a table that it does not reproduce is refused. (The marks are U+FDD0 and U+FDD1, which stand for
no character; a text that holds them all the same loses them.)

Source of the format: https://github.com/google/sentencepiece/blob/master/src/normalizer.cc, over
a double array trie: https://github.com/s-yata/darts-clone
"""

import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, normalizers
from tokenizers.normalizers import Normalizer

from cloche.errors import TokenizerError

_MARK, _LASTING_MARK = "\ufdd0", "\ufdd1"  # no characters, so no text and no table holds them
_LAST_COMPOSED = 0x2FFFF  # no accent and nothing that can be composed lies beyond
_MOST_REPLACEMENTS = 64  # rules carried over one by one: each is a pass over the text

# Between a character and what joins it into one cluster. Not at the start of a text, where the
# engine loses count of places.
_JOINING = r"(?<=\r)(?=\n)|(?<!\A)(?=[\p{M}\x{200C}\x{200D}\x{FF9E}\x{FF9F}])"


def charsmap_normalizer(table: bytes, *, name: str) -> Normalizer | None:
    """The engine's normalizer for a compiled table of rules; None where it is empty.

    Raises TokenizerError where the table, which has this name, cannot be reproduced or read.
    """
    if not table:
        return None
    try:
        rules = read_charsmap(table)
        alone = normalizers.Precompiled(table)
    except Exception as exc:  # struct, numpy and the engine: damage of any kind
        raise TokenizerError(f"its normalization rules {name!r} are damaged: {exc!r}") from exc
    apart = [_replace(_JOINING, _MARK), alone, normalizers.Replace(_MARK, "")]
    joining = {key: value for key, value in rules.items() if len(key) > 1}
    if len(set(joining.values())) <= _MOST_REPLACEMENTS:
        _refuse_meeting(joining, name=name)
        whole = normalizers.Sequence([*_replacements(joining), *apart])
        return _checked(whole, rules, name=name)
    parted = _replace(_places_apart(rules), _LASTING_MARK)
    joined = [parted, *apart, normalizers.NFC(), normalizers.Replace(_LASTING_MARK, "")]
    missing = _differences(normalizers.Sequence(joined), {**rules, **_composed(rules)})
    one_by_one = list(_replacements(missing))
    if len(one_by_one) > _MOST_REPLACEMENTS:
        raise _refusal(missing, name=name)
    if not missing:
        return normalizers.Sequence(joined)
    reached = re.compile("|".join(map(re.escape, missing)))
    affected = {key: value for key, value in rules.items() if reached.search(key)}
    whole = normalizers.Sequence([*one_by_one, *joined])
    return _checked(whole, missing | affected, name=name)


def _checked(normalizer: Normalizer, rules: Mapping[str, str], *, name: str) -> Normalizer:
    """The normalizer, if it follows these rules. Raises TokenizerError."""
    if left := _differences(normalizer, rules):
        raise _refusal(left, name=name)
    return normalizer


def _refusal(left: Mapping[str, str], *, name: str) -> TokenizerError:
    key, value = next(iter(left.items()))
    return TokenizerError(
        f"its normalization rules {name!r} cannot be carried over exactly: {len(left)} "
        f"replacements would differ, such as that of {key!r} by {value!r}"
    )


def _refuse_meeting(rules: Mapping[str, str], *, name: str) -> None:
    """Raise TokenizerError for rules that cannot be followed one after the other.

    So it is where two of them can meet in a text, or one finds what another has put there.
    """
    endings: dict[str, set[str]] = {}
    for key, value in rules.items():
        for place in range(1, len(key)):
            endings.setdefault(key[place:], set()).add(value)
    inside = {letter for key in rules for letter in key}
    meeting = {
        key: value
        for key, value in rules.items()
        if inside & set(value)
        or any(endings.get(key[:end], {value}) != {value} for end in range(1, len(key)))
    }
    if meeting:
        raise _refusal(meeting, name=name)


def read_charsmap(table: bytes) -> dict[str, str]:
    """All rules of a compiled table: what is replaced, and by what."""
    (size,) = struct.unpack_from("<I", table)
    units = np.frombuffer(table, dtype="<u4", count=size // 4, offset=4).astype(np.int64)
    texts = table[4 + size :]
    rules: dict[str, str] = {}
    found: dict[int, str] = {}
    for key, place in _entries(units):
        if place not in found:
            found[place] = texts[place : texts.index(b"\0", place)].decode("utf-8")
        rules[key.decode("utf-8")] = found[place]
    return rules


def _entries(units: NDArray[np.int64]) -> Iterator[tuple[bytes, int]]:
    """Keys of a double array and their values, walking all nodes of one depth at a time."""
    labels = np.arange(1, 256)
    nodes, keys = np.zeros(1, dtype=np.int64), [b""]
    while len(nodes):
        children = (nodes ^ _offset(units[nodes]))[:, None] ^ labels
        inside = children < len(units)
        label_of = units[np.where(inside, children, 0)] & (1 << 31 | 0xFF)
        parents, which = np.nonzero(inside & (label_of == labels))
        nodes = children[parents, which]
        letters = [bytes((label,)) for label in range(256)]
        keys = [
            keys[parent] + letters[label + 1]
            for parent, label in zip(parents.tolist(), which.tolist(), strict=True)
        ]
        ends = np.flatnonzero(units[nodes] >> 8 & 1)
        leaves = nodes[ends] ^ _offset(units[nodes[ends]])
        values = units[leaves] & ((1 << 31) - 1)
        yield from zip((keys[end] for end in ends.tolist()), values.tolist(), strict=True)


def _offset(units: NDArray[np.int64]) -> NDArray[np.int64]:
    return units >> 10 << ((units & 1 << 9) >> 6)


def _composed(rules: Mapping[str, str]) -> dict[str, str]:
    """Characters without a rule that Unicode composition would change: they shall stay."""
    characters = map(chr, range(_LAST_COMPOSED + 1))
    return {c: c for c in characters if c not in rules and unicodedata.normalize("NFC", c) != c}


def _differences(normalizer: Normalizer, rules: Mapping[str, str]) -> dict[str, str]:
    """The rules that a normalizer does not follow."""
    # All in one go, for speed, between two hexagrams, which nothing changes and nothing joins.
    border = "\u4dff\u4dfe"
    got = normalizer.normalize_str(border.join(rules)).split(border)
    if len(got) != len(rules):
        return dict(rules)
    pairs = zip(rules.items(), got, strict=True)
    return {key: value for (key, value), found in pairs if found != value}


def _replacements(rules: Mapping[str, str]) -> Iterator[Normalizer]:
    """Normalizers that follow these rules one by one; those of one outcome together."""
    keys_of: dict[str, list[str]] = {}
    for key in sorted(rules, key=len, reverse=True):  # the longest rule goes before its parts
        keys_of.setdefault(rules[key], []).append(key)
    for value, keys in keys_of.items():
        yield _replace("|".join("".join(map(_escaped, key)) for key in keys), value)


def _places_apart(rules: Mapping[str, str]) -> str:
    """A pattern for places before accents that no rule joins to what stands before them."""
    before: dict[str, set[str]] = {}  # what some rule has before an accent
    for key in rules:
        for first, second in pairwise(key):
            before.setdefault(second, set()).add(first)
    beginnings = {c: rules.get(c, c)[:1] for c in map(chr, range(_LAST_COMPOSED + 1))}
    accents = {
        c
        for c, begin in beginnings.items()
        if c in before or begin in before or unicodedata.category(begin or " ")[0] == "M"
    }
    alike: dict[frozenset[str], list[str]] = {}
    for accent in accents:
        alike.setdefault(frozenset(before.get(accent, ())), []).append(accent)
    places = [
        f"(?<!{_character_class(first)})(?={_character_class(seconds)})"
        if first
        else f"(?={_character_class(seconds)})"
        for first, seconds in sorted(alike.items(), key=lambda item: sorted(item[1]))
    ]
    # Most characters are ruled out at once.
    return rf"(?<!\A)(?={_character_class(accents)})(?:{'|'.join(places)})"


def _character_class(characters: Iterable[str]) -> str:
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in ranges) + "]"


def _escaped(character: str) -> str:
    return f"\\x{{{ord(character):X}}}"


def _replace(pattern: str, content: str) -> Normalizer:
    return normalizers.Replace(Regex(pattern), content)
