"""A text made ready to learn from: its tokenizer, and its training and validation tokens.

The cut between the two parts is made before tokenizing, and the tokenizer sees the training part
only. What was made is kept in a folder (`tasks.py`) and made again only where the text, the cut or
the tokenizer changed; what a killed process left undone is done by the next one.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cloche.data.joined import JoinedShards, joined_metadata
from cloche.data.options import DataOptions
from cloche.data.place import PREPARED, SPEC, refuse_foreign, writing
from cloche.data.plan import (
    Tell,
    begin_inspection,
    describe_sources,
    open_named,
    plan_options,
    plan_text,
    read_json,
    read_plan,
    same_tokenizer,
    unchanged,
    write_json,
)
from cloche.data.shards import Shard, dtype_of
from cloche.data.spec import PARTS, TRAIN, VALIDATION, PartName, Spec, signature
from cloche.data.tasks import (
    Work,
    missing_tasks,
    open_work,
    run_task,
    sweep,
    task_folder,
    tasks_of_rank,
)
from cloche.data.workers import Workers, task_call
from cloche.errors import DataError
from cloche.text.choice import TokenizerChoice
from cloche.text.ingest import Inspection
from cloche.text.options import TextOptions
from cloche.text.sources import FoundSources, SourceFile
from cloche.text.tokenizer import Tokenizer

MANY_BYTES = 1 << 25
"""Of sources, from which on several processes are worth their start."""

Progress = Callable[[int, int], None]
"""Told how many tasks are done, of how many."""


@dataclass(frozen=True)
class PreparedText:
    """A text as tokens in two parts, with the tokenizer that made them."""

    tokenizer: Tokenizer
    train: JoinedShards
    validation: JoinedShards
    choice: TokenizerChoice
    """Which tokenizer was asked for, complete."""


def prepare_text(
    folder: Path,
    sources: Sequence[SourceFile],
    inspections: Sequence[Inspection],
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Tell,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> PreparedText:
    """The text's tokens, from `folder` if they were made of the same text in the same way.

    `inspections` are `inspect_all`'s. `tell` is given a sentence about each choice; `workers` are
    `open_workers`', this process does the work where None. Raises ClocheError. What a killed
    process has done stays.
    """
    with writing(folder):
        plan_text(folder, sources, inspections, text=text, data=data, tell=tell)
    return finish(folder, workers=workers, progress=progress)


def prepare_sources(
    folder: Path,
    found: FoundSources,
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Tell,
    workers: Workers | None = None,
) -> None:
    """Begin a preparation of `found` in `folder`, or go on with it, up to the tasks themselves.

    Where no source has changed in path, size and time since a preparation began with the same
    options, they are not read again. Raises ClocheError.
    """
    refuse_foreign(folder, found.files)
    stored = read_plan(folder)
    options = plan_options(text, data)
    if (
        stored is not None
        and unchanged(stored, found.files, options)
        and same_tokenizer(folder, stored)
    ):
        for line in describe_sources(stored.reports, found.skipped):
            tell(line)
        tell(f"Going on with the preparation in {folder}: its sources and options are unchanged.")
        return
    inspected = begin_inspection(found.files, text, workers=workers)
    named = open_named(text)
    inspections = inspected()
    for line in describe_sources([each.report for each in inspections], found.skipped):
        tell(line)
    with writing(folder):
        plan_text(folder, found.files, inspections, text=text, data=data, tell=tell, named=named)


def open_workers(
    sources: Sequence[SourceFile], *, count: int | None = None
) -> AbstractContextManager[Workers | None]:
    """`count` processes to prepare these sources with; None for one, which is this process.

    Where no count is given: one for a small text, else as many as there are processors.
    """
    if count is None:
        size = sum(signature(source)[0] for source in sources)
        count = 1 if size < MANY_BYTES else _processors()
    return Workers(count) if count > 1 else nullcontext()


def _processors() -> int:
    """Processors that this process may use: a job on a cluster may have few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a preparation for this process; DataError where another one holds it.

    The operating system frees the lock of a process that died.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()  # . has no name of its own
        lock = FileLock(place.parent / f".{place.name}.lock")
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise DataError(f"another process is preparing in {folder}: wait for it") from exc
    except OSError as exc:
        raise DataError(f"nothing can be prepared in {folder}: {exc.strerror}") from exc
    try:
        yield
    finally:
        lock.release()


def finish(
    folder: Path, *, workers: Workers | None = None, progress: Progress | None = None
) -> PreparedText:
    """Do what is missing of the preparation begun in `folder`, and open it."""
    work = open_work(folder)
    missing = missing_tasks(folder, work.spec)
    if missing or not is_prepared(folder):
        sweep(folder)
        total = len(work.spec.tasks)
        for count in _do_tasks(work, missing, workers=workers):
            if progress is not None:
                progress(total - len(missing) + count, total)
        with writing(folder):
            _write_prepared(folder, work.spec, work.tokenizer)
    return _open(work)


def run_rank(folder: Path, *, rank: int, world_size: int, progress: Progress | None = None) -> int:
    """Do the tasks of one of `world_size` workers; how many there were to do.

    Every worker may run on another machine that sees the folder and the sources under the same
    paths. When the last one is through, `finish` checks and closes the preparation.
    """
    work = open_work(folder)
    numbers = tasks_of_rank(work.spec, rank=rank, world_size=world_size)
    count = 0
    for done, number in enumerate(numbers, start=1):
        count += run_task(work, number)
        if progress is not None:
            progress(done, len(numbers))
    return count


def open_prepared(folder: Path) -> PreparedText:
    """What was prepared in `folder`. DataError where it is absent, unfinished or damaged."""
    totals = read_json(folder / PREPARED)
    if totals is None:
        if not (folder / SPEC).exists():
            raise DataError(f"there are no prepared tokens in {folder}")
        raise DataError(
            f"the preparation of the tokens was not finished in {folder}: finish it with "
            f"cloche data prepare --out {folder}"
        )
    return _open(open_work(folder))


def _open(work: Work) -> PreparedText:
    folder, plan = work.folder, read_plan(work.folder)
    totals = read_json(folder / PREPARED)
    if totals is None:
        raise DataError(f"{folder / PREPARED} is gone: prepare the text again")
    if totals["spec"] != work.spec.fingerprint or plan is None:
        raise DataError(f"{folder} does not fit together: delete it to have the tokens made anew")
    parts = {name: _join(folder, name, work.spec, work.tokenizer) for name in PARTS}
    for name, part in parts.items():
        if part.metadata.count != totals[name]["count"]:
            raise DataError(
                f"{folder} has {part.metadata.count:,} {name} tokens instead of "
                f"{totals[name]['count']:,}: delete it to have them made anew"
            )
    return PreparedText(work.tokenizer, parts[TRAIN], parts[VALIDATION], plan.choice)


def is_prepared(folder: Path) -> bool:
    """Whether there are finished tokens in `folder`."""
    return (folder / PREPARED).is_file() and (folder / SPEC).is_file()


def _do_tasks(work: Work, numbers: Sequence[int], *, workers: Workers | None) -> Iterator[int]:
    """Do tasks in `workers`, or in this process; the number of those done, after each."""
    if workers is None:
        for count, number in enumerate(numbers, start=1):
            run_task(work, number)
            yield count
        return
    answers = workers.ask([task_call(work.folder, number) for number in numbers])
    for count, _ in enumerate(answers, start=1):
        yield count


def _join(folder: Path, part: PartName, work_spec: Spec, tokenizer: Tokenizer) -> JoinedShards:
    """One part of all tasks."""
    numbers = range(len(work_spec.tasks))
    places = [task_folder(folder, number, spec=work_spec) / part for number in numbers]
    shards = [Shard(place) for place in places if place.is_dir()]
    for shard in shards:
        if shard.metadata.tokenizer != tokenizer.fingerprint:
            raise DataError(
                f"{shard.folder} was made with tokenizer {shard.metadata.tokenizer[:12]}, but that "
                f"of {folder} is {tokenizer.fingerprint[:12]}: delete {folder} to have the tokens "
                "made anew"
            )
    metadata = joined_metadata(
        shards,
        tokenizer=tokenizer.fingerprint,
        sources=work_spec.fingerprints,
        dtype=dtype_of(tokenizer.vocab_size).name,
        separated=work_spec.separated,
    )
    return JoinedShards(shards, metadata=metadata)


def _write_prepared(folder: Path, spec: Spec, tokenizer: Tokenizer) -> None:
    """Close the preparation: every task is done, and this much came of them."""
    missing = missing_tasks(folder, spec)
    if missing:
        raise DataError(f"{len(missing)} of {len(spec.tasks)} tasks in {folder} are not done")
    totals = {name: asdict(_join(folder, name, spec, tokenizer).metadata) for name in PARTS}
    for values in totals.values():
        del values["sources"]
    write_json(folder / PREPARED, {"spec": spec.fingerprint, **totals})
