"""From inspected sources to the specification of a preparation, after cleaning them if asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cloche.data.cleaning.clean import write_cleaned
from cloche.data.cleaning.steps import parse_steps
from cloche.data.options import DataOptions
from cloche.data.spec import (
    Spec,
    SpecSource,
    make_split,
    place_pieces,
    share_out,
    signature,
    task_bytes,
)
from cloche.text.ingest import (
    Inspection,
    SourceRange,
    documents,
    inspect_ranges,
    require_text,
)
from cloche.text.options import TextOptions
from cloche.text.sources import SourceFile


def draft_spec(
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
    *,
    text: TextOptions,
    data: DataOptions,
) -> Spec:
    """The specification but for the tokenizer; where `data` cleans, of the cleaned text."""
    cleaned = bool(data.clean)
    spec_sources = []
    for source, inspection in zip(sources, inspections, strict=True):
        place = replace(source, path=source.path.absolute())
        spec_sources.append(SpecSource(place, inspection.codec, *signature(source)))
    sizes = [source.size for source in spec_sources]
    return Spec(
        sources=tuple(spec_sources),
        fingerprints=(),
        split=make_split(data, inspections),
        tokenizer="",
        separated=False,
        skip_bad=text.skip_bad and not cleaned,
        column=None if cleaned else text.column,
        cleaned=inspections[0].report.utf8_sha256 if cleaned else None,
        tasks=share_out(place_pieces(inspections), sizes, task_bytes=task_bytes(sum(sizes))),
    )


def undivided(inspection: Inspection) -> Inspection:
    """Running text in one range, for a tokenizer that needs documents whole."""
    if len(inspection.ranges) == 1 or inspection.ranges[0].ends:  # rows are documents already
        return inspection
    report = inspection.report
    whole = SourceRange(characters=report.characters, documents=report.documents)
    return replace(inspection, ranges=(whole,))


def clean_into(
    path: Path,
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
    *,
    text: TextOptions,
    steps: str,
    tell: Callable[[str], None],
) -> tuple[list[SourceFile], list[Inspection], str]:
    """The cleaned text as a source of its own at `path`, and what cleaning did, in words."""

    def found() -> Iterator[tuple[str, str]]:
        for source, inspection in zip(sources, inspections, strict=True):
            encoding = inspection.report.encoding
            for document in documents(source, encoding, skip_bad=text.skip_bad, column=text.column):
                yield document.name, "".join(document.pieces())

    report = write_cleaned(path, found(), parse_steps(steps))
    tell(report.to_text())
    cleaned = SourceFile("the cleaned text", path, format="jsonl")
    every_bytes = task_bytes(signature(cleaned)[0])
    inspection = inspect_ranges(cleaned, encoding="utf-8", every_bytes=every_bytes)
    require_text([inspection.report])
    return [cleaned], [inspection], report.to_text()
