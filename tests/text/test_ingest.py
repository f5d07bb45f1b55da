import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TextError
from cloche.text.ingest import (
    PIECE_CHARACTERS,
    SourceReport,
    documents,
    inspect_source,
    require_text,
)
from cloche.text.sources import SourceFile, find_sources

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def source_of(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    (source,) = find_sources([str(path)])
    return source


def texts(source: SourceFile, encoding: str = "utf-8", *, skip_bad: bool = False) -> list[str]:
    return ["".join(d.pieces()) for d in documents(source, encoding, skip_bad=skip_bad)]


def test_the_tang_poems_in_gbk_are_decoded_exactly(shared_data):
    (source,) = find_sources([str(shared_data / "tangshi-gbk.txt")])
    report = inspect_source(source)
    assert report.encoding == "gbk"
    assert report.characters == 1_649_006
    assert report.utf8_sha256 == "724e5dcfe4215886b30ef12e73cf8423df8fc21021fe737249f39930adb64119"
    (text,) = texts(source, report.encoding)
    assert hashlib.sha256(text.encode()).hexdigest() == report.utf8_sha256


def test_shakespeare_has_as_many_characters_as_published(shared_data):
    (source,) = find_sources([str(shared_data / "shakespeare.txt")])
    report = inspect_source(source)
    assert (report.encoding, report.characters, report.documents) == ("utf-8", 1_115_394, 1)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.txt.gz"])
def test_line_ends_stay_and_count(tmp_path, name):
    source = source_of(tmp_path / name, "一\r\n二\r".encode())
    report = inspect_source(source)
    assert texts(source) == ["一\r\n二\r"]
    assert (report.characters, report.documents, report.utf8_bytes) == (5, 1, 9)
    assert report.utf8_sha256 == hashlib.sha256("一\r\n二\r".encode()).hexdigest()


def test_the_fingerprint_is_that_of_the_text_whatever_its_encoding(tmp_path):
    text = "今天天气很好，小明和朋友们去公园里玩。\n"
    reports = [
        inspect_source(source_of(tmp_path / f"{encoding}.txt", text.encode(encoding)))
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gbk")
    ]
    assert len({report.utf8_sha256 for report in reports}) == 1
    assert {report.characters for report in reports} == {len(text)}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@given(rows=st.lists(TEXTS, max_size=5))
@settings(max_examples=25, deadline=None)
def test_every_row_of_jsonl_is_a_document(tmp_path_factory, name, rows):
    lines = [
        json.dumps({"text": text, "n": 1}, ensure_ascii=n % 2 == 0) for n, text in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("rows") / name
    source = source_of(path, "\r\n".join([*lines, "", ""]).encode())
    assert texts(source) == rows
    report = inspect_source(source)
    assert (report.documents, report.characters) == (len(rows), sum(map(len, rows)))


def test_a_row_may_hold_line_separators_that_are_not_line_feeds(tmp_path):
    source = source_of(tmp_path / "a.jsonl", '{"text": "a\u2028b\x85c"}\n'.encode())
    assert texts(source) == ["a\u2028b\x85c"]


def test_an_empty_row_text_is_no_document_and_no_error(tmp_path):
    source = source_of(tmp_path / "a.jsonl", b'{"text": ""}\n{"text": "b"}\n')
    assert texts(source) == ["b"]
    assert inspect_source(source).documents == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{not json", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('["text"]', "is not a JSON object but a list"),
        ("7", "is not a JSON object but a number"),
        ('{"content": "a"}', "has no \"text\" (it has 'content')"),
        ('{"text": null}', '"text" is not a string but null'),
        ('{"text": 3}', '"text" is not a string but a number'),
        ('{"text": "a\\u0000b"}', "holds a NUL character"),
        ('{"text": "a\\ud800b"}', "the lone surrogate U+D800"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line_or_counted(tmp_path, row, problem):
    data = f'{{"text": "one"}}\n{row}\n{{"text": "three"}}\n'.encode()
    source = source_of(tmp_path / "rows.jsonl", data)
    for read in (lambda: inspect_source(source), lambda: texts(source)):
        with pytest.raises(TextError) as caught:
            read()
        assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}: line 2")
        assert problem in str(caught.value)
    report = inspect_source(source, skip_bad=True)
    assert (report.bad_rows, report.documents, report.characters) == (1, 2, 8)
    assert texts(source, skip_bad=True) == ["one", "three"]


def test_undecodable_bytes_are_an_error_with_file_line_and_offset(tmp_path):
    source = source_of(tmp_path / "a.txt", "好好好好好好好好\nab".encode() + b"\xffc")
    with pytest.raises(TextError, match=r"a\.txt: line 2, byte 27: FF is no text in utf-8"):
        inspect_source(source)


def test_a_forced_encoding_is_obeyed_and_reported(tmp_path):
    source = source_of(tmp_path / "a.txt", "Größe".encode("latin-1"))
    assert inspect_source(source, encoding="latin-1").encoding == "latin-1"
    with pytest.raises(TextError, match="line 1, byte 2: F6"):
        inspect_source(source, encoding="utf-8")


def test_an_unknown_encoding_is_an_error_before_anything_is_read(tmp_path):
    source = source_of(tmp_path / "a.txt", b"abc")
    with pytest.raises(TextError, match="no known encoding"):
        inspect_source(source, encoding="utf-88")


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz"])
def test_damaged_gzip_is_an_error_that_names_the_file(tmp_path, name):
    whole = gzip.compress(b'{"text": "abc"}\n' * 5000, mtime=0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (whole[:-20], bytes(flipped), b"no gzip at all"):
        (tmp_path / name).write_bytes(data)
        (source,) = find_sources([str(tmp_path / name)])
        with pytest.raises(TextError, match=f"{name} is damaged gzip data"):
            inspect_source(source)


@pytest.mark.parametrize(
    ("beginning", "what"), [(b"PK\x03\x04", "zip"), (b"%PDF-1.7", "PDF"), (b"\x1f\x8b", "gzip")]
)
def test_a_binary_file_under_a_text_name_is_refused(tmp_path, beginning, what):
    source = source_of(tmp_path / "a.txt", beginning + b"rest")
    with pytest.raises(TextError, match=f"a.txt is not text: it is .*{what}"):
        inspect_source(source)


@pytest.mark.parametrize("data", [b"", b" \r\n\t\n", "\u3000\n".encode()])
def test_blank_text_is_an_error(tmp_path, data):
    report = inspect_source(source_of(tmp_path / "a.txt", data))
    with pytest.raises(TextError, match=r"there is no text in .*a\.txt"):
        require_text([report])


def test_one_source_with_text_is_enough(tmp_path):
    blank = inspect_source(source_of(tmp_path / "a.txt", b""))
    text = inspect_source(source_of(tmp_path / "b.txt", b"b"))
    require_text([blank, text])
    assert (blank.documents, text.documents) == (0, 1)
    assert isinstance(text, SourceReport)


@pytest.mark.parametrize("name", ["long.txt", "long.txt.gz"])
def test_one_very_long_line_is_read_in_bounded_memory(tmp_path, name):
    megabyte = "长长的一行字没有尽头".encode() * 33_334
    path = tmp_path / name
    path.write_bytes(
        gzip.compress(megabyte, 1, mtime=0) * 24 if path.suffix == ".gz" else megabyte * 24
    )
    (source,) = find_sources([str(path)])
    tracemalloc.start()
    report = inspect_source(source)
    (document,) = documents(source, report.encoding)
    longest = max(len(piece) for piece in document.pieces())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.characters == 24 * 333_340
    assert longest <= PIECE_CHARACTERS
    assert peak < 12_000_000


def test_a_long_row_comes_in_pieces(tmp_path):
    text = "ab" * PIECE_CHARACTERS
    source = source_of(tmp_path / "a.jsonl", json.dumps({"text": text}).encode())
    (document,) = documents(source, "utf-8")
    assert [len(piece) for piece in document.pieces()] == [PIECE_CHARACTERS] * 2
