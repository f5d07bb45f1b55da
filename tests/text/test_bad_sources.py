"""Texts as people have them: encodings mixed in a folder, cut off, rare, compressed and damaged."""

import gzip
import random
import tracemalloc

import pytest
import zstandard
from pypdf import PdfWriter

from cloche.errors import TextError
from cloche.text.ingest import documents, inspect_ranges, inspect_source
from cloche.text.sources import find_sources, find_with_skipped

ENGLISH = "The fox saw two stones near the river, and the old hen saw ten more.\n" * 40
SIMPLIFIED = "今天天气很好，小明和朋友们去公园里玩。\n" * 40
CANTONESE = "今天天氣很好，佢哋喺公園度玩，啲花好靚，嘅嘢都唔使買。\n" * 40
FOUR_BYTES = "他姓𠮷，住在㐀山下；她姓𡈽，住在䶮水边。今天天气很好。\n" * 40
HKSCS = "今天天氣很好，佢住喺深水埗，𨋢壞咗，𠝹親手，食咗㗎，Ê̄ê̌。\n" * 40
"""With letters of two code points, which Big5-HKSCS has as one character."""

MIXED = {
    "utf-8": (ENGLISH, "utf-8"),
    "utf-8-sig": (SIMPLIFIED, "utf-8-sig"),
    "gbk": (SIMPLIFIED, "gbk"),
    "gb18030": (FOUR_BYTES, "gb18030"),
    "big5hkscs": (HKSCS, "big5hkscs"),
    "utf-16-le": (ENGLISH, "utf-16-le"),
    "utf-16-be": (SIMPLIFIED, "utf-16-be"),
    "utf-16": (CANTONESE, "utf-16"),
}


def only(path):
    (source,) = find_sources([str(path)])
    return source


def text_in_ranges(source, inspection):
    """The text, every range read by itself, as the tasks of a preparation do."""
    return "".join(
        piece
        for number, part in enumerate(inspection.ranges)
        for document in documents(
            source, inspection.report.encoding if number == 0 else inspection.codec, part=part
        )
        for piece in document.pieces()
    )


def test_every_file_of_a_folder_has_its_own_encoding_and_what_is_no_text_is_listed(tmp_path):
    for name, (text, encoding) in MIXED.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode(encoding))
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    found = find_with_skipped([str(tmp_path)])
    assert {file.path.name for file in found.skipped} == {"picture.txt", "model.pt"}
    assert len(found.files) == len(MIXED)
    for source in found.files:
        report = inspect_source(source)
        text = MIXED[source.path.stem][0]
        assert report.encoding == source.path.stem
        (document,) = documents(source, report.encoding)
        assert "".join(document.pieces()) == text


@pytest.mark.parametrize("encoding", [*MIXED])
@pytest.mark.parametrize("every_bytes", [1, 97, 1000])
def test_a_file_in_any_encoding_is_the_same_in_ranges(tmp_path, encoding, every_bytes):
    text, codec = MIXED[encoding]
    (tmp_path / "a.txt").write_bytes(text.encode(codec))
    source = only(tmp_path / "a.txt")
    inspection = inspect_ranges(source, every_bytes=every_bytes)
    assert len(inspection.ranges) > 1
    assert text_in_ranges(source, inspection) == text


@pytest.mark.parametrize(("encoding", "most"), [("gb18030", 0x10FFFF), ("big5hkscs", 0x2FFFF)])
def test_every_character_of_the_large_chinese_encodings_is_read(tmp_path, encoding, most):
    """Also across the blocks that a file is read in: the text is larger than several of them."""
    characters = []
    for code in range(0x80, most + 1, 1 if most < 0x30000 else 7):
        try:
            chr(code).encode(encoding)
        except UnicodeEncodeError:
            continue
        characters.append(chr(code))
    random.Random(1).shuffle(characters)
    text = "".join(f"{c}\n" if n % 30 == 0 else c for n, c in enumerate(characters * 5))
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    source = only(tmp_path / "a.txt")
    inspection = inspect_ranges(source, encoding=encoding, every_bytes=50_000)
    assert inspection.report.characters == len(text)
    assert text_in_ranges(source, inspection) == text


def test_one_four_byte_character_in_a_large_gbk_file_is_found(tmp_path):
    text = SIMPLIFIED * 200 + "𠮷\n" + SIMPLIFIED
    (tmp_path / "a.txt").write_bytes(text.encode("gb18030"))
    report = inspect_source(only(tmp_path / "a.txt"))
    assert (report.encoding, report.characters) == ("gb18030", len(text))


def test_one_hkscs_character_in_a_large_big5_file_is_found(tmp_path):
    text = "今天天氣很好，小明和朋友們去公園裡玩。\n" * 8000 + "深水埗\n"
    (tmp_path / "a.txt").write_bytes(text.encode("big5hkscs"))
    report = inspect_source(only(tmp_path / "a.txt"))
    assert (report.encoding, report.characters) == ("big5hkscs", len(text))


def test_utf16_without_a_mark_that_is_cut_in_half_a_character_is_told(tmp_path):
    (tmp_path / "a.txt").write_bytes(SIMPLIFIED.encode("utf-16-le")[:-1])
    with pytest.raises(TextError, match=r"a\.txt: line 40, byte 1598: 0A is no text in utf-16-le"):
        inspect_source(only(tmp_path / "a.txt"))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "behind"])
def test_damaged_compressed_text_is_an_error_and_never_less_text(tmp_path, ending, pack, damage):
    chance = random.Random(2)
    text = "".join(chr(chance.randrange(32, 127)) for _ in range(20_000))
    packed = bytearray(pack(text.encode()))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "flipped":
        if ending == ".zst":
            packed = bytearray(
                zstandard.ZstdCompressor(write_checksum=True).compress(text.encode())
            )
        packed[len(packed) // 2] ^= 4
    elif damage == "other":
        packed[:] = b"plain text under the wrong name"
    else:
        packed += b"left behind by a download that went wrong"
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(packed)
    what = "gzip" if ending == ".gz" else "zstd"
    with pytest.raises(TextError, match=rf"a\.txt{ending} is damaged {what} data.*again"):
        inspect_source(only(path))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_single_line_of_30_megabytes_takes_the_memory_of_a_few_blocks(tmp_path, ending):
    data = (ENGLISH.replace("\n", " ") * 12_000).encode()[:30_000_000]
    pack = {"": bytes, ".gz": lambda d: gzip.compress(d, 1, mtime=0), ".zst": zstandard.compress}[
        ending
    ]
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(pack(data))
    del data
    source = only(path)
    tracemalloc.start()
    try:
        inspection = inspect_ranges(source, every_bytes=4_000_000)
        size = sum(
            len(piece)
            for part in inspection.ranges
            for document in documents(source, inspection.codec, part=part)
            for piece in document.pieces()
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == inspection.report.characters == 30_000_000
    assert peak < 12_000_000


def test_a_pdf_of_pictures_among_texts_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.txt").write_text(ENGLISH)
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    writer.write(tmp_path / "scan.pdf")
    files = find_sources([str(tmp_path)])
    assert [file.path.name for file in files] == ["a.txt", "scan.pdf"]
    with pytest.raises(TextError, match=r"scan\.pdf holds no text.*OCR"):
        inspect_source(files[1])
