"""The text of web pages, read with lxml block by block, so that a page of any size fits.

Kept are the words in the order they stand in, with line ends where a browser puts them, tabs
between the cells of a table, and `<pre>` as it is. Left out are scripts, styles, what is shown only
without scripts, and the title, which pages repeat as their first heading.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cloche.errors import TextError
from cloche.text.detection import OpenBytes, detect_encoding
from cloche.text.encodings import (
    BLOCK_BYTES,
    BYTE_ORDER_MARKS,
    decode_blocks,
    decoder_name,
)
from cloche.text.extras import missing_library
from cloche.text.formats.layout import Layout, checked

_LEFT_OUT = (
    *("script", "style", "noscript", "template", "title", "iframe", "audio", "video", "canvas"),
    *("select", "datalist"),
)
_PARAGRAPHS = (
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "dl", "table"),
    *("figure", "hr"),
)
_BLOCKS = (
    *("address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog", "dir"),
    *("div", "dt", "fieldset", "figcaption", "footer", "form", "header", "hgroup", "html"),
    *("legend", "li", "main", "menu", "nav", "search", "section", "summary", "tbody", "tfoot"),
    "thead",
)
_LINE_ENDS = {**dict.fromkeys(_PARAGRAPHS, 2), **dict.fromkeys(_BLOCKS, 1)}
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_DECLARED = re.compile(
    rb"""<meta[^>]{1,1000}?charset\s*=\s*["']?\s*([\w.:-]+)"""
    rb"""|<\?xml[^>]{1,200}?encoding\s*=\s*["']([\w.:-]+)""",
    re.IGNORECASE,
)
_DECLARED_WITHIN = 4096  # bytes; browsers look at 1024
_SURELY_UTF8 = 8  # characters of several bytes
# As browsers read these labels: https://encoding.spec.whatwg.org/#names-and-labels
_LABELS = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be", "utf-32"), "utf-8"),
}


def html_encoding(open_bytes: OpenBytes, *, name: str) -> str:
    """Encoding of a page: its byte order mark, else what it declares if all of it decodes so.

    A page that is UTF-8 all through is that, whatever it declares, as servers often convert pages
    without telling them. Where nothing is declared, or wrongly, the encoding is detected.
    """
    with open_bytes() as stream:
        head = stream.read(_DECLARED_WITHIN)
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    declared = _declared(head)
    if declared is None:
        return detect_encoding(open_bytes, name=name)
    if _wide_characters(open_bytes, "utf-8", name=name) >= _SURELY_UTF8:
        return "utf-8"
    if _wide_characters(open_bytes, declared, name=name) >= 0:
        return declared
    return detect_encoding(open_bytes, name=name)


def html_text(blocks: Iterable[str], *, name: str) -> Iterator[str]:
    """The text of a page that comes in `blocks`, in pieces, without line ends around it."""
    try:
        from lxml.etree import HTMLParser, LxmlError
    except ImportError as exc:
        raise missing_library("lxml", name=name, what="a web page") from exc
    page = _Page()
    parser = HTMLParser(target=page, recover=True, huge_tree=True)
    try:
        parser.feed("")  # lxml ends no page that it was given nothing of
        for block in blocks:
            parser.feed(block)
            yield from checked([page.layout.take()], name=name)
        parser.close()
    except LxmlError as exc:
        raise TextError(f"{name} is no HTML ({exc})") from exc
    yield from checked([page.layout.take()], name=name)


def html_documents(
    open_bytes: OpenBytes, *, encoding: str, name: str
) -> Iterator[tuple[str, Iterator[str]]]:
    """The one document of a page: `name`, and its text in pieces."""

    def text() -> Iterator[str]:
        with open_bytes() as stream:
            yield from html_text(decode_blocks(stream, encoding, name=name), name=name)

    yield name, text()


def xhtml_text(data: str, *, name: str) -> Iterator[str]:
    """The text of a page of XML, whose marked sections hold text (in HTML they are comments)."""
    plain = _CDATA.sub(lambda found: found[1].replace("&", "&amp;").replace("<", "&lt;"), data)
    blocks = (plain[i : i + BLOCK_BYTES] for i in range(0, len(plain), BLOCK_BYTES))
    return html_text(blocks, name=name)


class _Page:
    """What lxml tells of a page, laid out."""

    def __init__(self) -> None:
        self.layout = Layout()
        self._left_out = 0  # elements around this place whose content is no text
        self._exact = 0  # elements around this place whose white space is meant
        self._exact_begins = False

    def start(self, tag: str, *_: Any) -> None:
        tag = _local(tag)
        if tag in _LEFT_OUT:
            self._left_out += 1
        elif tag == "pre":
            self._exact += 1
        if self._left_out:
            return
        if tag == "br":
            self.layout.line_end()
        elif tag == "tr":
            self.layout.begin_row()
        elif tag in ("td", "th"):
            self.layout.begin_cell()
        else:
            self._edge(tag)
        self._exact_begins = tag == "pre"

    def end(self, tag: str) -> None:
        tag = _local(tag)
        if tag in _LEFT_OUT:
            self._left_out -= 1
        elif tag == "pre":
            self._exact -= 1
        if self._left_out:
            return
        if tag == "tr":
            self.layout.end_row()
        else:
            self._edge(tag)

    def data(self, text: str) -> None:
        if self._left_out:
            return
        if not self._exact:
            self.layout.flow(text)
            return
        # The line end right behind <pre> is no part of it.
        self.layout.exact(text.removeprefix("\n") if self._exact_begins else text)
        self._exact_begins = False

    def close(self) -> None:
        """Nothing is left to do: lxml has ended every element."""

    def _edge(self, tag: str) -> None:
        if tag in _LINE_ENDS:
            self.layout.block(line_ends=_LINE_ENDS[tag])


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def _declared(head: bytes) -> str | None:
    """The encoding that a page names, where Python knows it."""
    found = _DECLARED.search(head)
    if found is None:
        return None
    label = (found[1] or found[2]).decode("ascii").lower()
    try:
        codec = decoder_name(label)
    except TextError:
        return None
    return _LABELS.get(codec, label)


def _wide_characters(open_bytes: OpenBytes, encoding: str, *, name: str) -> int:
    """How many characters beyond ASCII a page has in `encoding`; -1 where it is not in that."""
    count = 0
    with open_bytes() as stream:
        try:
            for text in decode_blocks(stream, encoding, name=name):
                count += len(text) - len(text.encode("ascii", "ignore"))
        except TextError:
            return -1
    return count
