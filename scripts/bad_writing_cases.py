"""Bad prompts, settings and rows for `bad_input.py`: what each is, and what command meets it."""

import json
from pathlib import Path

from bad_input_cases import SMALL, TEXT, Case, both, run_cloche, write

ROWS = (
    '{"prompt": "The fox"}\n{"prompt": \n{"prompt": "The", "temprature": 1}\n{"prompt": "The 龍"}\n'
)


def trained(folder: Path) -> None:
    """A small finished run in runs/book."""
    (folder / "book.txt").write_text(TEXT)
    run_cloche(f"train book.txt {SMALL}", folder)


def half_answered(folder: Path) -> None:
    """Answers to the first of two rows, and half a line more."""
    trained(folder)
    (folder / "in.jsonl").write_text('{"prompt": "The"}\n{"prompt": "old"}\n')
    run_cloche(f"generate runs/book {FILE} --seed 1 --max-new-tokens 3", folder)
    answers = (folder / "out.jsonl").read_text()
    (folder / "out.jsonl").write_text(answers[: answers.index("\n") + 20])


def with_another_tokenizer(folder: Path) -> None:
    """Two runs of one text, in other tokens each."""
    trained(folder)
    run_cloche(f"train book.txt {SMALL} --text.tokenizer words --out runs/other", folder)


def moved_away(folder: Path) -> None:
    """A checkpoint without the run it came from."""
    trained(folder)
    (folder / "runs/book/best").resolve().rename(folder / "moved")


FILE = "--input in.jsonl --out out.jsonl"
SCHEMA = json.dumps({"type": "objekt"})

WRITING_CASES = [
    Case(
        "Numbers that are none, too large or below what is allowed",
        "generate runs/book The --temperature nan --top-k 0 --min-p 2 --repetition-penalty inf",
        trained,
    ),
    Case("A number that is a word", "generate runs/book The --top-p many", trained),
    Case("Greedy and by chance", "generate runs/book The --greedy --temperature 1", trained),
    Case("Greedy answers, several", "generate runs/book The --greedy --n 3", trained),
    Case(
        "A prompt longer than the context, its end read as told",
        f"generate runs/book '{TEXT[:60]}' --window --seed 1 --max-new-tokens 4",
        trained,
    ),
    Case(
        "A schema that is none",
        "generate runs/book The --json-schema s.json",
        both(trained, write("s.json", SCHEMA)),
    ),
    Case("An expression that is none", "generate runs/book The --regex '[a-'", trained),
    Case(
        "An expression that the vocabulary cannot write",
        "generate runs/book The --regex '龍+'",
        trained,
    ),
    Case(
        "A forced text with too few tokens",
        "generate runs/book The --force 'old hen' --max-new-tokens 2",
        trained,
    ),
    Case("A search and chance", "generate runs/book The --beams 2 --top-p 0.5", trained),
    Case(
        "A template that needs more",
        "generate runs/book The --template '{{ a }} {{ prompt }}'",
        trained,
    ),
    Case("Corrupt rows", f"generate runs/book {FILE}", both(trained, write("in.jsonl", ROWS))),
    Case(
        "Corrupt rows, the others answered",
        f"generate runs/book {FILE} --keep-going --seed 1 --max-new-tokens 3",
        both(trained, write("in.jsonl", ROWS)),
    ),
    Case("Answers that are there already", f"generate runs/book {FILE}", half_answered),
    Case(
        "Going on with other settings",
        f"generate runs/book {FILE} --resume --top-k 3",
        half_answered,
    ),
    Case(
        "Guesses of a model with another tokenizer",
        "generate runs/book The --speculate runs/other",
        with_another_tokenizer,
    ),
    Case("A precision that is none", "generate runs/book The --precision int3", trained),
    Case("A stride beyond the context", "eval runs/book --stride 99", trained),
    Case(
        "A text with unknown characters",
        "eval runs/book other.txt",
        both(trained, write("other.txt", "龍" * 50)),
    ),
    Case(
        "A task that is not there",
        "eval runs/book --tasks no_such_task",
        trained,
        shell="export HF_HUB_OFFLINE=1; ",
    ),
    Case(
        "Writing judged without the text it learned from",
        "eval moved --writing",
        moved_away,
    ),
]
