"""Files that are no plain text to the documents they hold, whatever their format."""

from collections.abc import Iterator

from cloche.text.detection import detect_encoding
from cloche.text.formats.csv import csv_documents
from cloche.text.formats.docx import docx_documents
from cloche.text.formats.epub import epub_documents
from cloche.text.formats.html import html_documents, html_encoding
from cloche.text.formats.parquet import parquet_documents
from cloche.text.formats.pdf import pdf_documents
from cloche.text.rows import RowCount
from cloche.text.sources import SourceFile


def format_encoding(source: SourceFile) -> str:
    """The encoding of a web page or a table: what a page declares where that is true, or detected.

    Raises TextError where none is plausible.
    """
    if source.format == "html":
        return html_encoding(source.open_bytes, name=source.name)
    return detect_encoding(source.open_bytes, name=source.name)


def open_documents(
    source: SourceFile,
    *,
    encoding: str | None,
    column: str | None = None,
    skipped: RowCount | None = None,
) -> Iterator[tuple[str, Iterator[str]]]:
    """Name and text, in pieces of any size, of each document of a source; an empty one has none.

    A page, a book, a PDF or a Word file is one document, a row of a table another each, with what
    stands in `column` ("text" where None). `encoding` counts for sources that have one, and is
    found out where None. Pieces can be read once.

    Raises TextError, while iterating, where the source is damaged, locked, without text, or its
    library is not installed; and at the first bad row of a table, unless `skipped` is given, which
    then counts them.
    """
    if encoding is None and source.has_encoding:
        encoding = format_encoding(source)
    match source.format:
        case "html":
            return html_documents(source.open_bytes, encoding=encoding or "", name=source.name)
        case "epub":
            return epub_documents(source)
        case "pdf":
            return pdf_documents(source)
        case "docx":
            return docx_documents(source)
        case "csv":
            return csv_documents(source, encoding=encoding or "", column=column, skipped=skipped)
        case "parquet":
            return parquet_documents(source, column=column, skipped=skipped)
        case _:
            raise ValueError(f"{source.format} is plain text, which ingest reads")
