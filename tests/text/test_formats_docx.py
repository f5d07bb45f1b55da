import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from PIL import Image

from cloche.errors import TextError
from cloche.text.formats import archives
from cloche.text.formats.reading import open_documents
from cloche.text.sources import find_sources

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def read(path: Path) -> str:
    (source,) = find_sources([str(path)])
    ((name, pieces),) = open_documents(source, encoding=None)
    assert name == str(path)
    return "".join(pieces)


def test_paragraphs_and_tables_come_in_their_order(tmp_path):
    document = docx.Document()
    document.add_heading("标题", level=1)
    document.add_paragraph("one\ttwo ").add_run("three\nfour")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("a", "", "c\n\nd", "e"), strict=True):
        cell.text = text
    document.add_paragraph("")
    document.add_paragraph("last")
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == "标题\none\ttwo three\nfour\na\nc\n\nd\te\n\nlast"


RUN = "<w:r><w:t>{}</w:t></w:r>"
FIELD = f"<w:sdt {W}><w:sdtContent><w:p>{RUN.format('field')}</w:p></w:sdtContent></w:sdt>"
BOX = (
    f"<mc:AlternateContent {MC}><mc:Choice Requires='w'>{RUN.format('box')}</mc:Choice>"
    f"<mc:Fallback>{RUN.format('box')}</mc:Fallback></mc:AlternateContent>"
)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (f"<w:p {W}><w:ins>{RUN.format('new')}</w:ins></w:p>", "new"),
        (f"<w:p {W}><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>", ""),
        (f"<w:p {W}><w:moveFrom>{RUN.format('old')}</w:moveFrom></w:p>", ""),
        (f"<w:p {W}><w:hyperlink>{RUN.format('link')}</w:hyperlink></w:p>", "link"),
        (FIELD, "field"),
        (f"<w:p {W}>{BOX}</w:p>", "box"),
        (f"<w:p {W}><w:r><w:t>a</w:t><w:noBreakHyphen/><w:t>b</w:t></w:r></w:p>", "a\u2011b"),
    ],
)
def test_no_words_are_lost_and_none_come_twice(tmp_path, xml, text):
    document = docx.Document()
    document.element.body.insert(0, parse_xml(xml))
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == text


def test_a_damaged_or_locked_document_is_an_error(tmp_path):
    path = tmp_path / "a.docx"
    docx.Document().save(str(path))
    whole = path.read_bytes()
    for data in (b"", b"no zip", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(TextError, match=r"a\.docx is damaged, or is not a Word document"):
            read(path)
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(
        TextError, match=r"a\.docx is not a Word document .* locked with a password"
    ):
        read(path)


def test_an_archive_of_something_else_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(TextError, match=r"a\.docx is damaged, or no Word document"):
        read(tmp_path / "a.docx")


def test_a_document_without_a_body_is_an_error(tmp_path):
    document = docx.Document()
    document.element.remove(document.element.body)
    document.save(str(tmp_path / "a.docx"))
    with pytest.raises(TextError, match=r"a\.docx is damaged: it has no body"):
        read(tmp_path / "a.docx")


def test_a_zip_bomb_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER_BYTES", 1000)
    docx.Document().save(str(tmp_path / "a.docx"))
    with pytest.raises(TextError, match=r"bytes unpacked, more than 1,000"):
        read(tmp_path / "a.docx")


def test_pictures_are_not_unpacked_and_the_text_of_all_parts_has_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.docx"
    document = docx.Document()
    document.add_paragraph("text beside pictures")
    for number in range(4):
        picture = Image.new("RGB", (8, 8), (number, 0, 0))
        picture.save(str(tmp_path / "a.png"))
        document.add_picture(str(tmp_path / "a.png"))
    document.save(str(path))
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    texts = sum(m.file_size for m in members if m.filename.endswith((".xml", ".rels")))
    pictures = [m.filename for m in members if m.filename.startswith("word/media/")]
    assert len(pictures) == 4
    opened: list[str] = []
    whole = zipfile.ZipFile.open

    def watched(self, name, *args, **kwargs):
        member = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        mode = kwargs.get("mode", args[0] if args else "r")
        if mode == "r" and member.file_size:
            opened.append(member.filename)
        return whole(self, name, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", watched)
    monkeypatch.setattr(archives, "TOTAL_BYTES", texts)
    assert "text beside pictures" in read(path)
    assert "word/document.xml" in opened
    assert not set(pictures) & set(opened)
    monkeypatch.setattr(archives, "TOTAL_BYTES", texts - 1)
    with pytest.raises(TextError, match=rf"a\.docx: its \d+ text parts would be {texts:,} bytes"):
        read(path)
