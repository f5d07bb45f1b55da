from dataclasses import replace

from cloche.replays.published import load_published
from cloche.replays.replay import Row
from cloche.replays.table import describe_row, markdown_table, remarks, shorten, summary

PUBLISHED = {published.name: published for published in load_published()}
SOFTMAX = PUBLISHED["softmax"]
MET = Row(SOFTMAX, "met", measured=[0.19249781966209412], seconds=1.0)
ABSENT = Row(PUBLISHED["word encode"], "not run", cause="not run: no text", seconds=0.5)


def test_a_long_value_is_shortened_and_a_missing_one_is_a_dash():
    assert shorten(list(range(50)), characters=10) == "[0, 1, 2,…"
    assert shorten("春眠", characters=10) == '"春眠"'
    assert shorten(None, characters=10) == "–"


def test_a_row_in_full_shows_every_digit_and_the_source():
    text = describe_row(replace(MET, beside={"sum": 1.0}))
    assert "0.19249781966209412" in text
    assert "sum: 1.0" in text
    assert SOFTMAX.source.title in text


def test_a_row_that_was_published_wrong_shows_the_right_value():
    novels = PUBLISHED["Llama 2 corpus in novels of 400,000 characters"]
    row = Row(novels, "wrong as published", measured={"copies": 19901846.45286686})
    text = describe_row(row)
    assert 'right: {"copies": 19900000}' in text
    assert 'measured: {"copies": 19901846.45286686}' in text
    assert row.to_values()["right"] == {"copies": 19900000}
    assert '`{"copies": 19901800.0}`' in markdown_table([row])
    assert MET.to_values()["right"] is None


def test_a_cause_that_several_rows_share_is_told_once():
    other = replace(ABSENT, published=PUBLISHED["word decode"])
    told = remarks([MET, ABSENT, other])
    assert told[0] == "word encode; word decode: not run: no text"
    assert sum("no text" in line for line in told) == 1


def test_the_summary_counts_the_outcomes():
    assert summary([MET, MET, ABSENT]) == "3 replayed: 2 met, 1 not run; 2.5 s"


def test_a_bar_in_a_value_does_not_end_a_cell_of_the_markdown():
    bars = replace(SOFTMAX, name="a", values="<|unk|>")
    line = markdown_table([Row(bars, "met", measured="<|unk|>")]).splitlines()[-1]
    assert line.count(" | ") == 4
    assert r"\|unk\|" in line
