"""Stop texts are found in tokens where a reading of the whole text finds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.generation.stop_texts import StopTexts

STOPS = st.lists(st.text("ab\u00e9", min_size=1, max_size=4), min_size=1, max_size=3)


def test_the_text_ends_before_the_first_stop_text(tokenizer):
    stops = StopTexts(tokenizer, tuple(b"once"), stops=("zz", " up"))
    assert stops.text_of(tuple(b" more, up and up")) == " more,"
    assert stops.text_of(tuple(b" again")) == " again"


def test_what_the_prompt_says_is_no_stop_text_of_the_answer(tokenizer):
    stops = StopTexts(tokenizer, tuple(b"ends here"), stops=("here", "rex"))
    assert not stops.is_complete(tuple(b"x"))
    assert stops.is_complete(tuple(b"x here"))


def test_before_the_least_number_of_tokens_a_stop_text_is_plain_text(tokenizer):
    stops = StopTexts(tokenizer, tuple(b"a"), stops=("b",), min_tokens=3)
    assert not stops.is_complete(tuple(b"b"))
    assert not stops.is_complete(tuple(b"bb"))
    assert stops.is_complete(tuple(b"bbb"))
    assert not stops.is_complete(tuple(b"bbc"))
    assert stops.text_of(tuple(b"bbcdb")) == "bbcd"


@pytest.mark.parametrize("least", [0, 1, 4, 7])
def test_searched_and_drawn_texts_end_alike(tokenizer, writer_of, least):
    """A model that can write but one text, drawn by the engine and read token by token."""
    text = b"xabcdefgh"
    request = GenerationRequest((text[0],), temperature=0.0, stop=("cd", "b"), min_tokens=least)
    [[drawn]] = Engine(writer_of(text), tokenizer, context=32).generate([request])
    stops = StopTexts(tokenizer, request.prompt, stops=request.stop, min_tokens=least)
    made = tuple(text[1:])
    ends = [end for end in range(1, len(made) + 1) if stops.is_complete(made[:end])]
    ids = made[: ends[0]] if ends else made
    assert (stops.text_of(ids), len(ids)) == (drawn.text, len(drawn.token_ids) - (not ends))


def test_half_a_character_is_no_text_yet(tokenizer):
    stops = StopTexts(tokenizer, tuple(b"a"), stops=("\u00e9",))
    assert not stops.is_complete(tuple("\u00e9".encode()[:1]))
    assert stops.is_complete(tuple("\u00e9".encode()))
    assert stops.text_of(tuple("b\u00e9".encode()[:2])) == "b\ufffd"


@given(text=st.text("ab\u00e9", max_size=30), stops=STOPS, prompt=st.text("ab\u00e9", min_size=1))
def test_the_first_token_that_completes_a_stop_text_is_found_by_the_end_alone(
    tokenizer, text, stops, prompt
):
    found = StopTexts(tokenizer, tuple(prompt.encode()), stops=stops)
    ids = tuple(text.encode())
    by_end = [end for end in range(1, len(ids) + 1) if found.is_complete(ids[:end])]
    whole = [
        end
        for end in range(1, len(ids) + 1)
        if any(stop in bytes(ids[:end]).decode(errors="ignore") for stop in stops)
    ]
    assert by_end[:1] == whole[:1]
    if whole:
        assert not any(stop in found.text_of(ids) for stop in stops)
