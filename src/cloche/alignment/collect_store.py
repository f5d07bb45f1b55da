"""Prompts, answers and who chose which, in one SQLite file from which nothing is lost.

A choice is on the disk when `choose` returns: the log is written ahead and synced with each
transaction. One process at a time writes. Nothing is ever deleted: a choice that was taken back is
marked so.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from cloche.errors import RunError

Verdict = Literal["best", "tie", "all_bad", "skip"]
APPLICATION = 0x636C6F63  # "cloc": SQLite keeps it in the file's head
VERSION = 1
SCHEMA = """
CREATE TABLE rounds (
  id INTEGER PRIMARY KEY,
  prompt_key TEXT NOT NULL,
  prompt TEXT NOT NULL,
  place TEXT NOT NULL,
  checkpoint TEXT NOT NULL,
  model_hash TEXT NOT NULL,
  sampling TEXT NOT NULL,
  seed INTEGER NOT NULL,
  shown TEXT NOT NULL,
  written_at TEXT NOT NULL
);
CREATE TABLE answers (
  round INTEGER NOT NULL REFERENCES rounds (id),
  number INTEGER NOT NULL,
  text TEXT NOT NULL,
  ids TEXT NOT NULL,
  seed INTEGER NOT NULL,
  finish_reason TEXT NOT NULL,
  PRIMARY KEY (round, number)
);
CREATE TABLE choices (
  id INTEGER PRIMARY KEY,
  round INTEGER NOT NULL REFERENCES rounds (id),
  verdict TEXT NOT NULL,
  best INTEGER,
  chooser TEXT NOT NULL,
  chosen_at TEXT NOT NULL,
  taken_back_at TEXT
);
CREATE INDEX rounds_by_prompt ON rounds (prompt_key);
"""


@dataclass(frozen=True)
class StoredAnswer:
    """One answer of a round."""

    text: str
    ids: tuple[int, ...]
    seed: int
    finish_reason: str


@dataclass(frozen=True)
class Round:
    """A prompt with its answers, as they were written at one time."""

    id: int
    """0 until it is stored."""
    prompt_key: str
    """SHA-256 of the prompt."""
    prompt: Mapping[str, Any]
    """As it is exported."""
    place: str
    checkpoint: str
    model_hash: str
    sampling: Mapping[str, Any]
    seed: int
    """Of the order in which answers are shown."""
    shown: tuple[int, ...]
    """Numbers of the answers in the order in which they are shown."""
    answers: tuple[StoredAnswer, ...]


@dataclass(frozen=True)
class StoredChoice:
    """What was chosen in a round."""

    id: int
    round: Round
    verdict: Verdict
    best: int | None
    """Number of the answer, not its place on the screen."""
    chooser: str
    chosen_at: str


class ChoiceStore:
    """The file of choices; close it at the end, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or begin the file. Raises RunError where another process holds it, or it is of
        another kind or version."""
        self.path = path
        self._lock = FileLock(f"{path}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as exc:
            raise RunError(
                f"{path} is in use by another cloche align collect: end that one, or give another "
                "file with --out"
            ) from exc
        except OSError as exc:
            raise RunError(f"{path} cannot be written: {exc.strerror}; name another file") from exc
        try:
            self._connection = _open(path)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "ChoiceStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let others have it."""
        self._connection.close()
        self._lock.release()

    def add_round(self, made: Round) -> Round:
        """Store a round; the same with its number."""
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO rounds (prompt_key, prompt, place, checkpoint, model_hash, sampling,"
                " seed, shown, written_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    made.prompt_key,
                    _json(made.prompt),
                    made.place,
                    made.checkpoint,
                    made.model_hash,
                    _json(made.sampling),
                    made.seed,
                    _json(made.shown),
                    _now(),
                ),
            )
            number = cursor.lastrowid
            assert number is not None, "SQLite numbers rows"
            connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, place, each.text, _json(each.ids), each.seed, each.finish_reason)
                    for place, each in enumerate(made.answers)
                ],
            )
        return self.round(number)

    def round(self, number: int) -> Round:
        """The round of that number."""
        row = self._connection.execute("SELECT * FROM rounds WHERE id = ?", (number,)).fetchone()
        answers = self._connection.execute(
            "SELECT * FROM answers WHERE round = ? ORDER BY number", (number,)
        )
        return Round(
            id=row["id"],
            prompt_key=row["prompt_key"],
            prompt=json.loads(row["prompt"]),
            place=row["place"],
            checkpoint=row["checkpoint"],
            model_hash=row["model_hash"],
            sampling=json.loads(row["sampling"]),
            seed=row["seed"],
            shown=tuple(json.loads(row["shown"])),
            answers=tuple(
                StoredAnswer(
                    each["text"],
                    tuple(json.loads(each["ids"])),
                    each["seed"],
                    each["finish_reason"],
                )
                for each in answers
            ),
        )

    def open_round(self, prompt_key: str, *, model_hash: str) -> Round | None:
        """The newest round of a prompt by that model in which nothing was chosen yet."""
        row = self._connection.execute(
            "SELECT id FROM rounds WHERE prompt_key = ? AND model_hash = ? AND NOT EXISTS"
            " (SELECT 1 FROM choices WHERE round = rounds.id AND taken_back_at IS NULL)"
            " ORDER BY id DESC LIMIT 1",
            (prompt_key, model_hash),
        ).fetchone()
        return None if row is None else self.round(row["id"])

    def rounds_of(self, prompt_key: str) -> int:
        """How many rounds a prompt had."""
        query = "SELECT COUNT(*) FROM rounds WHERE prompt_key = ?"
        return self._connection.execute(query, (prompt_key,)).fetchone()[0]

    def judged(self) -> set[str]:
        """The keys of the prompts that were judged; those skipped were not."""
        rows = self._connection.execute(
            "SELECT DISTINCT prompt_key FROM choices JOIN rounds ON rounds.id = choices.round"
            " WHERE taken_back_at IS NULL AND verdict != 'skip'"
        )
        return {row["prompt_key"] for row in rows}

    def choose(self, made: Round, verdict: Verdict, *, best: int | None, chooser: str) -> None:
        """Store what was chosen; on the disk when this returns. `best` is an answer's number."""
        assert verdict in get_args(Verdict), f"{verdict} is no verdict"
        assert (best is not None) == (verdict == "best"), "the best has a number, and nothing else"
        assert best is None or 0 <= best < len(made.answers), "of an answer of the round"
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO choices (round, verdict, best, chooser, chosen_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (made.id, verdict, best, chooser, _now()),
            )

    def take_back(self) -> StoredChoice | None:
        """Mark the last choice as taken back, and return it; None where there is none."""
        choices = self.choices(last=1)
        if not choices:
            return None
        with self._writing() as connection:
            connection.execute(
                "UPDATE choices SET taken_back_at = ? WHERE id = ?", (_now(), choices[0].id)
            )
        return choices[0]

    def choices(self, *, last: int | None = None) -> list[StoredChoice]:
        """The choices that stand, oldest first; with `last`, only so many of the newest."""
        query = "SELECT * FROM choices WHERE taken_back_at IS NULL ORDER BY id DESC"
        rows = self._connection.execute(f"{query} LIMIT ?", (-1 if last is None else last,))
        found = [
            StoredChoice(
                row["id"],
                self.round(row["round"]),
                row["verdict"],
                row["best"],
                row["chooser"],
                row["chosen_at"],
            )
            for row in rows.fetchall()
        ]
        return found[::-1]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction. RunError where the disk refuses: then nothing of it is stored."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self._roll_back()
            raise RunError(
                f"{self.path} cannot be written: {exc}. What was chosen before is safe; make room "
                "and go on"
            ) from exc
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # there may be no transaction left
            self._connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    """The file's connection, with its tables made where it is new."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        _require_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as exc:
        connection.close()
        raise RunError(
            f"{path} is damaged or is no file of choices: {exc}. Name another one"
        ) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if application == APPLICATION and version == VERSION:
        return
    if application == APPLICATION:
        raise RunError(
            f"{path} holds choices in version {version} of the format, and this version of cloche "
            f"writes version {VERSION}: take the version that wrote it, or another file"
        )
    if application or version or tables:
        raise RunError(f"{path} is another program's database, not a file of choices; name another")
    connection.executescript(
        f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION}; "
        f"PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
