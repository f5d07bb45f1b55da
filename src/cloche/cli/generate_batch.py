"""`cloche generate RUN --input in.jsonl --out out.jsonl`: answers a file of prompts.

The input is read three times: to check it, with the model's tokenizer to check and measure the
prompts, and to answer it. So a bad row is told before hours of work, and no more of the file is in
memory than is being answered.
"""

import json
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

from cloche.cli.generate_options import Generate
from cloche.cli.generate_out import (
    Earlier,
    OutFile,
    alone,
    earlier_seed,
    read_earlier,
    refuse_existing,
)
from cloche.cli.generate_rows import (
    RawRow,
    Row,
    RowReader,
    digest_of,
    raw_rows,
    row_encoding,
    survey,
)
from cloche.cli.generate_running import Answered, answer_rows, chosen_rows, line_of
from cloche.cli.opening import make_guesser, open_writer
from cloche.cli.prompts import STANDARD_INPUT, fitting_prompt, plain_source, speak_by_template
from cloche.cli.sampling import SamplingOptions, tell
from cloche.cli.signals import cleaning_up
from cloche.cli.standard_input import standard_input
from cloche.errors import ClocheError, RunError, SettingError, TextError
from cloche.evaluation.translation import is_translator
from cloche.generation.request import GenerationRequest
from cloche.run import LM
from cloche.text.prompts import PromptLayout
from cloche.text.sources import SourceFile
from cloche.weights.folder import CONFIG
from cloche.weights.manifest import MANIFEST

FAILED, INTERRUPTED = 1, 130
_TELL_SECONDS = 10.0


@dataclass(frozen=True)
class Batch:
    """Where the rows are, and how they are read."""

    source: SourceFile
    encoding: str
    reader: RowReader

    def raw(self, *, skip: int = 0) -> Iterator[RawRow]:
        """The rows as they lie, without the first `skip`."""
        return islice(raw_rows(self.source, self.encoding), skip, None)

    def rows(self, *, skip: int = 0) -> Iterator[Row]:
        """The rows with prompts and settings, without the first `skip`."""
        return map(self.reader.row, self.raw(skip=skip))


def answer_file(command: Generate, asked: GenerationRequest) -> int:
    """Answer every row: 0, or 1 where a row carries an error, or 130 where Ctrl-C ended it."""
    assert command.input is not None, "main calls this for --input"
    assert command.out is not None, "the options are checked"
    out = Path(command.out)
    with given_rows(command.input) as source, alone(out), cleaning_up():
        if out.exists() and source.path.exists() and out.samefile(source.path):
            raise RunError(f"--input and --out are both {out}: name another file for the answers")
        if not command.resume:
            refuse_existing(out)
        batch = make_batch(command, asked, source=source, layout=command.layout())
        earlier = Earlier()
        if command.resume:
            earlier = read_earlier(out, batch.raw(), settings=batch.reader.settings)
        found = survey(batch.rows())
        if not found.rows:
            raise TextError(f'{source.name} holds no rows; a row is a line {{"prompt": "..."}}')
        if not command.keep_going:
            found.refuse_bad(name=source.name)
        return _answer(command, batch, earlier=earlier)


@contextmanager
def given_rows(name: str) -> Iterator[SourceFile]:
    """The file of rows; standard input is kept in one meanwhile."""
    if name != STANDARD_INPUT:
        yield plain_source(name)
        return
    with standard_input() as path:
        if path is None:
            raise TextError("--input - reads rows from standard input, and nothing is piped in")
        yield SourceFile("standard input", path)


def make_batch(
    command: Generate, asked: GenerationRequest, *, source: SourceFile, layout: PromptLayout
) -> Batch:
    """The batch of these options; its seed is drawn where neither they nor an --out has one."""
    drawn = earlier_seed(Path(command.out or "")) if command.resume else None
    if command.seed is not None and drawn not in (None, command.seed):
        raise SettingError(
            f"{command.out} was begun with the seed {drawn}: go on with it, or leave --seed out"
        )
    seed = command.seed if drawn is None else drawn
    seed = secrets.randbits(32) if seed is None else seed
    encoding, codec = row_encoding(source, command.encoding)
    settings = settings_digest(command, layout, seed=seed)
    reader = RowReader(layout, asked, seed=seed, encoding=codec, settings=settings)
    return Batch(source, encoding, reader)


def settings_digest(command: Generate, layout: PromptLayout, *, seed: int) -> str:
    """A fingerprint of all that changes answers, but for rows and model."""
    sampling = {option.name: getattr(command, option.name) for option in fields(SamplingOptions)}
    if command.json_schema is not None:
        sampling["json_schema"] = digest_of(Path(command.json_schema).read_bytes())
    values = {
        **sampling,
        "seed": seed,
        "n": command.n,
        "precision": command.precision,
        "window": command.window,
        "system": command.system_text() if command.chat else layout.system,
        "chat": command.chat,
        "shots": layout.shots,
        "template": None if layout.template is None else layout.template.source,
        "constants": layout.constants,
    }
    return digest_of(json.dumps(values, sort_keys=True, default=repr))


def model_digest(folder: Path) -> str:
    """A fingerprint of a model folder: of its manifest, or of its files' names and sizes."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        return digest_of(manifest.read_bytes())
    weights = sorted(folder.glob("*.safetensors"))
    listed = [f"{path.name} {path.stat().st_size}" for path in weights]
    described = folder / CONFIG
    return digest_of(described.read_bytes() if described.is_file() else b"", *listed)


def open_model(command: Generate, *, earlier: Earlier) -> LM:
    """The model that answers. RunError where another one wrote what is there already."""
    if is_translator(command.run, checkpoint=command.checkpoint):
        raise SettingError(
            f"--input is for models that continue text, and {command.run} translates: give it "
            "lines, with --prompt-file"
        )
    lm = open_writer(command)
    if earlier.model not in (None, model_digest(lm.folder)):
        raise RunError(
            f"{command.out} was begun by another model than {lm.folder}: name its checkpoint with "
            "--checkpoint, or another --out"
        )
    return speak_by_template(lm, command)


def fitted(lm: LM, rows: Iterable[Row], *, window: bool) -> Iterator[Row]:
    """The rows with their prompts' ids put in; what cannot be read becomes the row's error."""
    for row in rows:
        if row.request is None:
            yield row
            continue
        try:
            ids, cut = fitting_prompt(
                lm, row.prompt, max_tokens=row.request.max_tokens, window=window
            )
            yield replace(row, request=replace(row.request, prompt=ids), cut_tokens=cut)
        except ClocheError as exc:
            yield replace(row, request=None, error=str(exc))


@dataclass
class Progress:
    """How far it is."""

    total: int
    rows: int
    """Lines of the output, those of an earlier command included."""
    errors: int
    cut_prompts: int = 0
    """Of this command alone, as all that follows."""
    tokens: int = 0
    began: float = field(default_factory=time.perf_counter)
    told: float = field(default_factory=time.perf_counter)

    @property
    def tokens_per_second(self) -> float:
        """Tokens that were made, over the time since the first row began."""
        return self.tokens / (time.perf_counter() - self.began)

    def add(self, answered: Answered) -> None:
        """One more line has been written."""
        self.rows += 1
        self.errors += answered.error is not None
        self.cut_prompts += answered.row.cut_tokens > 0
        self.tokens += sum(answer.tokens for answer in answered.answers)
        if time.perf_counter() - self.told > _TELL_SECONDS:
            self.told = time.perf_counter()
            tell(f"{self.rows} of {self.total} rows")


def _answer(command: Generate, batch: Batch, *, earlier: Earlier) -> int:
    """Load the model and answer the rows that are left."""
    lm = open_model(command, earlier=earlier)
    asked = command.with_tokenizer(batch.reader.asked, lm.tokenizer)
    batch = replace(batch, reader=replace(batch.reader, asked=asked))
    fit = partial(fitted, lm, window=command.window)
    found = survey(fit(batch.rows(skip=earlier.rows)))
    if not command.keep_going:
        found.refuse_bad(name=batch.source.name)
    at_once = chosen_rows(lm.config, command.rows, tokens=found.longest)
    progress = Progress(found.rows + earlier.rows, rows=earlier.rows, errors=earlier.errors)
    _tell_earlier(command, earlier, left=found.rows)
    guesser = make_guesser(
        command.speculate, lm, precision=command.precision, rows=at_once, tokens=found.longest
    )
    engine = lm.engine(rows=at_once, tokens=found.longest, guesser=guesser)
    answers = answer_rows(engine, fit(batch.rows(skip=earlier.rows)), at_once=at_once)
    file = OutFile(Path(command.out or ""), earlier=earlier)
    model, seed = model_digest(lm.folder), batch.reader.seed
    try:
        for answered in answers:
            file.write(line_of(answered, batch_seed=seed, model=model))
            progress.add(answered)
    except KeyboardInterrupt:
        tell(
            f"interrupted: {progress.rows} of {progress.total} rows are in {command.out}; the same "
            "command with --resume goes on"
        )
        return INTERRUPTED
    finally:
        file.close()
    _tell_end(command, lm, progress, seed=seed)
    return FAILED if progress.errors else 0


def _tell_earlier(command: Generate, earlier: Earlier, *, left: int) -> None:
    if earlier.rows:
        tell(f"{command.out} holds {earlier.rows} rows already; {left} are left")
    if earlier.cut_bytes:
        tell(f"{command.out}: a last line that was never finished is cut off")


def _tell_end(command: Generate, lm: LM, progress: Progress, *, seed: int) -> None:
    if command.json:
        values = {
            "run": command.run,
            "checkpoint": str(lm.folder),
            "input": command.input,
            "out": command.out,
            "rows": progress.rows,
            "errors": progress.errors,
            "cut_prompts": progress.cut_prompts,
            "seed": seed,
            "tokens": progress.tokens,
            "tokens_per_second": progress.tokens_per_second,
        }
        print(json.dumps(values, ensure_ascii=False))
    else:
        tell(
            f"{progress.rows} rows in {command.out}, {progress.tokens} tokens, "
            f"{progress.tokens_per_second:.0f} a second, seed {seed}, {lm.folder.name}"
        )
    if progress.cut_prompts:
        tell(
            f"{progress.cut_prompts} prompts were longer than the context of {lm.config.context} "
            "tokens: only their last part was read (cut_tokens tells how much was not)"
        )
    if progress.errors:
        tell(f"{progress.errors} rows have an error for an answer: see {command.out}")
