import json

import pytest

from cloche.data.preferences import read_preferences, read_prompts
from cloche.errors import TextError
from cloche.text.messages import ASSISTANT, SYSTEM, USER, Message

ASKED = (Message(USER, "Pick one."),)
QUESTION = {"role": "user", "content": "Pick one."}


def said(content):
    return {"role": "assistant", "content": content}


def answer(content):
    return (Message(ASSISTANT, content),)


def written(path, rows):
    path.write_text(json.dumps(rows), "utf-8")
    return path


def preferences_of(tmp_path, *rows):
    return read_preferences(written(tmp_path / "x.json", list(rows)))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Pick one.", "chosen": "A", "rejected": "B"},
        {"prompt": [QUESTION], "chosen": "A", "rejected": [said("B")]},
        {"instruction": "Pick one.", "input": "", "output": "?", "chosen": "A", "rejected": "B"},
        {"chosen": [QUESTION, said("A")], "rejected": [QUESTION, said("B")]},
        {"prompt": "Pick one.", "chosen": [QUESTION, said("A")], "rejected": [QUESTION, said("B")]},
    ],
)
def test_pairs_are_read_from_every_way_to_write_them(tmp_path, fields):
    found = preferences_of(tmp_path, fields)
    assert found.form == "pairs"
    (pair,) = found.pairs
    assert (pair.prompt, pair.chosen, pair.rejected) == (ASKED, answer("A"), answer("B"))
    assert (pair.number, pair.group) == (0, 0)
    assert pair.place.endswith("x.json, record 1")


def test_conversations_are_parted_at_their_first_different_answer(tmp_path):
    before = [{"role": "system", "content": "Be brief."}, QUESTION, said("A"), QUESTION]
    found = preferences_of(
        tmp_path,
        {"chosen": [*before, said("B")], "rejected": [*before, said("C"), QUESTION, said("D")]},
    )
    (pair,) = found.pairs
    assert pair.prompt == (Message(SYSTEM, "Be brief."), *ASKED, *answer("A"), *ASKED)
    assert pair.chosen == answer("B")
    assert pair.rejected == (*answer("C"), *ASKED, *answer("D"))


def test_rankings_become_all_their_pairs_and_stay_a_group(tmp_path):
    found = preferences_of(
        tmp_path,
        {"prompt": "Pick one.", "answers": ["A", "B", "C"]},
        {"prompt": "Pick one.", "answers": ["C", "A", [said("B")]], "ranks": [3, 1, 2]},
        {"prompt": "Pick one.", "answers": ["C", "A", "B"], "scores": [-1, 9.5, 2]},
    )
    assert found.form == "rankings"
    told = [(p.chosen[0].content, p.rejected[0].content, p.group) for p in found.pairs]
    wanted = [("A", "B"), ("A", "C"), ("B", "C")]
    assert told == [(*pair, group) for group in range(3) for pair in wanted]
    assert found.pairs[0].place.endswith("record 1, answers 1 and 2")
    assert found.describe()[0] == "9 pairs of answers from 3 rankings."
    assert len(found.repeated) == 6


def test_ties_give_no_pair_and_are_told(tmp_path):
    row = {"prompt": "Pick one.", "answers": ["A", "B", "C"], "ranks": [1, 2, 2]}
    found = preferences_of(tmp_path, row)
    assert [(p.chosen[0].content, p.rejected[0].content) for p in found.pairs] == [
        ("A", "B"),
        ("A", "C"),
    ]
    assert "with ties, whose tied pairs are left out: 1 (" in found.describe()[1]
    with pytest.raises(TextError, match="none of the 1 records prefers one answer"):
        preferences_of(tmp_path, {**row, "ranks": [1, 1, 1]})


@pytest.mark.parametrize(
    ("given", "good"),
    [(True, True), ("Good", True), (1, True), (False, False), ("bad", False), (-1, False)],
)
def test_votes_are_good_or_bad(tmp_path, given, good):
    rows = [
        {"prompt": "Pick one.", "completion": "A", "label": given},
        {"instruction": "Pick one.", "answer": [said("A")], "vote": given},
    ]
    found = preferences_of(tmp_path, *rows)
    assert found.form == "votes"
    assert [(v.prompt, v.answer, v.good) for v in found.votes] == [(ASKED, answer("A"), good)] * 2
    assert len(found.repeated) == 1


def test_contradictions_are_told_and_stay(tmp_path):
    row = {"prompt": "Pick one.", "chosen": "A", "rejected": "B"}
    found = preferences_of(tmp_path, row, {**row, "chosen": "B", "rejected": "A"}, row)
    assert len(found.pairs) == 3
    assert [place[-8:] for place, _ in found.contradicting] == ["record 2", "record 3"]
    assert "Contrary to what was said before: 2 (" in found.describe()[-1]


def test_the_six_identical_pairs_of_the_published_file_are_counted_and_left_out(shared_data):
    found = read_preferences(shared_data / "preference-data.json")
    rows = json.loads((shared_data / "preference-data.json").read_text("utf-8"))
    same = [n for n, row in enumerate(rows) if row["chosen"] == row["rejected"]]
    assert len(found.identical) == len(same) == 6
    assert [int(place.split()[-1]) - 1 for place in found.identical] == same
    assert len(found.pairs) == 1094
    assert found.describe()[1].startswith("Pairs left out, as both answers are the same: 6 (")


PAIR = {"prompt": "Pick one.", "chosen": "A", "rejected": "B"}
RANKING = {"prompt": "Pick one.", "answers": ["A", "B"]}
VOTE = {"prompt": "Pick one.", "completion": "A", "label": True}
WRONG = [
    (PAIR, {"chosen": "A", "rejected": "B"}, "there is no 'prompt' and no 'instruction'"),
    (PAIR, {"prompt": "Pick one.", "chosen": "A"}, "there is no 'rejected' (there is 'prompt'"),
    (PAIR, {**PAIR, "rejected": " "}, "'rejected' is empty"),
    (PAIR, {**PAIR, "chosen": None}, "'chosen' is null"),
    (PAIR, {**PAIR, "prompt": ""}, "'prompt' is empty"),
    (PAIR, {**PAIR, "chosen": 1}, "'chosen' is a number, not text"),
    (PAIR, {**PAIR, "prompt": [QUESTION, said("A")]}, "'prompt[1]' leaves nothing to answer"),
    (PAIR, {**PAIR, "chosen": [QUESTION]}, "'chosen' holds no answer behind the prompt"),
    (PAIR, {**PAIR, "chosen": [{"role": "user", "content": "X"}]}, "'chosen[0]' is the user's"),
    (
        PAIR,
        {"chosen": [QUESTION, said("A")], "rejected": [{**QUESTION, "content": "X"}, said("A")]},
        "'chosen[0]' and 'rejected[0]' differ before there is an answer",
    ),
    (PAIR, {**PAIR, "rejected": [said("A"), said("B")]}, "'rejected[1]' is the assistant's second"),
    (RANKING, {**RANKING, "answers": ["A"]}, "'answers' is a list of 1: two or more are needed"),
    (RANKING, {**RANKING, "answers": "A"}, "'answers' is text: two or more"),
    (RANKING, {**RANKING, "answers": ["A", ""]}, "'answers[1]' is empty"),
    (RANKING, {"answers": ["A", "B"]}, "there is no 'prompt'"),
    (RANKING, {**RANKING, "ranks": [1]}, "'ranks' must be a list of 2 numbers"),
    (RANKING, {**RANKING, "scores": [1, "2"]}, "'scores' must be a list of 2 numbers"),
    (RANKING, {**RANKING, "ranks": [1, 2], "scores": [1, 2]}, "'ranks' and 'scores' both say"),
    (VOTE, {**VOTE, "label": "maybe"}, "'label' is 'maybe': a vote is good or bad"),
    (VOTE, {**VOTE, "label": 0.5}, "'label' is 0.5"),
    (VOTE, {**VOTE, "completion": ""}, "'completion' is empty"),
    (VOTE, {"prompt": "Pick one.", "completion": "A"}, "there is no 'label'"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "fields", "problem"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_used_is_told_by_record_and_field(tmp_path, good, fields, problem):
    with pytest.raises(TextError) as caught:
        preferences_of(tmp_path, good, fields)
    assert f"x.json, record 2: {problem}" in str(caught.value)


def test_forms_are_not_mixed_and_ids_not_repeated(tmp_path):
    with pytest.raises(
        TextError, match=r"record 1 has chosen, rejected, and .*record 2 has answers"
    ):
        preferences_of(tmp_path, PAIR, RANKING)
    with pytest.raises(TextError, match=r"record 2: 'id' is 'a', as that of .*record 1"):
        preferences_of(tmp_path, {**PAIR, "id": "a"}, {**VOTE, **PAIR, "id": "a"})
    with pytest.raises(TextError, match="is no preference: it has 'text'"):
        preferences_of(tmp_path, {"text": "x"})


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        ({"prompt": "Pick one.", "answer": "A", "n": 1}, {"answer": "A", "n": 1}),
        ({"prompt": [QUESTION], "messages": 5}, {"messages": 5}),
        ({"instruction": "Pick one.", "input": "", "output": "A"}, {"output": "A"}),
        ({"messages": [QUESTION], "answer": ["A", "B"]}, {"answer": ["A", "B"]}),
    ],
)
def test_prompts_keep_all_other_fields(tmp_path, fields, others):
    (found,) = read_prompts(written(tmp_path / "x.json", [fields]))
    assert (found.conversation, found.fields, found.number) == (ASKED, others, 0)


def test_prompts_that_leave_nothing_to_answer_are_told(tmp_path):
    rows = [{"prompt": "x"}, {"prompt": [QUESTION, said("A")]}, {"prompt": " "}]
    with pytest.raises(
        TextError, match=r"(?s)2 of 3 records cannot be answered:.*record 2.*record 3"
    ):
        read_prompts(written(tmp_path / "x.json", rows))
