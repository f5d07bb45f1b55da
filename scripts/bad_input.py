"""Makes bad input of every kind, hands it to cloche, and writes what cloche says to docs.

`python scripts/bad_input.py` writes docs/bad-input.md; `--check` only compares. The messages there
are what the program printed, not what somebody remembers.
"""

import argparse
import gzip
import hashlib
import re
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bad_input_cases import (
    PREPARATION_CASES,
    SMALL,
    SOURCE_CASES,
    TEXT,
    TINY_DISK,
    TYPING_CASES,
    Case,
    both,
    nothing,
    row_file,
    run_cloche,
    write,
)
from bad_training_cases import TRAINING_CASES
from bad_tuning_cases import TUNING_CASES
from bad_weights_cases import CHOICE_CASES, EXPORT_CASES, FILE_CASES, IMPORT_CASES
from bad_writing_cases import WRITING_CASES

DOCUMENT = Path("docs/bad-input.md")
TOGETHER = 2  # cases, each in a folder of its own


def trained(folder: Path) -> None:
    """A small finished run in runs/book."""
    (folder / "book.txt").write_text(TEXT)
    run_cloche(f"train book.txt {SMALL} --train.save-every 2", folder)


def damaged(folder: Path) -> None:
    """A run whose newest weights have one flipped bit."""
    trained(folder)
    weights = folder / "runs/book/checkpoints/step-000004/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 4
    weights.write_bytes(content)


def truncated(folder: Path) -> None:
    """A checkpoint whose weights were cut short."""
    trained(folder)
    weights = folder / "runs/book/checkpoints/step-000004/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


HOLDER = """
import time
from pathlib import Path
from cloche.training.folder import claimed
with claimed(Path("runs/book")):
    time.sleep(6)
"""

TEXT_CASES = [
    Case("Empty text", "train empty.txt", write("empty.txt", "")),
    Case("Blank text", "train blank.txt", write("blank.txt", " \n\t\n")),
    Case("A missing file", "train bok.txt", write("book.txt", TEXT)),
    Case("A folder without text", "train pictures", lambda folder: (folder / "pictures").mkdir()),
    Case("A pattern that matches nothing", "train '*.text'", nothing),
    Case(
        "Bytes that are no text",
        "train book.txt --text.encoding utf-8",
        write("book.txt", TEXT.encode() + "秦川".encode("gbk") + b"\n"),
    ),
    Case(
        "Text that ends in half a character",
        "data inspect book.txt",
        write("book.txt", "秦川雄帝宅，函谷壯皇居。\n".encode() * 50 + b"\xe7\xa7"),
    ),
    Case("An unknown encoding", "train book.txt --text.encoding utf8000", write("book.txt", TEXT)),
    Case("NUL bytes", "train book.txt", write("book.txt", "one\ntwo\0three\n" * 50)),
    Case("A lone surrogate", "train rows.jsonl", row_file('{"text": "half \\ud83d"}')),
    Case("A row that is no JSON", "train rows.jsonl", row_file('{"text": "no end')),
    Case(
        "Bad rows, skipped as asked",
        f"train rows.jsonl --text.skip-bad {SMALL}",
        row_file('{"text": "no end'),
    ),
    Case(
        "Line ends of Windows (kept as they are)",
        "data inspect book.txt",
        write("book.txt", TEXT.replace("\n", "\r\n")),
    ),
    Case("A row without text", "train rows.jsonl", row_file('{"body": "here"}')),
    Case(
        "A damaged gzip",
        "train book.txt.gz",
        write("book.txt.gz", gzip.compress(TEXT.encode(), mtime=0)[:-20]),
    ),
    Case("A binary file", "train model.pt", write("model.pt", b"PK\x03\x04 and so on")),
    Case(
        "Text shorter than a context",
        "train book.txt --model.context 4096",
        write("book.txt", TEXT),
    ),
    Case("A handful of characters", "train book.txt", write("book.txt", "abc")),
]

RUN_CASES = [
    Case(
        "Heads that do not divide the width",
        "train book.txt --model.width 64 --model.heads 5",
        write("book.txt", TEXT),
    ),
    Case(
        "Several settings out of range at once",
        "train book.txt --train.learning-rate -1 --model.dropout 2 --data.split 7",
        write("book.txt", TEXT),
    ),
    Case(
        "Settings that contradict each other",
        "train book.txt --minutes 1 --train.steps 5",
        write("book.txt", TEXT),
    ),
    Case(
        "An unknown key in a recipe",
        "train book.txt --recipe my.toml",
        both(write("book.txt", TEXT), write("my.toml", "[model]\nlayer = 3\n")),
    ),
    Case("A recipe that is not there", "train book.txt --recipe gtp", write("book.txt", TEXT)),
    Case("A misspelt option", "train book.txt --model.layer 3", write("book.txt", TEXT)),
    Case("A folder that already holds a training", f"train book.txt {SMALL}", trained),
    Case(
        "A run folder in use by another process",
        f"train book.txt {SMALL}",
        both(write("book.txt", TEXT), write("holder.py", HOLDER)),
        shell=f"{sys.executable} holder.py & sleep 3; ",
    ),
    Case(
        "A file where a run folder should be",
        "train book.txt --out book.txt",
        write("book.txt", TEXT),
    ),
    Case(
        "A disk that is full when a checkpoint is saved",
        f"train book.txt {SMALL} --train.save-every 2",
        write("book.txt", TEXT),
        shell=TINY_DISK,
    ),
    Case("Resuming with other options", "train book.txt --resume --train.seed 7", trained),
    Case(
        "Resuming with another text",
        "train book.txt --resume",
        both(trained, write("book.txt", TEXT + "More.")),
    ),
    Case("A run that is not there", "generate runs/bok hello", trained),
    Case(
        "A pickled model given as a RUN",
        "generate model.pt hello",
        write("model.pt", b"\x80\x02 never opened"),
    ),
    Case("An unknown character in a prompt", "generate runs/book 龍", trained),
    Case(
        "A flipped bit in the weights",
        "generate runs/book The --seed 1 --max-new-tokens 4",
        damaged,
    ),
    Case("Weights cut short", "generate runs/book The --seed 1 --max-new-tokens 4", truncated),
    Case("A prompt longer than the context", f"generate runs/book '{TEXT[:60]}'", trained),
    Case(
        "Sampling settings out of range",
        "generate runs/book The --top-p 0 --temperature -1",
        trained,
    ),
    Case("A verb that is not there", "trian book.txt", nothing),
]


GROUPS = {
    "Texts": TEXT_CASES + SOURCE_CASES,
    "Tokens prepared beforehand": PREPARATION_CASES,
    "Tokenizers, cleaning and data sets": TYPING_CASES,
    "Training and generating": RUN_CASES,
    "Plans, parts and processes": TRAINING_CASES,
    "Writing and measuring": WRITING_CASES,
}
WATCHED = {
    "Model folders that come in": IMPORT_CASES,
    "Model files that come in": FILE_CASES,
    "Models that go out": EXPORT_CASES,
    "Pairs, families and published results": CHOICE_CASES,
    "Tuning and alignment": TUNING_CASES,
}
"""What is told of files, too: those that a command made, changed or removed and yet failed."""
VARYING = (
    (r"\.\d+\.tmp", ".PID.tmp"),
    (r'(?m), "seconds": [\d.e-]+\}', "}"),
    (r"(?m)^  largest difference of logits \S+ ", "  largest difference of logits ... "),
    (r"cloche: \d+ tokens?, \d+ a second[^\n]*\n", ""),
    (r"(?m)^\d+\.\d s\. Next", "S s. Next"),
    (r"(?m)^(cloche: )?compiling the kernels [^\n]*\n", ""),
    (r", \d+ a second", ""),
)
"""What differs from run to run, and what the document has instead."""


def section(case: Case) -> str:
    """The case as a section of the document."""
    return outcome(case)[0]


def watched_section(case: Case) -> str:
    """The same, and what became of the files where the command failed."""
    text, status, different = outcome(case)
    if status == 0:
        return text
    places = dict.fromkeys(re.sub(r"(\.tmp/).+", r"\1", settled(name)) for name in different)
    told = ", ".join(f"`{place}`" for place in places) or "none"
    return f"{text}\nFiles made, changed or gone: {told}.\n"


def outcome(case: Case) -> tuple[str, int, list[str]]:
    """The section of a case, its status, and the files that are not as they were."""
    folder = Path(tempfile.mkdtemp(prefix="cloche-bad-"))
    try:
        case.prepare(folder)
        before = contents(folder)
        status, said = run_cloche(case.command, folder, shell=case.shell)
        after = contents(folder)
    finally:
        shutil.rmtree(folder)
    said = settled(said.replace(f"{folder.resolve()}/", ""))
    lines = "\n".join(line.rstrip() for line in said.strip().splitlines())
    text = f"### {case.name}\n\n`cloche {case.command}` ends with {status}:\n\n```\n{lines}\n```\n"
    every = sorted(before.keys() | after.keys())
    return text, status, [name for name in every if before.get(name) != after.get(name)]


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file below a folder, by its path; what is cached is none."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def settled(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text)
    return text


def main() -> int:
    """Write or check the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where the document is not true")
    check = parser.parse_args().check
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of jobs behind & ignore it
    head = (
        "# What cloche says to bad input\n\n"
        "Made by `scripts/bad_input.py` from what the program prints. A user's mistake ends with "
        "status 2,\none message and no traceback; nothing is lost. In the last groups "
        "all files are compared\nwith what they were before a command that failed.\n\n"
    )
    groups = [(name, cases, section) for name, cases in GROUPS.items()]
    groups += [(name, cases, watched_section) for name, cases in WATCHED.items()]
    with ThreadPoolExecutor(TOGETHER) as pool:
        document = head + "\n".join(
            f"## {name}\n\n" + "\n".join(pool.map(write_section, cases))
            for name, cases, write_section in groups
        )
    if not check:
        DOCUMENT.write_text(document, encoding="utf-8")
        return 0
    return 0 if DOCUMENT.read_text(encoding="utf-8") == document else 1


if __name__ == "__main__":
    sys.exit(main())
