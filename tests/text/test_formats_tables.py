import csv
import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TextError
from cloche.text.formats import csv as csv_format
from cloche.text.formats.reading import format_encoding, open_documents
from cloche.text.rows import RowCount
from cloche.text.sources import SourceFile, find_sources

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def source_of(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    (source,) = find_sources([str(path)])
    return source


def parquet(path: Path, **columns) -> SourceFile:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    (source,) = find_sources([str(path)])
    return source


def rows(source: SourceFile, **options) -> list[tuple[str, str]]:
    found = open_documents(source, **{"encoding": None, **options})
    return [(name.removeprefix(source.name), "".join(pieces)) for name, pieces in found]


@given(texts=st.lists(TEXTS, max_size=6), tabs=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_row_of_csv_is_a_document_whatever_it_holds(tmp_path_factory, texts, tabs):
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *([n, text] for n, text in enumerate(texts))])
    path = tmp_path_factory.mktemp("rows") / ("a.tsv" if tabs else "a.csv")
    source = source_of(path, written.getvalue().encode())
    expected = [(f", row {n}", text) for n, text in enumerate(texts, start=1)]
    assert rows(source, encoding="utf-8") == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_are_separated_by_what_finds_the_column(tmp_path, delimiter):
    lines = [["name", "text"], ["a, b; c".replace(delimiter, ""), "one"], ["", "two"]]
    data = "\r\n".join(delimiter.join(line) for line in lines).encode("utf-8-sig")
    source = source_of(tmp_path / "a.csv", data)
    assert rows(source) == [(", row 1", "one"), (", row 2", "two")]


def test_a_table_in_gbk_with_quoted_line_ends_and_blank_lines_is_read(tmp_path):
    data = '标题,正文\n甲,"今天天气很好，\n小明去""公园""里玩。"\n\n乙,我们在一起\n'.encode("gbk")
    source = source_of(tmp_path / "a.csv", data)
    assert format_encoding(source) == "gbk"
    assert rows(source, column="正文") == [
        (", row 1", '今天天气很好，\n小明去"公园"里玩。'),
        (", row 2", "我们在一起"),
    ]


def test_a_long_cell_is_read_whole(tmp_path):
    source = source_of(tmp_path / "a.csv", b"text\n" + b"word " * 100_000)
    ((_, text),) = rows(source)
    assert len(text) == 500_000


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("7", "has 1 cells for 2 columns"),
        ("7,Hello, world", "has 3 cells for 2 columns; text with separators needs quotes"),
        ('7,"a"b', "is no CSV"),
    ],
)
def test_a_bad_row_of_csv_is_named_with_its_line_or_counted(tmp_path, line, problem):
    data = f'id,text\n1,"one\none"\n{line}\n3,three,\n'.encode()
    source = source_of(tmp_path / "a.csv", data)
    with pytest.raises(TextError) as caught:
        rows(source)
    assert str(caught.value).startswith(f"{source.name}: row 2 (line 4) {problem}")
    skipped = RowCount()
    assert rows(source, skipped=skipped) == [(", row 1", "one\none"), (", row 3", "three")]
    assert skipped.bad == 1


def test_a_quote_left_open_is_an_error_and_not_one_huge_row(tmp_path, monkeypatch):
    source = source_of(tmp_path / "a.csv", b'text\none\n"two\n' + b"three\n" * 1000)
    with pytest.raises(TextError, match=r"row 2 \(line 3\) is no CSV .*is there a quote too many"):
        rows(source)
    monkeypatch.setattr(csv_format, "_CELL_CHARACTERS", 2000)
    with pytest.raises(TextError, match=r"row 2 \(line 3\) is no CSV \(field larger"):
        rows(source)


def test_a_line_too_long_to_be_a_row_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_format, "_CELL_CHARACTERS", 2000)
    source = source_of(tmp_path / "a.csv", b"text\none\n" + b"a," * 2000)
    with pytest.raises(TextError, match="line 3 is longer than 2,000 characters"):
        rows(source)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,body\n1,a\n", r"has no column 'text'; its columns are 'id', 'body'\. .*text\.column"),
        (b"text,text\na,b\n", "has 2 columns named 'text'"),
        (b"", "does not begin with a row that names its columns"),
        (b"\n\n", "does not begin with a row that names its columns"),
        (b"text\na\0b\n", "line 2, byte 6: a NUL byte"),
    ],
)
def test_a_csv_without_its_column_is_an_error(tmp_path, data, message):
    source = source_of(tmp_path / "a.csv", data)
    with pytest.raises(TextError, match=message):
        rows(source)


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
def test_every_row_of_parquet_is_a_document(tmp_path, kind):
    texts = ["一", "", "three\n", *map(str, range(300))]
    source = parquet(tmp_path / "a.parquet", n=range(303), body=pyarrow.array(texts, kind))
    expected = [(f", row {n}", text) for n, text in enumerate(texts, start=1)]
    assert rows(source, column="body") == expected


def test_repeated_texts_stored_once_are_read(tmp_path):
    column = pyarrow.array(["a", "b", "a"]).dictionary_encode()
    assert [text for _, text in rows(parquet(tmp_path / "a.parquet", text=column))] == list("aba")


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "holds no text but null"), ("a\0b", "holds a NUL"), (b"a\xff", "no UTF-8")],
)
def test_a_bad_row_of_parquet_is_named_or_counted(tmp_path, value, problem):
    column = pyarrow.array(
        ["one", value, "three"] if value != b"a\xff" else [b"one", value, b"three"]
    )
    if column.type == pyarrow.binary():
        column = column.view(pyarrow.string())
    source = parquet(tmp_path / "a.parquet", text=column)
    with pytest.raises(TextError, match=rf"a\.parquet: row 2 .*{problem}"):
        rows(source)
    skipped = RowCount()
    assert rows(source, skipped=skipped) == [(", row 1", "one"), (", row 3", "three")]
    assert skipped.bad == 1


def test_a_parquet_file_without_its_column_is_an_error(tmp_path):
    source = parquet(tmp_path / "a.parquet", id=[1, 2], body=["a", "b"])
    with pytest.raises(TextError, match=r"has no column 'text'; its columns are 'id', 'body'"):
        rows(source)
    with pytest.raises(TextError, match="the column 'id' holds int64, not strings"):
        rows(source, column="id")


def test_a_damaged_parquet_file_is_an_error(tmp_path):
    source = parquet(tmp_path / "a.parquet", text=["words " * 1000 + str(n) for n in range(100)])
    whole = source.path.read_bytes()
    for data in (b"", b"no parquet file", whole[:-50], b"PAR1" + bytes(500) + whole[504:]):
        source.path.write_bytes(data)
        with pytest.raises(TextError, match=r"a\.parquet is damaged, or no Parquet file"):
            rows(source)


def test_a_parquet_file_is_read_in_bounded_memory(tmp_path):
    texts = [f"{n} {n * 7919 % 10_007} " * 100 for n in range(20_000)]
    source = parquet(tmp_path / "a.parquet", text=texts)
    most, before = 0, pyarrow.total_allocated_bytes()
    for _, pieces in open_documents(source, encoding=None):
        assert next(pieces)
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert sum(map(len, texts)) > 20_000_000
    assert most < 8_000_000
