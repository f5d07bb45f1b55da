"""The text of PDF files, page by page, in the order and the lines that the file stores it in."""

import logging
from collections.abc import Iterator
from typing import Any

from cloche.errors import TextError
from cloche.text.extras import missing_library
from cloche.text.formats.layout import text_problem
from cloche.text.sources import SourceFile


def pdf_documents(source: SourceFile) -> Iterator[tuple[str, Iterator[str]]]:
    """The one document of a PDF: its name, and its pages with blank lines between them.

    Reading raises TextError where the file is damaged, locked with a password, or holds pictures
    of pages instead of text.
    """
    yield source.name, _pages(source)


def _pages(source: SourceFile) -> Iterator[str]:
    name = source.name
    with source.open_bytes():  # tells a file that cannot be opened
        reader = _open(source)
    empty = True
    for number in range(1, _page_count(reader, name=name) + 1):
        text = _page_text(reader, number, name=name)
        if text:
            yield text if empty else f"\n\n{text}"
            empty = False
    if empty:
        raise TextError(
            f"{name} holds no text, only pictures of pages, as scanners make them; recognise its "
            f"text (OCR) first, with a tool such as ocrmypdf"
        )


def _open(source: SourceFile) -> Any:
    """The reader of a PDF, unlocked where its password is empty, as that of many is."""
    name = source.name
    try:
        import pypdf
        from pypdf.errors import DependencyError
    except ImportError as exc:
        raise missing_library("pypdf", name=name, what="a PDF") from exc
    # What pypdf mends by itself it tells without the file's name: no news to anybody.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = pypdf.PdfReader(source.path)
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError as exc:
        raise TextError(
            f"{name} is encrypted, and reading that needs cryptography: pip install cryptography"
        ) from exc
    except Exception as exc:  # a damaged file makes pypdf raise errors of any kind
        raise _damaged(name, exc) from exc
    if locked:
        raise TextError(f"{name} is locked with a password; save a copy without one")
    return reader


def _page_count(reader: Any, *, name: str) -> int:
    try:
        return len(reader.pages)
    except Exception as exc:  # as above
        raise _damaged(name, exc) from exc


def _page_text(reader: Any, number: int, *, name: str) -> str:
    try:
        text: str = reader.pages[number - 1].extract_text()
    except Exception as exc:  # as above
        raise _damaged(f"{name}: page {number}", exc) from exc
    # Characters beyond U+FFFF may come in halves, as UTF-16 stores them.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass").strip()
    if problem := text_problem(text):
        raise TextError(
            f"{name}: page {number} {problem}: a font does not say what its signs mean. Make the "
            f"PDF anew from its source, or leave it out"
        )
    return text


def _damaged(place: str, exc: Exception) -> TextError:
    return TextError(f"{place} is damaged, or no PDF ({exc}); open and save it anew, or fetch it")
