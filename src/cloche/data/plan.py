"""The plan of a preparation: what the text holds, its tokenizer, and the tasks to be done.

Planning reads the sources once or twice in this process; the work itself, tokenizing, is shared out
in tasks (`tasks.py`).
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cloche.data.drafts import clean_into, draft_spec, undivided
from cloche.data.options import DataOptions
from cloche.data.place import (
    CLEANED,
    NEW_CLEANED,
    PLAN,
    SPEC,
    TOKENIZER,
    begin,
    clear,
    refuse_foreign,
)
from cloche.data.spec import (
    TRAIN,
    VALIDATION,
    PartName,
    Piece,
    Spec,
    SpecSource,
    pieces_of,
    signature,
    spec_from_bytes,
    task_bytes,
)
from cloche.data.stretches import stretches
from cloche.data.workers import Workers, inspect_call, inspection_of
from cloche.errors import DataError
from cloche.text.choice import TokenizerChoice, choose_tokenizer, make_tokenizer, read_statistics
from cloche.text.ingest import (
    Inspection,
    SourceReport,
    inspect_ranges,
    require_text,
)
from cloche.text.kinds import MADE
from cloche.text.names import open_tokenizer
from cloche.text.options import TextOptions
from cloche.text.saved import load_tokenizer
from cloche.text.sources import FORMATS, STANDARD_INPUT, SkippedFile, SourceFile
from cloche.text.tokenizer import Tokenizer

FORMAT = 2

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a preparation was asked for and found, as `plan.json` keeps it."""

    options: dict[str, Any]
    reports: tuple[SourceReport, ...]
    signatures: list[list[Any]]
    """Path, size and time of the last change of each source."""
    choice: TokenizerChoice
    cleaning: str | None
    """What cleaning changed and removed, in words."""

    @property
    def recipe(self) -> dict[str, Any]:
        """All that the tokens depend on."""
        return {"options": self.options, "sources": fingerprints(self.reports)}


def inspect_all(
    sources: Sequence[SourceFile], options: TextOptions, *, workers: Workers | None = None
) -> list[Inspection]:
    """What each source holds. TextError where one cannot be read or all are blank."""
    return begin_inspection(sources, options, workers=workers)()


def begin_inspection(
    sources: Sequence[SourceFile], options: TextOptions, *, workers: Workers | None
) -> Callable[[], list[Inspection]]:
    """Begin `inspect_all` in `workers`, where there are any; call the outcome to wait for it."""
    how = {
        "encoding": options.encoding,
        "skip_bad": options.skip_bad,
        "column": options.column,
        "every_bytes": task_bytes(sum(signature(source)[0] for source in sources)),
    }
    answers = None
    if workers is not None:
        answers = workers.ask([inspect_call(source, **how) for source in sources])

    def wait() -> list[Inspection]:
        if answers is None:
            found = [inspect_ranges(source, **how) for source in sources]
        else:
            came = {number: inspection_of(answer) for number, answer in answers}
            found = [came[number] for number in range(len(sources))]
        require_text([inspection.report for inspection in found])
        return found

    return wait


def open_named(options: TextOptions) -> Tokenizer | None:
    """The tokenizer that the options name, ready to be saved; None where one is to be made."""
    if options.tokenizer in ("auto", *MADE):
        return None
    tokenizer = open_tokenizer(options.tokenizer)
    _ = tokenizer.fingerprint  # its tokenizer.json, which may take a while to be written
    return tokenizer


def default_name(sources: Sequence[str]) -> str:
    """What a run or a preparation is called after its first source: without folder and ending."""
    name = "standard-input" if sources[0] == STANDARD_INPUT else Path(sources[0]).resolve().name
    while Path(name).suffix.lower() in (*FORMATS, ".gz", ".zst"):
        name = Path(name).stem
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")
    return kept or "text"


def describe_sources(
    reports: Sequence[SourceReport], skipped: Sequence[SkippedFile], *, most: int = 10
) -> list[str]:
    """What was found, in lines for the screen: the first files, and those left out."""
    lines = []
    for report in reports[:most]:
        bad = f", {report.bad_rows:,} bad rows skipped" if report.bad_rows else ""
        lines.append(f"{report.path}: {report.encoding}, {report.characters:,} characters{bad}")
    if len(reports) > most:
        lines.append(f"... and {len(reports) - most:,} more files")
    lines += [f"Left out: {file.path} ({file.reason})" for file in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"... and {len(skipped) - most:,} more files left out")
    return lines


def plan_text(
    folder: Path,
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Tell,
    named: Tokenizer | None = None,
) -> None:
    """Begin a preparation in `folder`: cleaned text, tokenizer, and the tasks that are to be done.

    `named` is `open_named`'s, where it is open already. A preparation begun there of the same text
    in the same way is left as it is; another one is removed. Raises DataError where `folder` holds
    anything else.
    """
    stored = read_plan(folder)
    reports = [inspection.report for inspection in inspections]
    recipe = {"options": plan_options(text, data), "sources": fingerprints(reports)}
    if (
        stored is not None
        and stored.recipe == recipe
        and same_tokenizer(folder, stored)
        and (data.clean or _moved(folder, stored, sources, inspections))
    ):
        tell(f"Tokens: those made earlier in {folder}, as text and tokenizer are unchanged.")
        return
    if stored is not None:
        tell(f"The text or its options changed since {folder} was made: preparing it again.")
    refuse_foreign(folder, sources)
    _plan_anew(folder, sources, inspections, text=text, data=data, tell=tell, named=named)


def _plan_anew(
    folder: Path,
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Tell,
    named: Tokenizer | None,
) -> None:
    """Plan, and only then put the plan in the place of what is there: much can go wrong before."""
    begin(folder)
    report = None
    read, found = list(sources), list(inspections)
    if data.clean:
        read, found, report = clean_into(
            folder / NEW_CLEANED, read, found, text=text, steps=data.clean, tell=tell
        )
    draft = draft_spec(read, found, text=text, data=data)
    choice = choose_tokenizer(
        text,
        train=lambda: read_statistics(part_text(draft, TRAIN)),
        validation=lambda: read_statistics(part_text(draft, VALIDATION)),
    )
    tell(f"Tokenizer: {choice.reason}.")
    tokenizer = named or make_tokenizer(choice, part_text(draft, TRAIN))
    if choice.vocab_size and tokenizer.vocab_size < choice.vocab_size:
        tell(
            f"The text supports a vocabulary of {tokenizer.vocab_size:,}, not "
            f"{choice.vocab_size:,}: no pair of tokens occurs twice any more."
        )
    clear(folder)
    tokenizer.save(folder / TOKENIZER)
    if data.clean:
        os.replace(folder / NEW_CLEANED, folder / CLEANED)
        read = [replace(read[0], path=folder / CLEANED)]
    whole = found if tokenizer.joinable else list(map(undivided, found))
    draft = draft_spec(read, whole, text=text, data=data)
    several = sum(inspection.report.documents for inspection in found) > 1
    separated = several and tokenizer.special_ids.eos is not None
    reports = tuple(inspection.report for inspection in inspections)
    spec = replace(
        draft,
        fingerprints=tuple(fingerprints(reports)),
        tokenizer=tokenizer.fingerprint,
        separated=separated,
    )
    plan = Plan(plan_options(text, data), reports, _signatures(sources), choice, report)
    write_json(folder / PLAN, asdict(plan))
    _write_synced(folder / SPEC, spec.to_bytes())


def _moved(
    folder: Path,
    stored: Plan,
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
) -> bool:
    """Have the tasks of a plan read the same bytes where they lie now; False where they differ."""
    if stored.signatures == _signatures(sources):
        return True
    spec = spec_from_bytes((folder / SPEC).read_bytes())
    now = tuple(
        SpecSource(replace(source, path=source.path.absolute()), found.codec, *signature(source))
        for source, found in zip(sources, inspections, strict=True)
    )
    same = [(s.encoding, s.size, s.file.format, s.file.compression) for s in now]
    if same != [(s.encoding, s.size, s.file.format, s.file.compression) for s in spec.sources]:
        return False
    _write_synced(folder / SPEC, replace(spec, sources=now).to_bytes())
    write_json(folder / PLAN, asdict(replace(stored, signatures=_signatures(sources))))
    return True


def read_plan(folder: Path) -> Plan | None:
    """What the preparation in `folder` was asked for; None where none has begun."""
    if not (folder / SPEC).exists():
        return None
    values = read_json(folder / PLAN)
    if values is None:
        return None
    try:
        reports = tuple(SourceReport(**report) for report in values.pop("reports"))
        choice = TokenizerChoice(**values.pop("choice"))
        return Plan(reports=reports, choice=choice, **values)
    except (KeyError, TypeError) as exc:
        raise DataError(
            f"{folder / PLAN} is damaged ({exc}); delete {folder} to have it made anew"
        ) from exc


def unchanged(plan: Plan, sources: Sequence[SourceFile], options: dict[str, Any]) -> bool:
    """Whether options, and every source's path, size and time are those of the plan."""
    return plan.options == options and plan.signatures == _signatures(sources)


def same_tokenizer(folder: Path, plan: Plan) -> bool:
    """Whether a tokenizer that was named by its path still is the one the plan began with."""
    name = plan.choice.name
    if name is None or not os.path.exists(name):
        return True
    return open_tokenizer(name).fingerprint == load_tokenizer(folder / TOKENIZER).fingerprint


def changed_sources(folder: Path) -> list[str]:
    """Sources that have changed since the preparation in `folder` began; absent ones are not told:
    tokens may be taken elsewhere without their text."""
    plan = read_plan(folder)
    changed = []
    for path, size, modified_ns in plan.signatures if plan is not None else []:
        if os.path.exists(path):
            found = os.stat(path)
            if (found.st_size, found.st_mtime_ns) != (size, modified_ns):
                changed.append(path)
    return changed


def plan_options(text: TextOptions, data: DataOptions) -> dict[str, Any]:
    """The options that a preparation depends on."""
    chosen = {"split": data.split, "split_by": data.split_by, "clean": data.clean}
    return {"format": FORMAT, "text": asdict(text), "data": chosen}


def fingerprints(reports: Sequence[SourceReport]) -> list[dict[str, Any]]:
    """What identifies each source's text, whatever its name and encoding."""
    return [
        {"characters": report.characters, "utf8_sha256": report.utf8_sha256} for report in reports
    ]


def part_text(spec: Spec, part: PartName) -> Iterator[str]:
    """All text of one part; an empty piece where a document ends."""
    pieces = pieces_of(spec)
    if spec.split.by == "position":  # what lies all on the other side need not be read
        pieces = filter(partial(_has_any_of, part, spec.split.cut), pieces)
    for stretch in stretches(spec, pieces):
        if stretch.part == part:
            yield from stretch.pieces
            if stretch.closes:
                yield ""
        else:
            for _ in stretch.pieces:
                pass


def _has_any_of(part: PartName, cut: int, piece: Piece) -> bool:
    if part == TRAIN:
        return piece.character < cut
    return piece.character + piece.range.characters > cut


def read_json(path: Path) -> dict[str, Any] | None:
    """The values of a file that a preparation wrote; None where there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise DataError(
            f"{path} is damaged ({exc}); delete {path.parent} to have it made anew"
        ) from exc


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    _write_synced(path, (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))


def _write_synced(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _signatures(sources: Sequence[SourceFile]) -> list[list[Any]]:
    return [[os.path.realpath(source.path), *signature(source)] for source in sources]
