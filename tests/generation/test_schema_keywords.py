"""A misspelt keyword of a schema is found, wherever it stands; a property's name is none."""

import pytest

from cloche.errors import RequestError
from cloche.generation.constraints import ConstraintCompiler
from cloche.generation.schema_keywords import unknown_keywords


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"maxLenght": 5}, "/maxLenght is no keyword of JSON Schema: did you mean maxLength?"),
        ({"propertes": {}}, "/propertes is no keyword of JSON Schema: did you mean properties?"),
        ({"frobnicate": 3}, "/frobnicate is no keyword of JSON Schema"),
        ({"properties": {"a": {"Type": "string"}}}, "/properties/a/Type is"),
        ({"items": {"anyOf": [True, {"nullable": True}]}}, "/items/anyOf/1/nullable is"),
        ({"$defs": {"x": {"oneOf": [{"enums": []}]}}}, "/$defs/x/oneOf/0/enums is"),
    ],
)
def test_unknown_keywords_are_told_with_their_place(tokenizer, schema, said):
    [told] = unknown_keywords(schema)
    assert told.startswith(said)
    with pytest.raises(RequestError, match="is no keyword of JSON Schema"):
        ConstraintCompiler(tokenizer).json_schema(schema)


def test_names_of_properties_and_values_are_no_keywords():
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": [{"any": 1}]}, "frobnicate": {"const": {"x": 1}}},
        "additionalProperties": False,
        "default": {"what": "ever"},
    }
    assert list(unknown_keywords(schema)) == []
