"""The rows of Parquet files as documents, a few rows in memory at a time."""

from collections.abc import Iterator
from typing import Any

from cloche.errors import TextError
from cloche.text.extras import missing_library
from cloche.text.formats.columns import ROW_ADVICE, no_column
from cloche.text.formats.layout import text_problem
from cloche.text.rows import TEXT_COLUMN, RowCount
from cloche.text.sources import SourceFile

_BATCH_ROWS = 128  # a row may hold a whole book
_BUFFER_BYTES = 1 << 20  # without it, a column of a whole row group is read at once


def parquet_documents(
    source: SourceFile, *, column: str | None, skipped: RowCount | None
) -> Iterator[tuple[str, Iterator[str]]]:
    """A document for each row: "NAME, row 7" and what stands in the column, `text` if not named.

    Raises TextError where there is no such column or it holds no text, where the file is damaged,
    and at the first row without text; where `skipped` is given, such rows are counted there
    instead.
    """
    number = 0
    for value in _values(source, column or TEXT_COLUMN):
        number += 1
        try:
            text = _text(value, place=f"{source.name}: row {number}")
        except TextError:
            if skipped is None:
                raise
            skipped.bad += 1
            continue
        yield f"{source.name}, row {number}", iter([text] if text else [])


def _values(source: SourceFile, column: str) -> Iterator[Any]:
    """What stands in the column, row by row."""
    name = source.name
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise missing_library("pyarrow", name=name, what="a Parquet file") from exc
    with source.open_bytes():  # tells a file that cannot be opened
        pass
    try:
        with pyarrow.parquet.ParquetFile(
            source.path, buffer_size=_BUFFER_BYTES, pre_buffer=False
        ) as file:
            _require_text_column(file.schema_arrow, column, name=name)
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column], use_threads=False):
                yield from batch.column(0)
    except (pyarrow.ArrowException, OSError) as exc:
        raise TextError(f"{name} is damaged, or no Parquet file ({exc}); fetch it again") from exc


def _require_text_column(schema: Any, column: str, *, name: str) -> None:
    import pyarrow.types as types

    if column not in schema.names:
        raise no_column(column, schema.names, name=name)
    kind = schema.field(column).type
    values = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(values) or types.is_large_string(values)):
        raise TextError(
            f"{name}: the column {column!r} holds {kind}, not strings; name another one with "
            f"--text.column ({', '.join(map(repr, schema.names))})"
        )


def _text(value: Any, *, place: str) -> str:
    try:
        text = value.as_py()
    except UnicodeDecodeError as exc:
        raise TextError(f"{place} holds bytes that are no UTF-8 ({exc}); {ROW_ADVICE}") from exc
    if text is None:
        raise TextError(f"{place} holds no text but null; {ROW_ADVICE}")
    if problem := text_problem(text):
        raise TextError(f"{place} {problem}; {ROW_ADVICE}")
    return text
