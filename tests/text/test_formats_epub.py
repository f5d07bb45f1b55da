import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cloche.errors import TextError
from cloche.text.formats import archives
from cloche.text.formats.reading import open_documents
from cloche.text.sources import find_sources

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)
ENCRYPTION = (
    '<encryption><EncryptedData xmlns="http://www.w3.org/2001/04/xmlenc#"><CipherData>'
    '<CipherReference URI="{}"/></CipherData></EncryptedData></encryption>'
)
ITEM = '<item id="i{}" href="{}" media-type="{}"/>'
XHTML = "application/xhtml+xml"


def chapter(body: str) -> str:
    return (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head>'
        f"<body>{body}</body></html>"
    )


def book(
    path: Path, chapters: Mapping[str, str | bytes], *, spine: list[int] | None = None, **more
) -> Path:
    kinds = {".jpg": "image/jpeg", ".css": "text/css"}
    items = [
        ITEM.format(n, name.replace(" ", "%20"), kinds.get(Path(name).suffix, XHTML))
        for n, name in enumerate(chapters)
    ]
    order = "".join(f'<itemref idref="i{n}"/>' for n in spine or range(len(chapters)))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        f'<item id="n" href="nav.xhtml" properties="nav" media-type="{XHTML}"/>{"".join(items)}'
        f'</manifest><spine><itemref idref="n"/>{order}</spine></package>'
    )
    files = {"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": opf}
    files |= {f"OEBPS/{name}": text for name, text in chapters.items()}
    files |= {"OEBPS/nav.xhtml": chapter("<nav>Contents</nav>")}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (files | more.get("files", {})).items():
            if text is not None:
                archive.writestr(name, text)
    return path


def read(path: Path) -> str:
    (source,) = find_sources([str(path)])
    ((name, pieces),) = open_documents(source, encoding=None)
    assert name == str(path)
    return "".join(pieces)


def test_a_book_is_one_document_with_its_chapters_in_reading_order(tmp_path):
    chapters = {
        "b.xhtml": chapter("<h1>二</h1><p>b</p>"),
        "text/a 1.xhtml": chapter("<p>a&nbsp;&mdash; &amp; &#x4e2d;<![CDATA[ x < y & z]]></p>"),
        "empty.xhtml": chapter("<img src='c.jpg'/>"),
        "c.jpg": "no text",
    }
    path = book(tmp_path / "a.epub", chapters, spine=[1, 2, 0, 3, 1])
    assert read(path) == "a\xa0— & 中 x < y & z\n\n二\n\nb"


def test_a_chapter_in_gbk_is_read_as_it_declares(tmp_path):
    text = '<?xml version="1.0" encoding="gbk"?><p>今天天气很好</p>'
    path = book(tmp_path / "a.epub", {"a.xhtml": text.encode("gbk")})
    assert read(path) == "今天天气很好"


def test_a_book_without_text_is_an_error(tmp_path):
    path = book(tmp_path / "a.epub", {"a.xhtml": chapter("<img src='a'/>")})
    with pytest.raises(TextError, match=r"a\.epub holds no text, only pictures"):
        read(path)


def test_a_locked_book_is_an_error_but_locked_fonts_are_none(tmp_path):
    for name, locked in [("OEBPS/font.otf", False), ("OEBPS/a%201.xhtml", True)]:
        files = {"META-INF/encryption.xml": ENCRYPTION.format(name)}
        path = book(tmp_path / "a.epub", {"a 1.xhtml": chapter("a")}, files=files)
        if locked:
            with pytest.raises(TextError, match=r"a\.epub is locked by its shop \(DRM"):
                read(path)
        else:
            assert read(path) == "a"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"META-INF/container.xml": None}, "META-INF/container.xml is missing"),
        ({"META-INF/container.xml": "<container/>"}, "names no book"),
        ({"OEBPS/book.opf": None}, "OEBPS/book.opf is missing"),
        ({"OEBPS/book.opf": "<package>"}, "OEBPS/book.opf is no XML"),
        ({"OEBPS/book.opf": "<package><itemref idref='c'/></package>"}, "lists no 'c'"),
        ({"OEBPS/a.xhtml": None}, "OEBPS/a.xhtml is missing"),
        ({"OEBPS/a.xhtml": "<p>a\0b</p>"}, "OEBPS/a.xhtml: line 1, byte 4: a NUL byte"),
    ],
)
def test_a_damaged_book_is_an_error_that_says_what_is_damaged(tmp_path, files, message):
    path = book(tmp_path / "a.epub", {"a.xhtml": chapter("a")}, files=files)
    with pytest.raises(TextError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_entities_of_a_book_reach_no_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    opf = f'<!DOCTYPE p [<!ENTITY x SYSTEM "{secret.as_uri()}">]><package>&x;</package>'
    path = book(tmp_path / "a.epub", {"a.xhtml": "a"}, files={"OEBPS/book.opf": opf})
    with pytest.raises(TextError, match="holds no text"):
        read(path)


def test_bytes_cut_off_or_changed_are_an_error(tmp_path):
    whole = book(tmp_path / "a.epub", {"a.xhtml": chapter("text " * 1000)}).read_bytes()
    changed = bytearray(whole)
    changed[whole.index(b"a.xhtml", 400) + 12] ^= 0xFF
    for data in (whole[:-30], b"no zip", b""):
        (tmp_path / "a.epub").write_bytes(data)
        with pytest.raises(TextError, match=r"a\.epub is damaged, or is not an EPUB"):
            read(tmp_path / "a.epub")


def test_a_zip_bomb_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER_BYTES", 100_000)
    path = book(tmp_path / "a.epub", {"a.xhtml": chapter("a" * 200_000)})
    assert path.stat().st_size < 5000
    with pytest.raises(TextError, match=r"a\.xhtml would be 200,\d+ bytes unpacked, more than 100"):
        read(path)
