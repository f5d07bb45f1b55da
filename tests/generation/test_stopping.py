"""Stop texts are found across pieces exactly as a search in the whole text finds them."""

import hypothesis.strategies as st
from hypothesis import given

from cloche.generation.stopping import StopFilter

TEXTS = st.text(alphabet="abc", max_size=30)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=3)


def shown_by_plain_search(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text before the stop text that a reader, going character by character, meets first."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@given(text=TEXTS, stops=STOPS, data=st.data())
def test_pieces_give_what_a_search_in_the_whole_text_gives(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stop_filter = StopFilter(stops)
    shown = "".join(stop_filter.push(piece) for piece in pieces) + stop_filter.close()
    assert (shown, stop_filter.found) == shown_by_plain_search(text, stops)


@given(text=TEXTS, stops=STOPS)
def test_shown_text_is_never_taken_back(text, stops):
    final, _ = shown_by_plain_search(text, stops)
    stop_filter = StopFilter(stops)
    shown = ""
    for character in text:
        shown += stop_filter.push(character)
        assert final.startswith(shown)


def test_what_cannot_become_a_stop_text_is_shown_at_once():
    stop_filter = StopFilter(["\n\nUser:"])
    assert stop_filter.push("Good day.") == "Good day."
    assert stop_filter.push("\n") == ""
    assert stop_filter.push("So") == "\nSo"


def test_nothing_follows_a_stop_text():
    stop_filter = StopFilter(["END"])
    assert stop_filter.push("one EN") == "one "
    assert stop_filter.push("D two") == ""
    assert stop_filter.push("three") == ""
    assert stop_filter.close() == ""
    assert stop_filter.found
