"""Texts with classes: every format, and what cannot be used, told by place."""

import json
from pathlib import Path

import pytest

from cloche.errors import ClocheError, DataError, TextError
from cloche.tuning.classify_rows import (
    Columns,
    LabelledText,
    classes_of,
    read_labelled,
    require_known,
    without_copies,
)

NAMED = Columns("text", "label")


def texts(path: Path, columns: Columns = NAMED, **options) -> list[tuple[str, str]]:
    return [(row.text, row.label) for row in read_labelled([str(path)], columns, **options)]


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def test_a_table_with_commas_keeps_what_stands_in_quotes(tmp_path):
    content = 'label,text\r\nham,"Hello, ""you""\nthere"\r\nspam,free\r\n'
    assert texts(write(tmp_path / "a.csv", content)) == [
        ('Hello, "you"\nthere', "ham"),
        ("free", "spam"),
    ]


def test_a_table_without_names_is_read_by_numbers_and_keeps_lone_quotes(tmp_path):
    path = write(tmp_path / "SMS.tsv", 'ham\tSay "hi"\nspam\t"quoted, ""all"""\nham\t"not closed\n')
    assert texts(path, Columns("2", "1")) == [
        ('Say "hi"', "ham"),
        ('quoted, "all"', "spam"),
        ('"not closed', "ham"),
    ]


def test_a_table_in_gbk_is_found_out(tmp_path):
    rows = "".join(f"今天天气很好我们去公园散步第{n}天,好\n" for n in range(30))
    path = write(tmp_path / "a.csv", "text,label\n" + rows, "gbk")
    assert texts(path)[0] == ("今天天气很好我们去公园散步第0天", "好")


def test_records_have_classes_of_any_plain_kind(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": True}, {"text": "c", "label": " x "}]
    lines = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    whole = write(tmp_path / "a.json", json.dumps(rows))
    assert texts(lines) == texts(whole) == [("a", "1"), ("b", "true"), ("c", "x")]


def test_parquet_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet") == [("a", "0"), ("b", "1")]


def test_a_slice_takes_rows_of_all_files_together(tmp_path):
    first = write(tmp_path / "a.csv", "text,label\na,x\nb,x\n")
    second = write(tmp_path / "b.csv", "text,label\nc,y\n")
    rows = read_labelled([str(first), str(second)], NAMED, records="1:3")
    assert [row.text for row in rows] == ["b", "c"]


BAD = {
    "no such column": ("body,label\na,x\n", TextError, r"no column 'text'.*'body', 'label'"),
    "a column twice": ("text,text,label\na,b,x\n", TextError, "2 columns 'text'"),
    "too few cells": ("text,label\na\n", TextError, r"row 1 \(line 2\) has 1 cells"),
    "too many cells": ("text,label\na,b,x\n", TextError, "has 3 cells for 2 columns"),
    "an open quote": ('text,label\n"a,x\nb,y\n', TextError, "quote too many"),
    "an empty text": ("text,label\n ,x\n", DataError, "row 1: text is empty"),
    "no class": ("text,label\na,\nb,\n", DataError, r"2 of 2 rows.*row 1: label is empty"),
    "an empty file": ("\n", ClocheError, "empty"),
}


@pytest.mark.parametrize(("content", "error", "message"), BAD.values(), ids=BAD)
def test_a_bad_table_is_told_with_its_place(tmp_path, content, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        texts(write(tmp_path / "a.csv", content))


def test_a_bad_record_is_told_with_its_place(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n{"text": 3, "label": [1]}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: text is 3, which is no text"):
        texts(path)
    path = write(tmp_path / "b.jsonl", '{"body": "a"}\n')
    with pytest.raises(TextError, match=r"no field 'text'; its fields are 'body'"):
        texts(path)


@pytest.mark.parametrize("records", ["a:b", "7", "9:12"])
def test_a_slice_that_takes_nothing_is_told(tmp_path, records):
    with pytest.raises(DataError, match=r"data\.records"):
        texts(write(tmp_path / "a.csv", "text,label\na,x\n"), records=records)


def rows(*labels: str) -> list[LabelledText]:
    return [LabelledText(f"row {n}", f"t{n}", label) for n, label in enumerate(labels)]


def test_classes_are_sorted_and_more_than_one():
    assert classes_of(rows("b", "a", "b")) == ("a", "b")
    with pytest.raises(DataError, match="are of the class 'a'"):
        classes_of(rows("a", "a"))
    with pytest.raises(DataError, match="is this the column of the classes"):
        classes_of(rows(*map(str, range(1001))))


def test_held_out_classes_that_nobody_taught_are_told():
    with pytest.raises(DataError, match=r"test part.*'c' \(2\), first in row 1"):
        require_known(rows("a", "c", "c"), ("a", "b"), part="test")


def test_copies_are_left_out():
    same = [LabelledText("1", "t", "a"), LabelledText("2", "t", "a"), LabelledText("3", "t", "b")]
    assert [row.place for row in without_copies(same)] == ["1", "3"]
