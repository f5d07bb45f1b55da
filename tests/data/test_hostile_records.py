"""Whatever stands in the fields of a record, the outcome is a conversation or a user's error."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data.conversations import to_conversations
from cloche.data.preferences import to_preferences, to_prompts
from cloche.data.records import Record
from cloche.errors import TextError
from cloche.text.messages import ASSISTANT, USER

TEXTS = st.sampled_from(["", " ", "Yes.", "\0", "\ud800", "good"])
SMALL = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | TEXTS
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool", 3]),
            "content": SMALL | st.lists(st.fixed_dictionaries({"type": TEXTS, "text": SMALL})),
            "from": st.sampled_from(["human", "gpt", None]),
            "value": SMALL,
        },
    )
    | SMALL,
    max_size=4,
)
VALUES = SMALL | MESSAGES | st.lists(st.lists(SMALL, max_size=3), max_size=2) | st.just({"a": 1})
KEYS = (
    *("instruction", "input", "output", "system", "history", "messages", "conversations", "prompt"),
    *("completion", "chosen", "rejected", "answers", "ranks", "scores", "label", "vote", "answer"),
    *("tools", "id"),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), min_size=1, max_size=3)


def records_of(rows):
    return [Record(f"r{number}", row, number) for number, row in enumerate(rows)]


@given(ROWS)
@settings(max_examples=120, deadline=None)
def test_conversations_end_with_an_answer_or_are_refused(rows):
    with contextlib.suppress(TextError):
        for record in to_conversations(records_of(rows)):
            roles = [message.role for message in record.conversation]
            assert roles[-1] == ASSISTANT
            assert USER in roles
            assert all(message.content for message in record.conversation if message.role == USER)


@given(ROWS)
@settings(max_examples=120, deadline=None)
def test_preferences_and_prompts_are_whole_or_are_refused(rows):
    with contextlib.suppress(TextError):
        found = to_preferences(records_of(rows))
        for pair in found.pairs:
            assert pair.prompt[-1].role != ASSISTANT
            assert pair.chosen[0].role == pair.rejected[-1].role == ASSISTANT
            assert pair.chosen != pair.rejected
        assert all(vote.answer and vote.prompt for vote in found.votes)
    with contextlib.suppress(TextError):
        assert all(record.conversation for record in to_prompts(records_of(rows)))
