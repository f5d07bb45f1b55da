"""The text of Word documents: paragraphs and tables in their order, one paragraph a line.

Words inserted by tracked changes are part of the text, deleted ones are not. Text boxes stand where
they are anchored. Headers, footers, footnotes and comments are left out.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cloche.errors import TextError
from cloche.text.extras import missing_library
from cloche.text.formats.archives import open_archive, small_copy
from cloche.text.formats.layout import Layout, checked
from cloche.text.sources import SourceFile

# Local names in the namespaces of WordprocessingML and of formulas, which share no text element.
# ECMA-376, part 1, section 17: https://ecma-international.org/publications-and-standards/standards/ecma-376/
_TEXT = "t"
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}
_LEFT_OUT = frozenset(("Fallback", "del", "moveFrom", "pPr", "rPr", "tblPr", "trPr", "tcPr"))


def docx_documents(source: SourceFile) -> Iterator[tuple[str, Iterator[str]]]:
    """The one document of a file: its name, and its text.

    Reading raises TextError where the file is damaged or locked.
    """
    yield source.name, _text(source)


def _text(source: SourceFile) -> Iterator[str]:
    name = source.name
    try:
        import docx
    except ImportError as exc:
        raise missing_library("python-docx", name=name, what="a Word document") from exc
    with open_archive(source.path, name=name, kind="a Word document") as archive:
        # python-docx loads all that there is, pictures and embedded files too.
        copy = small_copy(archive, endings=(".xml", ".rels"), name=name)
        try:
            body = docx.Document(copy).element.body
        except Exception as exc:  # a damaged file makes python-docx raise errors of any kind
            raise TextError(f"{name} is damaged, or no Word document ({exc})") from exc
    if body is None:
        raise TextError(f"{name} is damaged: it has no body")
    layout = Layout()
    for block in body:
        _lay_out(block, layout)
        yield from checked([layout.take()], name=name)


def _lay_out(element: Any, layout: Layout) -> None:
    tag = _local(element)
    if tag in _LEFT_OUT:
        return
    if tag == _TEXT:
        layout.exact(element.text or "")
    elif tag in _SIGNS:
        layout.exact(_SIGNS[tag])
    elif tag == "p":
        layout.block()
        _children(element, layout)
        layout.line_end()
    elif tag in _CONTAINERS:
        begin, end = _CONTAINERS[tag]
        begin(layout)
        _children(element, layout)
        end(layout)
    else:
        _children(element, layout)


def _children(element: Any, layout: Layout) -> None:
    for child in element:
        _lay_out(child, layout)


_CONTAINERS: dict[str, tuple[Callable[[Layout], None], Callable[[Layout], None]]] = {
    "tr": (Layout.begin_row, Layout.end_row),
    "tc": (Layout.begin_cell, lambda _: None),
    "tbl": (Layout.block, Layout.block),
}


def _local(element: Any) -> str:
    """The name of an element without its namespace; nothing for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
