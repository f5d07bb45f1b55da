"""The text of EPUB books: the chapters in reading order, each read as a web page.

The order is that of the package document's spine; the table of contents and pictures are left out.
https://www.w3.org/TR/epub-33/#sec-ocf and https://www.w3.org/TR/epub-33/#sec-spine-elem
"""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from cloche.errors import TextError
from cloche.text.encodings import decode_blocks
from cloche.text.extras import missing_library
from cloche.text.formats.archives import open_archive
from cloche.text.formats.html import html_encoding, xhtml_text
from cloche.text.sources import SourceFile

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")


def epub_documents(source: SourceFile) -> Iterator[tuple[str, Iterator[str]]]:
    """The one document of a book: its name, and its chapters with blank lines between them.

    Reading raises TextError where the book is damaged, locked (DRM), or holds no text.
    """
    yield source.name, _book(source)


def _book(source: SourceFile) -> Iterator[str]:
    name, empty = source.name, True
    with open_archive(source.path, name=name, kind="an EPUB") as archive:
        chapters = _chapters(archive, name=name)
        locked = _locked(archive, name=name)
        for chapter in chapters:
            if chapter in locked:
                raise TextError(
                    f"{name} is locked by its shop (DRM: {chapter} is encrypted), so it cannot be "
                    f"read; take a copy without"
                )
            text = "".join(_chapter(archive, chapter, name=name))
            if text.strip():
                yield text if empty else f"\n\n{text}"
                empty = False
    if empty:
        raise TextError(
            f"{name} holds no text, only pictures or empty pages; recognise its text (OCR) first"
        )


def _chapter(archive: zipfile.ZipFile, member: str, *, name: str) -> Iterator[str]:
    place = f"{name}: {member}"
    data = _member(archive, member, name=name)
    encoding = html_encoding(lambda: io.BytesIO(data), name=place)
    with io.BytesIO(data) as stream:
        page = "".join(decode_blocks(stream, encoding, name=place))
    return xhtml_text(page, name=place)


def _chapters(archive: zipfile.ZipFile, *, name: str) -> list[str]:
    """Names of the pages in reading order, each once."""
    container = _xml(archive, _CONTAINER, name=name)
    root = next((file.get("full-path") for file in container.iter("{*}rootfile")), None)
    if root is None:
        raise TextError(f"{name} is not an EPUB: {_CONTAINER} names no book")
    package = _xml(archive, root, name=name)
    items = {item.get("id"): item for item in package.iter("{*}item")}
    chapters = []
    for itemref in package.iter("{*}itemref"):
        item = items.get(itemref.get("idref"))
        if item is None:
            raise TextError(f"{name} is damaged: {root} lists no {itemref.get('idref')!r}")
        if item.get("media-type") in _PAGES and "nav" not in (item.get("properties") or "").split():
            place = posixpath.join(posixpath.dirname(root), unquote(item.get("href") or ""))
            chapters.append(posixpath.normpath(place))
    return list(dict.fromkeys(chapters))


def _locked(archive: zipfile.ZipFile, *, name: str) -> set[str]:
    """Names of the files whose content is encrypted (of many books, only the fonts are)."""
    if _ENCRYPTION not in archive.namelist():
        return set()
    references = _xml(archive, _ENCRYPTION, name=name).iter("{*}CipherReference")
    return {posixpath.normpath(unquote(file.get("URI") or "")) for file in references}


def _xml(archive: zipfile.ZipFile, member: str, *, name: str) -> Any:
    """The root element of a member; entities are not resolved, and nothing outside is read."""
    try:
        from lxml.etree import XMLParser, XMLSyntaxError, fromstring
    except ImportError as exc:
        raise missing_library("lxml", name=name, what="an EPUB") from exc
    parser = XMLParser(resolve_entities=False, no_network=True)
    try:
        return fromstring(_member(archive, member, name=name), parser)
    except XMLSyntaxError as exc:
        raise TextError(f"{name} is damaged: {member} is no XML ({exc})") from exc


def _member(archive: zipfile.ZipFile, member: str, *, name: str) -> bytes:
    try:
        return archive.read(member)
    except KeyError as exc:
        raise TextError(f"{name} is damaged, or is not an EPUB: {member} is missing") from exc
