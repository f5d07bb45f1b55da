from pathlib import Path

import pypdf
import pytest

from cloche.errors import TextError
from cloche.text.formats.reading import open_documents
from cloche.text.sources import find_sources


def pdf_bytes(*pages: str) -> bytes:
    """A PDF whose pages show these texts, drawn by operators as any printer driver writes them."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        lines = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {lines} ET" if text else ""
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * n} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return data + f"{tail}startxref\n{len(data)}\n%%EOF\n".encode()


def read(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    (source,) = find_sources([str(path)])
    ((name, pieces),) = open_documents(source, encoding=None)
    assert name == str(path)
    return "".join(pieces)


def locked(data: bytes, *, password: str, path: Path) -> bytes:
    path.write_bytes(data)
    writer = pypdf.PdfWriter(clone_from=path)
    writer.encrypt(password, "owner", algorithm="RC4-128")
    writer.write(path)
    return path.read_bytes()


def test_pages_are_one_document_with_blank_lines_between_them(tmp_path):
    data = pdf_bytes("First line\nsecond line", "", "Third page")
    assert read(tmp_path / "a.pdf", data) == "First line\nsecond line\n\nThird page"


def test_a_pdf_of_pictures_says_that_it_needs_its_text_recognised(tmp_path):
    with pytest.raises(TextError, match=r"a\.pdf holds no text, only pictures of pages.*OCR"):
        read(tmp_path / "a.pdf", pdf_bytes("", ""))


def test_a_pdf_with_a_password_is_an_error_and_one_with_an_empty_one_is_read(tmp_path):
    data, path = pdf_bytes("open"), tmp_path / "a.pdf"
    assert read(path, locked(data, password="", path=path)) == "open"
    with pytest.raises(TextError, match=r"a\.pdf is locked with a password"):
        read(path, locked(data, password="secret", path=path))


@pytest.mark.parametrize("data", [b"", b"no pdf at all", b"%PDF-1.4\n1 0 obj\n<<"])
def test_a_damaged_pdf_is_an_error(tmp_path, data):
    with pytest.raises(TextError, match=r"a\.pdf is damaged, or no PDF"):
        read(tmp_path / "a.pdf", data)


def test_a_pdf_whose_table_of_places_is_wrong_is_mended_without_a_word(tmp_path, caplog, capfd):
    data = pdf_bytes("text").replace(b"%PDF-1.4\n", b"%PDF-1.4\n% one more line\n")
    assert read(tmp_path / "a.pdf", data) == "text"
    assert not caplog.records
    assert capfd.readouterr().err == ""


def test_what_goes_wrong_on_a_page_names_the_page(tmp_path, monkeypatch):
    def fail(_: object) -> str:
        raise KeyError("/Font")

    monkeypatch.setattr(pypdf.PageObject, "extract_text", fail)
    with pytest.raises(TextError, match=r"a\.pdf: page 1 is damaged"):
        read(tmp_path / "a.pdf", pdf_bytes("a"))


@pytest.mark.parametrize(
    ("extracted", "problem"), [("a\0b", "a NUL character"), ("a\udc00", "lone surrogate")]
)
def test_signs_without_meaning_are_an_error(tmp_path, monkeypatch, extracted, problem):
    monkeypatch.setattr(pypdf.PageObject, "extract_text", lambda _: extracted)
    with pytest.raises(TextError, match=f"page 1 holds .*{problem}"):
        read(tmp_path / "a.pdf", pdf_bytes("a"))


def test_characters_that_come_in_halves_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(pypdf.PageObject, "extract_text", lambda _: "\ud835\udc65")
    assert read(tmp_path / "a.pdf", pdf_bytes("a")) == "𝑥"
