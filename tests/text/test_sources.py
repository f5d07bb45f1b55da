import gzip
import os
from pathlib import Path

import pytest
import zstandard

from cloche.errors import TextError
from cloche.text.binary import HEAD_BYTES
from cloche.text.sources import SourceFile, find_sources, find_with_skipped, refuse_binary


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.md", "deep/c.jsonl", "deep/er/d.txt.gz", "E.TXT", "notes.rst"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    for name in (".hidden.txt", ".git/e.txt", "model.pt", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, **options) -> list[str]:
    return [source.name for source in find_sources(given, **options)]


def test_a_folder_gives_its_visible_text_files_at_any_depth_in_order(books):
    assert names(".") == ["E.TXT", "a.md", "b.txt", "deep/c.jsonl", "deep/er/d.txt.gz"]


def test_files_keep_the_order_they_are_named_in_and_count_once(books):
    assert names("b.txt", "a.md", "./b.txt", str(books / "a.md"), "deep") == [
        *("b.txt", "a.md", "deep/c.jsonl", "deep/er/d.txt.gz")
    ]


def test_a_link_to_a_file_named_already_counts_once(books):
    (books / "link.txt").symlink_to(books / "b.txt")
    assert names("b.txt", "link.txt") == ["b.txt"]


def test_patterns_match_files_in_order(books):
    assert names("*.txt", "**/*.jsonl") == ["b.txt", "deep/c.jsonl"]


def test_a_name_with_brackets_that_exists_is_a_file_and_no_pattern(books):
    (books / "book[1].txt").write_text("text")
    assert names("book[1].txt") == ["book[1].txt"]


@pytest.mark.parametrize(
    ("name", "kind", "compression"),
    [
        ("a.md", "text", "none"),
        ("deep/c.jsonl", "jsonl", "none"),
        ("deep/er/d.txt.gz", "text", "gzip"),
        ("a.jsonl.zst", "jsonl", "zstd"),
        ("a.HTM", "html", "none"),
        ("a.tsv.gz", "csv", "gzip"),
        ("a.parquet", "parquet", "none"),
        ("a.pdf", "pdf", "none"),
        ("dump.zst", "text", "zstd"),
    ],
)
def test_format_and_compression_are_told_by_the_ending(books, name, kind, compression):
    (books / name).touch()
    (source,) = find_sources([name])
    assert (source.format, source.compression) == (kind, compression)
    assert source.rows == (kind == "jsonl")
    assert source.compressed == (compression != "none")
    assert source.has_encoding == (kind in ("text", "jsonl", "html", "csv"))
    assert source.splittable == (kind in ("text", "jsonl") and compression == "none")


def test_a_folder_is_searched_for_every_format_that_is_read(tmp_path):
    every = ["a.csv", "b.docx", "c.epub", "d.htm", "e.html.zst", "f.parquet", "g.pdf", "h.tsv.gz"]
    for name in every:
        (tmp_path / name).touch()
    assert [source.path.name for source in find_sources([str(tmp_path)])] == every


def test_another_ending_can_be_named_outright(books):
    assert names("notes.rst") == ["notes.rst"]


def test_standard_input_is_the_file_it_was_kept_in(books):
    (source,) = find_sources(["-"], stdin_file=books / "b.txt")
    assert (source.name, source.path) == ("-", books / "b.txt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pt", r"model.pt is not text: .pt is a binary format"),
        ("picture.png", r"\.png is a binary format"),
        ("book.pdf.gz", r"\.pdf\.gz is a binary format"),
        ("*.p[nt]*", r"no file that matches '\*\.p\[nt\]\*' holds text\. Left out: model\.pt \("),
        ("empty", "the folder empty holds no text; files ending in .txt, .md, .jsonl"),
        ("bb.txt", r"bb.txt does not exist; did you mean b.txt\?"),
        ("zzzzz", r"zzzzz does not exist in \./"),
        ("nowhere/b.txt", "nowhere/b.txt does not exist, nor does the folder nowhere"),
        ("*.tex", r"no file matches '\*.tex'"),
        ("-", "- means standard input"),
    ],
)
def test_a_name_that_leads_to_no_text_is_an_error(books, name, message):
    (books / "empty").mkdir()
    (books / "empty" / "model.bin").write_text("")
    (books / "book.pdf.gz").write_text("")
    with pytest.raises(TextError, match=message):
        find_sources([name])


def test_no_name_at_all_is_an_error():
    with pytest.raises(TextError, match="no text was named"):
        find_sources([])


def test_a_file_that_cannot_be_opened_is_an_error(books):
    (source,) = find_sources(["b.txt"])
    (books / "b.txt").unlink()
    with pytest.raises(TextError, match=r"b\.txt cannot be read"):
        source.open_bytes()


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
CHINESE = "今天天气很好，小明和朋友们去公园里玩。\n"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("picture.txt", PICTURE, "not text: a picture (PNG)"),
        ("picture.txt.gz", gzip.compress(PICTURE, mtime=0), "not text: a picture (PNG)"),
        ("picture.md.zst", zstandard.compress(PICTURE), "not text: a picture (PNG)"),
        ("packed.txt", gzip.compress(b"a", mtime=0), "not text: gzip data; name it .txt.gz"),
        ("sound.txt", b"RIFF\0\0\1\2WAVE" * 9, "not text: sound, a film or a picture (RIFF)"),
        ("nul.txt", b"abc\0def", "not text: binary data (a NUL byte at 3), and no UTF-16"),
        ("noise.txt", bytes(range(1, 32)) * 99 + b"\xff", "not text: binary data (its first bytes"),
        ("model.pt", b"text", ".pt is a binary format that is not read"),
        ("~$letter.docx", b"text", "the lock of a document that is open in Office"),
    ],
)
def test_binary_files_of_a_folder_are_left_out_and_listed(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "a.txt").write_text("text")
    for given in (str(tmp_path), str(tmp_path / "*")):
        found = find_with_skipped([given])
        assert [source.path.name for source in found.files] == ["a.txt"]
        assert [skipped.path for skipped in found.skipped] == [tmp_path / name]
        assert found.skipped[0].reason.startswith(reason)


def test_links_to_nothing_and_pipes_are_left_out_and_listed(books):
    (books / "link.txt").symlink_to(books / "nothing")
    os.mkfifo(books / "pipe.txt")
    reasons = {str(file.path): file.reason for file in find_with_skipped(["."]).skipped}
    assert reasons["link.txt"] == "a link to nothing"
    assert reasons["pipe.txt"] == "no ordinary file"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        "Hello".encode("utf-16-le"),
        (CHINESE * 900).encode("utf-16-le"),
        (CHINESE * 900).encode("utf-16-be"),
        "Hello".encode("utf-16"),
        (CHINESE * 900).encode("gbk"),
        (CHINESE * 900).encode()[: HEAD_BYTES * 2 + 1],
        b"x" * HEAD_BYTES + b"\0",
        b"\x1b[31mred\x1b[0m\f\n",
        b"MZ is how this text begins, and BMW, too",
        b"Gr\xf6\xdfe",
    ],
)
def test_text_in_any_encoding_is_not_taken_for_binary(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    assert find_with_skipped([str(tmp_path)]).skipped == ()


def test_damaged_compressed_files_of_a_folder_are_not_left_out(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(b"no gzip")
    (tmp_path / "b.txt.zst").write_bytes(b"no zstd")
    assert len(find_sources([str(tmp_path)])) == 2


def test_a_folder_in_which_all_is_binary_says_what_was_left_out(tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.png").touch()
    with pytest.raises(TextError, match=r"Left out: .*0\.png \(\.png is .*\) and 2 more"):
        find_sources([str(tmp_path)])


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", "deep"))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(TextError, match="the folder deep cannot be read: Permission denied"):
        find_sources([str(tmp_path)])


@pytest.mark.parametrize("beginning", [b"\x89PNG", b"PK\x03\x04", b"%PDF-1.7", b"\x28\xb5\x2f\xfd"])
def test_a_binary_file_named_outright_is_refused(tmp_path, beginning):
    (tmp_path / "a.txt").write_bytes(beginning + b"rest")
    (source,) = find_sources([str(tmp_path / "a.txt")])
    with pytest.raises(TextError, match=r"a\.txt is not text: it is (a|zstd)"):
        refuse_binary(source)


def test_ranges_of_bytes_joined_are_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(100)))
    (source,) = find_sources([str(tmp_path / "a.txt")])
    assert read(source, 10, 20) == bytes(range(10, 20))
    assert read(source, 0, 0) == b""
    assert read(source, 90) == bytes(range(90, 100))
    assert read(source, 90, 200) == bytes(range(90, 100))
    with source.open_bytes(10, 20) as stream:
        assert [stream.read(7), stream.read(7), stream.read(7)] == [
            *(bytes(range(10, 17)), bytes(range(17, 20)), b"")
        ]


def test_there_are_no_ranges_of_compressed_files_nor_before_the_beginning(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text", mtime=0))
    source = SourceFile("a.txt.gz", tmp_path / "a.txt.gz", "text", "gzip")
    for start, stop in ((1, None), (0, 3)):
        with pytest.raises(ValueError, match=r"a\.txt\.gz is compressed: it has no ranges"):
            source.open_bytes(start, stop)
    plain = SourceFile("a.txt", tmp_path / "a.txt.gz")
    with pytest.raises(ValueError, match="no range of bytes: 5 to 3"):
        plain.open_bytes(5, 3)


SKIPPABLE_BYTES = 11


def zstd_frames(*texts: bytes) -> bytes:
    """Frames with and without size and checksum, and one that holds no data."""
    packers = [
        zstandard.ZstdCompressor(write_checksum=True),
        zstandard.ZstdCompressor(write_content_size=False),
        zstandard.ZstdCompressor(level=19),
    ]
    skippable = (0x184D2A53).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    assert len(skippable) == SKIPPABLE_BYTES
    frames = [packers[n % 3].compress(text) for n, text in enumerate(texts)]
    return skippable.join(frames)


def test_zstd_of_several_frames_is_read_whole(tmp_path):
    texts = [b"one" * 100_000, b"", os.urandom(300_000), b"x" * 1_000_000]
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstd_frames(*texts))
    source = SourceFile("a", path, "text", "zstd")
    assert read(source) == b"".join(texts)
    with source.open_bytes() as stream:
        blocks = list(iter(lambda: stream.read(70_000), b""))
    assert b"".join(blocks) == b"".join(texts)
    assert max(map(len, blocks)) == 70_000


def test_zstd_that_ends_early_at_any_byte_is_an_error(tmp_path):
    path = tmp_path / "a.txt.zst"
    first, whole = zstd_frames(b"one" * 50), zstd_frames(b"one" * 50, os.urandom(99))
    wholes = (len(first), len(first) + SKIPPABLE_BYTES)  # shorter, but at the end of a frame
    source = SourceFile("a.txt.zst", path, "text", "zstd")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in wholes:
            assert read(source) == b"one" * 50
        else:
            with pytest.raises(TextError, match=r"a\.txt\.zst is damaged zstd data"):
                read(source)


def test_zstd_made_with_a_long_window_is_read(tmp_path):
    window_log, text = 28, b"text of a long window"
    descriptor = bytes([(window_log - 10) << 3])  # RFC 8878, section 3.1.1.1.2
    block = (len(text) << 3 | 1).to_bytes(3, "little") + text
    data = (0xFD2FB528).to_bytes(4, "little") + b"\0" + descriptor + block
    assert zstandard.get_frame_parameters(data).window_size == 1 << window_log
    (tmp_path / "a.zst").write_bytes(data)
    assert read(SourceFile("a.zst", tmp_path / "a.zst", "text", "zstd")) == text


@pytest.mark.parametrize("data", [b"no zstd at all", zstd_frames(b"text") + b"more"])
def test_damaged_zstd_is_an_error(tmp_path, data):
    (tmp_path / "a.zst").write_bytes(data)
    with pytest.raises(TextError, match=r"a\.zst is damaged zstd data"):
        read(SourceFile("a.zst", tmp_path / "a.zst", "text", "zstd"))


def read(source: SourceFile, start: int = 0, stop: int | None = None) -> bytes:
    with source.open_bytes(start, stop) as stream:
        return stream.read()
