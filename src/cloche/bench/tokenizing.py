"""How fast text becomes tokens, against the bare libraries underneath, on this machine.

Every side runs in processes of its own, in turn. cloche's times are those of the whole command
`cloche data prepare`, from the start of Python to shards on disk; the peer's only those of its call
on text that lies in memory.
"""

import codecs
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cloche.bench.paired import Timing, paired_ratio, time_in_turn
from cloche.data.stories.corpus import stories_text
from cloche.errors import DataError, SettingError

_STORIES_PART_BYTES = 10_000_000
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class TokenizingResult:
    """What was measured, and the ratios that count."""

    text_bytes: int
    training_bytes: int
    tokenizer: str
    workers: int
    timings: dict[str, Timing]

    def to_values(self) -> dict[str, Any]:
        """Plain values: times in seconds, and ratios by name."""
        return {
            "text_bytes": self.text_bytes,
            "training_bytes": self.training_bytes,
            "tokenizer": self.tokenizer,
            "workers": self.workers,
            "seconds": {name: list(timing.seconds) for name, timing in self.timings.items()},
            "ratios": self.ratios(),
        }

    def ratios(self) -> dict[str, float]:
        """Speed of one side over that of another in the same round; the median of the rounds."""
        several, one = f"prepare, {self.workers} workers", "prepare, 1 worker"
        bare = f"bare tiktoken, {self.workers} threads"
        return {
            f"{self.workers} workers over 1": self._speed(several, over=one),
            "prepare over bare tiktoken": self._speed(several, over=bare),
            "BPE training over bare tokenizers": self._speed("train BPE", over="bare tokenizers"),
        }

    def _speed(self, side: str, *, over: str) -> float:
        return paired_ratio(self.timings[over], self.timings[side])


def bench_tokenizing(
    text: Path,
    *,
    training_bytes: int,
    tokenizer: str,
    vocab_size: int,
    workers: int,
    rounds: int,
    tell: Callable[[str], None],
) -> TokenizingResult:
    """Time preparing `text` (UTF-8) and training a BPE on its first `training_bytes`.

    Raises SettingError where the text cannot be read as UTF-8, before anything is timed.
    """
    _check_utf8(text)
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as name:
        folder = Path(name)
        sample = _beginning(text, folder / "sample.txt", size=training_bytes)
        sides = {
            f"bare tiktoken, {workers} threads": partial(
                _peer, "tiktoken", text, str(workers), tokenizer
            ),
            "prepare, 1 worker": partial(_prepare, text, folder, tokenizer, workers=1),
            f"prepare, {workers} workers": partial(
                _prepare, text, folder, tokenizer, workers=workers
            ),
            "bare tokenizers": partial(_peer, "tokenizers", sample, str(vocab_size)),
            "train BPE": partial(_peer, "cloche", sample, str(vocab_size)),
        }
        timings = time_in_turn(sides, rounds=rounds, tell=tell)
        return TokenizingResult(
            text_bytes=text.stat().st_size,
            training_bytes=sample.stat().st_size,
            tokenizer=tokenizer,
            workers=workers,
            timings=timings,
        )


def make_text(path: Path, *, size: int) -> Path:
    """`path`, a file of about that many bytes of stories, made unless it is there.

    Three quarters are English, the rest Chinese; every part has a seed of its own.
    """
    if path.is_file() and path.stat().st_size >= size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.tmp")
    with partial_path.open("w", encoding="utf-8", newline="") as file:
        for seed in range(-(-size // _STORIES_PART_BYTES)):
            left = size - seed * _STORIES_PART_BYTES
            language = "zh" if seed % 4 == 3 else "en"
            file.write(stories_text(language, size_bytes=min(left, _STORIES_PART_BYTES), seed=seed))
    partial_path.replace(path)
    return path


def _check_utf8(text: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with text.open("rb") as file:
            while data := file.read(_READ_BYTES):
                decoder.decode(data)
        decoder.decode(b"", final=True)
    except OSError as exc:
        raise SettingError(f"{text} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingError(
            f"{text} is not UTF-8, the only encoding that the peers read: give a text in UTF-8"
        ) from exc


def _beginning(text: Path, path: Path, *, size: int) -> Path:
    with text.open("rb") as file:
        path.write_bytes(file.read(size).decode("utf-8", "ignore").encode("utf-8"))
    return path


def _peer(peer: str, path: Path, *numbers: str) -> float:
    return float(_run("-m", "cloche.bench.peers", peer, str(path), *numbers).strip())


def _prepare(text: Path, folder: Path, tokenizer: str, *, workers: int) -> float:
    out = folder / "tokens"
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    chosen = ("--text.tokenizer", tokenizer, "--workers", str(workers))
    _run("-m", "cloche", "data", "prepare", str(text), "--out", str(out), *chosen)
    return time.perf_counter() - began


def _run(*arguments: str) -> str:
    # -P: a queue.py or tokenizers.py that lies in the current directory is not ours
    done = subprocess.run([sys.executable, "-P", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout
