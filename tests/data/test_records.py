import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data import records as module
from cloche.data.records import read_records
from cloche.errors import SettingError, TextError

ROWS = [{"question": f"第{number}个问题", "n": number} for number in range(12)]
JSON_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
JSON_LIST = json.dumps(ROWS, ensure_ascii=False, indent=1)


def fields_in(path, **options):
    return [dict(record.fields) for record in read_records(path, **options)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", JSON_LINES.encode()),
        ("rows.ndjson", ("\ufeff" + JSON_LINES.replace("\n", "\r\n\n")).encode()),
        ("lines.json", JSON_LINES.encode()),
        ("list.json", JSON_LIST.encode("utf-16")),
        ("gbk.json", JSON_LIST.encode("gbk")),
        ("rows.jsonl.gz", gzip.compress(JSON_LINES.encode("gbk"))),
        ("list.json.zst", zstandard.compress(JSON_LIST.encode())),
    ],
)
def test_records_are_read_from_every_format_in_any_encoding(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert fields_in(tmp_path / name) == ROWS


def test_records_are_read_from_parquet_nested_ones_too(tmp_path):
    rows = [{"messages": [{"role": "user", "content": f"{n}"}], "n": n} for n in range(600)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert fields_in(tmp_path / "x.parquet") == rows
    assert read_records(tmp_path / "x.parquet", records="-1:")[0].place.endswith(
        "x.parquet, row 600"
    )


def test_files_and_folders_are_joined_and_numbers_go_on(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "b.json").write_text('[{"n": 2}]')
    (tmp_path / "folder" / "a.jsonl").write_text('\n{"n": 1}\n')
    (tmp_path / "folder" / "notes.txt").write_text("no records")
    (tmp_path / "last.jsonl").write_text('{"n": 3}')
    found = read_records([tmp_path / "folder", str(tmp_path / "last.jsonl")])
    assert [(record.fields["n"], record.number) for record in found] == [(1, 0), (2, 1), (3, 2)]
    assert found[0].place.endswith("a.jsonl, line 2")
    assert found[1].place.endswith("b.json, record 1")


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet"])
@pytest.mark.parametrize("text", ["3:5", ":2", "10:", "-3:", ":-10", "-5:-2", "2:-2", "9:100", ":"])
def test_a_slice_is_that_of_python(tmp_path, name, text):
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / name)
    else:
        (tmp_path / name).write_text(JSON_LINES if name == "x.jsonl" else JSON_LIST, "utf-8")
    wanted = slice(*(int(part) if part else None for part in text.split(":")))
    found = read_records(tmp_path / name, records=text)
    assert [dict(record.fields) for record in found] == ROWS[wanted]
    assert [record.number for record in found] == list(range(12))[wanted]


@pytest.mark.parametrize("text", ["5:3", "12:", ":0", "12:20", "-2:-5"])
def test_a_slice_that_holds_nothing_is_refused_with_the_count(tmp_path, text):
    (tmp_path / "x.jsonl").write_text(JSON_LINES, "utf-8")
    with pytest.raises(SettingError, match=r"holds none of the 12 records of .*x\.jsonl"):
        read_records(tmp_path / "x.jsonl", records=text)


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3", "1-5", "1.5:", "1:5,7"])
def test_what_is_no_slice_is_refused(tmp_path, text):
    (tmp_path / "x.jsonl").write_text(JSON_LINES, "utf-8")
    with pytest.raises(SettingError, match=r"no slice of records: write START:STOP"):
        read_records(tmp_path / "x.jsonl", records=text)


def test_what_lies_outside_the_slice_is_not_judged(tmp_path):
    (tmp_path / "x.jsonl").write_text('oops\n{"n": 1}\noops\n')
    assert fields_in(tmp_path / "x.jsonl", records="1:2") == [{"n": 1}]


BAD = [
    ("x.jsonl", '{"a": 1}\n{oops\n', r"line 2: it is no JSON \(Expecting property name"),
    ("x.jsonl", '{"a": 1}\n[1]\n', "line 2: it is no object with fields but a list"),
    ("x.jsonl", '{"a": NaN}\n', "line 1: it holds NaN, which JSON does not know"),
    ("x.jsonl", '{"a": 1, "b": {"c": 1, "c": 2}}\n', "line 1: it has the key 'c' twice"),
    ("x.jsonl", "[" * 100_000 + "\n", "line 1: it is nested too deeply"),
    ("x.jsonl", "null\n", "line 1: .* but null"),
    ("x.json", '[{"a": 1}, "text", 7]', "(?s)2 of 3 .*record 2: .* text.*record 3: .*number"),
    ("x.json", '[{"a": 1},\n {"a": -Infinity}, {"b": 1}]', "1 of 3 .*(?s:.)*record 2: .*-Infinity"),
    ("x.json", '[{"a": 1, "a": "x]"}, {"b": 1}]', "1 of 2 .*(?s:.)*record 1: .*'a' twice"),
    ("x.json", '[{"a": 1},\n {"a": 1', "line 2: .*record 2 is no JSON"),
    ("x.json", '[{"a": 1}', "a comma or ] must stand, not the end"),
    ("x.json", '[{"a": 1} {"a": 2}]', "behind record 1 a comma or ] must stand, not {"),
    ("x.json", '[{"a": 1},]', "record 2 is no JSON"),
    ("x.json", '[{"a": 1}]\n[', "line 2: it goes on behind the end of its list"),
    ("x.json", '[{"a": "never ends', "record 1 is no JSON .Unterminated string"),
    ("x.json", '[{"a": ' + "[" * 100_000, "record 1 is nested too deeply"),
    ("x.json", '[{"a": ' + "1" * 5000 + "}]", "record 1 is no JSON that can be read .Exceeds"),
    ("x.jsonl", '{"a": ' + "1" * 5000 + "}", "line 1: Exceeds the limit"),
    ("x.json", '{\n "a": 1\n}', r"a \.json is a list"),
    ("x.json", "[]", "holds no records"),
    ("x.json", " \n", "holds no records"),
    ("x.jsonl", "", "holds no records"),
    ("x.txt", '{"a": 1}', r"records are read from \.json, \.jsonl and \.parquet"),
    ("x.parquet", "PAR1 no", "is damaged, or no Parquet file"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "problem"), BAD, ids=range(len(BAD)))
def test_what_is_no_record_is_told_with_its_place(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(TextError, match=problem):
        read_records(tmp_path / name)


def test_all_bad_lines_are_counted_and_ten_are_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n' + "oops\n" * 25)
    with pytest.raises(TextError, match=r"(?s)25 of 26 records.*line 11: .*and 15 more") as caught:
        read_records(tmp_path / "x.jsonl")
    assert "line 12:" not in str(caught.value)


def test_a_folder_that_goes_away_while_it_is_searched_holds_nothing(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    scan = os.scandir

    def scanned(path):
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scanned)
    assert [record.fields for record in read_records(tmp_path)] == [{"n": 1}]


def test_an_encoding_is_named_by_the_option_of_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": "\xff\xfe\x80"}\n')
    with pytest.raises(TextError, match=r"--data\.encoding"):
        read_records(tmp_path / "a.jsonl", encoding="utf-8")
    with pytest.raises(TextError, match=r"^data\.encoding 'utf-9' is no known"):
        read_records(tmp_path / "a.jsonl", encoding="utf-9")


def test_a_folder_without_records_and_a_missing_file_are_told(tmp_path):
    with pytest.raises(TextError, match=r"holds no \.json"):
        read_records(tmp_path)
    (tmp_path / "data.jsonl").write_text(JSON_LINES, "utf-8")
    with pytest.raises(TextError, match=r"did you mean .*data\.jsonl"):
        read_records(tmp_path / "date.jsonl")


def test_a_compressed_file_that_ends_early_is_an_error(tmp_path):
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(JSON_LINES.encode())[:-9])
    with pytest.raises(TextError, match=r"x\.jsonl\.gz"):
        read_records(tmp_path / "x.jsonl.gz")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\"\\]},", max_size=3), inner)
    ),
    max_leaves=8,
)  # fmt: skip


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES), max_size=6),
    indent=st.sampled_from([None, 1]),
    size=st.integers(1, 40),
)
@settings(max_examples=80, deadline=None)
def test_a_list_reads_the_same_in_pieces_of_any_size(rows, indent, size):
    text = json.dumps(rows, ensure_ascii=False, indent=indent) + "\n "
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    found = list(module._ListReader(pieces, "x").values())
    assert [entry.value for entry in found] == rows
    assert not any(entry.problem for entry in found)
