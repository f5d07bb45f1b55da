import json

import pyarrow
import pyarrow.parquet
import pytest

from cloche.data.conversations import read_conversations
from cloche.errors import TextError
from cloche.text.messages import ASSISTANT, SYSTEM, TOOL, USER, Message

ASKED, ANSWERED = Message(USER, "Say yes."), Message(ASSISTANT, "Yes.")
MORE = (Message(USER, "Again."), Message(ASSISTANT, "Yes, yes."))
BRIEF = Message(SYSTEM, "Be brief.")

MESSAGES = [
    {"role": "user", "content": "Say yes."},
    {"role": "assistant", "content": "Yes."},
]
SHAREGPT = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "Yes."}]


def written(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    return path


def only_conversation(tmp_path, fields):
    (found,) = read_conversations(written(tmp_path / "x.json", [fields]))
    return found.conversation


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("alpaca", {"instruction": "Say yes.", "output": "Yes."}),
        ("alpaca", {"instruction": "Say yes.", "input": "", "output": "Yes.", "history": []}),
        ("messages", {"messages": MESSAGES, "prompt": "unused", "id": 7}),
        ("messages", {"messages": SHAREGPT}),
        ("sharegpt", {"conversations": SHAREGPT}),
        ("sharegpt", {"conversations": MESSAGES, "system": None}),
        ("prompt", {"prompt": "Say yes.", "completion": "Yes."}),
        ("prompt", {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}),
        ("prompt", {"prompt": MESSAGES[:1], "completion": "Yes."}),
    ],
)
def test_every_form_of_a_conversation_is_detected_and_read(tmp_path, form, fields):
    found = read_conversations(written(tmp_path / "x.json", [fields]))
    assert found.form == form
    assert found[0].conversation == (ASKED, ANSWERED)
    assert found[0].fields == fields


@pytest.mark.parametrize(
    "fields",
    [
        {
            "system": "Be brief.",
            "history": [["Say yes.", "Yes."]],
            "instruction": "Again.",
            "output": "Yes, yes.",
        },
        {
            "messages": [
                {"role": "System", "content": "Be brief."},
                *MESSAGES,
                {"role": "user", "content": [{"type": "text", "text": "Again."}]},
                {"role": "assistant", "content": "Yes, yes.", "tool_calls": None},
            ]
        },
        {
            "system": "Be brief.",
            "conversations": [
                *SHAREGPT,
                {"from": "user", "value": "Again."},
                {"from": "chatgpt", "value": "Yes, yes."},
            ],
        },
    ],
)
def test_systems_and_earlier_turns_come_first(tmp_path, fields):
    assert only_conversation(tmp_path, fields) == (BRIEF, ASKED, ANSWERED, *MORE)


def test_the_input_of_an_instruction_is_kept_apart(tmp_path):
    fields = {"instruction": "Translate.", "input": "yes", "output": "是"}
    assert only_conversation(tmp_path, fields)[0] == Message(USER, "Translate.", "yes")


def test_tools_speak_between_two_answers(tmp_path):
    turns = [*SHAREGPT[:1], {"from": "function_call", "value": "f(1)"}]
    turns += [{"from": "observation", "value": "1"}, SHAREGPT[1]]
    roles = [m.role for m in only_conversation(tmp_path, {"conversations": turns})]
    assert roles == [USER, ASSISTANT, TOOL, ASSISTANT]


def test_text_parts_are_joined_and_text_is_kept_as_it_is(tmp_path):
    parts = [{"type": "text", "text": " a\n"}, {"type": "text", "text": "b "}]
    turns = [{"role": "user", "content": parts}, MESSAGES[1]]
    assert only_conversation(tmp_path, {"messages": turns})[0].content == " a\nb "


def test_parquet_rows_with_empty_columns_have_the_form_of_the_others(tmp_path):
    rows = [{"messages": MESSAGES, "conversations": None}] * 3
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = read_conversations(tmp_path / "x.parquet", records="1:")
    assert [record.conversation for record in found] == [(ASKED, ANSWERED)] * 2
    assert [record.number for record in found] == [1, 2]


def alpaca(**fields):
    return {"instruction": "Say yes.", "output": "Yes.", **fields}


def turns(*roles):
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


WRONG = [
    ({"instruction": "Say yes.", "input": "x"}, "there is no 'output' (there is 'instruction'"),
    (alpaca(output=None), "'output' is null"),
    (alpaca(output=" \n"), "'output' is empty"),
    (alpaca(output=42), "'output' is a number, not text"),
    (alpaca(output="a\0b"), "'output' holds a NUL character"),
    (alpaca(output="\ud800"), "'output' holds the lone surrogate U+D800"),
    (alpaca(instruction=""), "'instruction' is empty"),
    (alpaca(input=["a"]), "'input' is a list, not text"),
    (alpaca(system={}), "'system' is an object, not text"),
    (alpaca(history="before"), "'history' is text, not a list of questions"),
    (alpaca(history=[["a", "b"], ["c"]]), "'history[1]' is no pair"),
    (alpaca(history=[["a", None]]), "'history[0][1]' is null"),
    (alpaca(tools=["search"]), "'tools' describes tools"),
    ({"prompt": "x", "completion": ""}, "'completion' is empty"),
    ({"prompt": None, "completion": "x"}, "'prompt' is null"),
    ({"messages": []}, "'messages' holds no messages"),
    ({"messages": "user: hello"}, "'messages' is text, not a list of messages"),
    ({"messages": ["hello"]}, "'messages[0]' is text, not a message"),
    ({"messages": [{"role": "user"}]}, "'messages[0]' has no 'content' (there is 'role')"),
    ({"messages": [{"content": "x"}]}, "'messages[0]' has no 'role'"),
    (turns("user", "narrator"), "'messages[1].role' is 'narrator', none of system, user"),
    (turns("user", "user", "assistant"), "'messages[1]' is the user's second message in a row"),
    (turns("user", "assistant", "assistant"), "'messages[2]' is the assistant's second message"),
    (turns("assistant", "user"), "'messages[0]' is the assistant's, and the user must begin"),
    (turns("system", "assistant"), "'messages[1]' is the assistant's, and the user must begin"),
    (turns("user", "system", "assistant"), "'messages[1]' is a system message, which can only"),
    (turns("user", "tool", "assistant"), "'messages[1]' is the tool's, which cannot follow the"),
    (turns("user", "assistant", "user"), "the user's last word has no answer"),
    (turns("system"), "the system's last word has no answer"),
    ({**turns("system", "user", "assistant"), "system": "y"}, "'system' says what 'messages[0]'"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, MESSAGES[1]]},
        "'messages[0].content[0]' is no text but 'image_url'",
    ),
    (
        {"messages": [MESSAGES[0], {"role": "assistant", "content": "x", "tool_calls": [{}]}]},
        "'messages[1].tool_calls' calls tools",
    ),
    ({"prompt": MESSAGES, "completion": "x"}, "'completion' is the assistant's second message"),
]


@pytest.mark.parametrize(("fields", "problem"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_learned_from_is_told_by_record_and_field(tmp_path, fields, problem):
    good = next(
        row
        for row in (alpaca(), {"messages": MESSAGES}, {"prompt": "a", "completion": "b"})
        if fields.keys() & row.keys()
    )
    path = tmp_path / "x.json"
    path.write_text(json.dumps([good, fields]), "utf-8")
    with pytest.raises(TextError) as caught:
        read_conversations(path)
    message = str(caught.value)
    assert message.startswith("1 of 2 records cannot be learned from:\n")
    assert f"x.json, record 2: {problem}" in message


def test_all_problems_of_all_records_are_told_at_once(tmp_path):
    rows = [alpaca(), alpaca(output="", input=3), *[{"instruction": "x"}] * 20]
    with pytest.raises(TextError) as caught:
        read_conversations(written(tmp_path / "x.json", rows))
    lines = str(caught.value).splitlines()
    assert lines[0] == "21 of 22 records cannot be learned from:"
    assert "record 2: 'input' is a number" in lines[1]
    assert "record 2: 'output' is empty" in lines[2]
    assert lines[11] == "  - and 12 more"
    assert len(lines) == 13


def test_ids_that_come_twice_are_told_with_both_places(tmp_path):
    rows = [alpaca(id=7), alpaca(id="7"), alpaca(id=None), alpaca(id=None), alpaca(id=7)]
    with pytest.raises(TextError, match=r"(?s)1 of 5.*record 5: 'id' is 7, as that of .*record 1"):
        read_conversations(written(tmp_path / "x.json", rows))


def test_two_forms_in_one_file_are_refused_naming_both(tmp_path):
    rows = [alpaca(), {"messages": MESSAGES}, {"conversations": SHAREGPT}]
    problem = r"more than one form: .*record 1 has instruction, .*record 2 has messages"
    with pytest.raises(TextError, match=problem):
        read_conversations(written(tmp_path / "x.json", rows))


def test_a_named_form_is_taken_whatever_else_is_there(tmp_path):
    path = written(tmp_path / "x.json", [{"messages": MESSAGES, **alpaca(output="No.")}])
    assert read_conversations(path)[0].conversation == (ASKED, ANSWERED)
    assert read_conversations(path, form="alpaca")[0].conversation[1].content == "No."


def test_records_of_no_known_form_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(TextError, match=r"no conversation: it has 'text'\. Known are: messages"):
        read_conversations(written(tmp_path / "x.json", [{"text": "a"}]))
    preference = {"question": "a", "chosen": "b", "rejected": "c"}
    with pytest.raises(TextError, match="they are preferences, which cloche align learns from"):
        read_conversations(written(tmp_path / "y.json", [preference]))


def test_the_published_instructions_are_described(shared_data):
    found = read_conversations(shared_data / "instruction-data.json")
    assert len(found) == 1100
    assert found.describe()[0].startswith("1,100 conversations (instruction, input, output)")
    assert found.take([1, 0])[0].conversation == found[1].conversation
    sliced = read_conversations(shared_data / "instruction-data.json", records="1000:1005")
    assert [record.number for record in sliced] == [1000, 1001, 1002, 1003, 1004]
    assert sliced[0].conversation == found[1000].conversation
