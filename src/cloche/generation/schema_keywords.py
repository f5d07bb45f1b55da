"""Finds the keywords of a JSON schema that no schema has, which are mostly misspelt ones."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

_SINGLE = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
)
_LISTED = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_OTHER = (
    *("$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema"),
    *("$vocabulary", "additionalItems", "const", "contentEncoding", "contentMediaType"),
    *("contentSchema", "default", "dependencies", "dependentRequired", "deprecated"),
    *("description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format"),
    *("maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains"),
    *("minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "readOnly"),
    *("required", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
    *("writeOnly", "x-guidance"),
)
KEYWORDS = frozenset((*_SINGLE, *_LISTED, *_NAMED, *_OTHER))
"""Source: https://json-schema.org/draft/2020-12 (core and validation), those of older drafts with
them, and llguidance's own."""


def unknown_keywords(schema: Any, *, place: str = "") -> Iterator[str]:
    """What is wrong with each unknown keyword, with its place and the nearest known one."""
    if not isinstance(schema, Mapping):
        return
    for name, value in schema.items():
        here = f"{place}/{name}"
        if name not in KEYWORDS:
            near = difflib.get_close_matches(name, KEYWORDS, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            yield f"{here} is no keyword of JSON Schema{hint}"
        if name in _SINGLE:
            yield from unknown_keywords(value, place=here)
        if name in _LISTED and isinstance(value, list):
            for number, part in enumerate(value):
                yield from unknown_keywords(part, place=f"{here}/{number}")
        if name in _NAMED and isinstance(value, Mapping):
            for named, part in value.items():
                yield from unknown_keywords(part, place=f"{here}/{named}")
