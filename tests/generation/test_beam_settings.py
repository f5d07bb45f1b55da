"""Settings of beam search are checked when they are made, all at once."""

import math

import pytest

from cloche.errors import SettingError
from cloche.generation.beams import BeamSettings


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"beams": 0}, "beams must be at least 1, got 0"),
        ({"beams": True}, "beams must be a whole number, 1 or more, got True"),
        ({"n": 5}, "n 5 is more than 4 beams can find"),
        ({"groups": 3}, "4 beams cannot be divided evenly into 3 groups"),
        ({"diversity_penalty": 0.5}, "needs groups to tell apart"),
        ({"groups": 2, "diversity_penalty": -0.5}, "diversity_penalty must be in"),
        ({"length_penalty": math.nan}, r"length_penalty must be in \[-10, 10\], got nan"),
        ({"length_penalty": math.inf}, r"length_penalty must be in \[-10, 10\], got inf"),
        ({"min_tokens": 201}, "min_tokens 201 is more than max_tokens 200"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty must be in \[0.01, 100\], got 0"),
        ({"no_repeat_ngram": 0}, "no_repeat_ngram must be at least 1"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(asked, said):
    with pytest.raises(SettingError, match=said):
        BeamSettings(**asked)


def test_all_problems_are_told_at_once():
    with pytest.raises(SettingError) as told:
        BeamSettings(beams=0, length_penalty=math.nan, max_tokens=0, repetition_penalty=-1.0)
    assert "4 settings cannot be used" in str(told.value)
