import hashlib
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TextError
from cloche.text.cutting import safe_pieces
from cloche.text.ingest import documents, inspect_ranges, inspect_source
from cloche.text.ranges import concrete_codec, cut_places
from cloche.text.sources import find_sources

CHINESE = (
    "今天天气很好，小明和朋友们去公园里玩。花开了，鸟在唱歌。\n\n第二天下雨了\r\n他们在家看书。\n"
)
ENGLISH = "The fox saw two stones near the river.\r\n\r\nThe old hen, seven years old,\nsang.\n"
ENCODINGS = ("utf-8", "utf-8-sig", "gbk", "gb18030", "big5", "utf-16", "utf-16-le", "utf-32")


def source_of(path, data):
    path.write_bytes(data)
    (source,) = find_sources([str(path)])
    return source


def texts_of_ranges(source, inspection):
    return [
        "".join(
            piece
            for document in documents(source, inspection.codec, part=part)
            for piece in document.pieces()
        )
        for part in inspection.ranges
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_ranges_joined_are_the_text_in_any_encoding(tmp_path, encoding):
    text = (CHINESE if encoding != "big5" else "今天天氣很好，他說。\n") * 40 + ENGLISH * 20
    source = source_of(tmp_path / "a.txt", text.encode(encoding))
    inspection = inspect_ranges(source, encoding=encoding, every_bytes=300)
    assert len(inspection.ranges) > 5
    parts = texts_of_ranges(source, inspection)
    assert "".join(parts) == text
    assert [part.characters for part in inspection.ranges] == list(map(len, parts))
    lines = [1 + text[: sum(map(len, parts[:i]))].count("\n") for i in range(len(parts))]
    assert [part.line for part in inspection.ranges] == lines
    assert [part.documents for part in inspection.ranges] == [1] + [0] * (len(parts) - 1)
    assert [part.ends for part in inspection.ranges] == [False] * (len(parts) - 1) + [True]
    assert inspection.report == inspect_source(source, encoding=encoding)
    assert inspection.report.utf8_sha256 == hashlib.sha256(text.encode()).hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            ["fox ", "狐狸", "，", "\n", "\r\n", " ", "9", "。", "\t", "é", "😀", "..."]
        ),
        min_size=30,
        max_size=300,
    ).map("".join)
)
def test_a_range_begins_only_where_safe_pieces_may_begin(tmp_path_factory, text):
    source = source_of(tmp_path_factory.mktemp("r") / "a.txt", text.encode())
    inspection = inspect_ranges(source, encoding="utf-8", every_bytes=20)
    parts = texts_of_ranges(source, inspection)
    assert "".join(parts) == text
    for before, after in pairwise(parts):
        together = list(safe_pieces([before + after], size=1, most=None))
        assert before in ["".join(together[:i]) for i in range(len(together) + 1)]


def test_rows_are_cut_between_rows(tmp_path):
    rows = [f"number {i}: {ENGLISH}" for i in range(50)]
    data = "".join(json.dumps({"text": row}) + "\n" for row in rows).encode()
    source = source_of(tmp_path / "a.jsonl", data)
    inspection = inspect_ranges(source, every_bytes=1000)
    assert len(inspection.ranges) > 3
    found = [
        ("".join(document.pieces()), document.name)
        for part in inspection.ranges
        for document in documents(source, inspection.codec, part=part)
    ]
    assert [text for text, _ in found] == rows
    assert [name for _, name in found] == [f"{source.name}, line {i + 1}" for i in range(50)]
    assert sum(part.documents for part in inspection.ranges) == 50
    assert all(part.ends for part in inspection.ranges)


def test_what_is_no_text_is_told_with_its_place_in_the_file_not_in_the_range(tmp_path):
    data = ENGLISH.encode() * 30
    broken = data[:1500] + b"\xff" + data[1500:]
    source = source_of(tmp_path / "a.txt", broken)
    line = broken[:1500].count(b"\n") + 1
    with pytest.raises(TextError, match=f"line {line}, byte 1500: FF"):
        inspect_ranges(source, encoding="utf-8", every_bytes=200)


def test_a_single_line_and_compressed_files_are_not_cut(tmp_path):
    line = source_of(tmp_path / "a.txt", b"word " * 1000)
    assert cut_places(line, "utf-8", every_bytes=100) == []
    assert len(inspect_ranges(line, encoding="utf-8", every_bytes=100).ranges) == 1


def test_utf_16_is_never_cut_inside_a_character(tmp_path):
    # U+0A0A and U+010A hold the byte of a line end
    random.seed(3)
    text = "".join(random.choice("\u0a0a\u010aab \n") for _ in range(3000))
    source = source_of(tmp_path / "a.txt", text.encode("utf-16"))
    inspection = inspect_ranges(source, encoding="utf-16", every_bytes=100)
    assert len(inspection.ranges) > 3
    assert "".join(texts_of_ranges(source, inspection)) == text


def test_the_byte_order_is_written_into_the_codec(tmp_path):
    source = source_of(tmp_path / "a.txt", "文".encode("utf-16"))
    assert concrete_codec(source, "utf-16") == "utf-16-le"
