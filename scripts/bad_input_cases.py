"""Bad texts and bad preparations for `bad_input.py`: what each is, and what command meets it."""

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard
from pypdf import PdfWriter

TEXT = "The fox saw two stones near the river, and the old hen saw ten more.\n" * 120
CHINESE = "今天天气很好，小明和朋友们去公园里玩。\n" * 60
FOUR_BYTES = "他姓𠮷，住在㐀山下；今天天气很好。\n" * 60
HKSCS = "今天天氣很好，佢住喺深水埗，啲嘢好靚，𨋢壞咗。\n" * 60
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
SMALL = "--train.steps 4 --train.batch 4 --model.layers 1 --model.width 32 --model.context 16"
TINY_DISK = "ulimit -f 80; "  # files of at most 40 kB: smaller than the weights
NO_NETWORK = "export HTTPS_PROXY=http://127.0.0.1:9; "

Preparation = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One bad input: what it is, how it comes about, and the command that meets it."""

    name: str
    command: str
    prepare: Preparation
    shell: str = ""
    """What the shell does first, such as a limit it sets."""


def run_cloche(command: str, folder: Path, *, shell: str = "") -> tuple[int, str]:
    """Exit status and all that was said."""
    done = subprocess.run(
        f"{shell}{sys.executable} -m cloche {command}",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "100"},
    )
    return done.returncode, done.stdout + done.stderr


def write(name: str, content: bytes | str) -> Preparation:
    """A preparation that writes one file."""
    data = content.encode() if isinstance(content, str) else content

    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return prepare


def both(*preparations: Preparation) -> Preparation:
    """Several preparations, one after the other."""

    def prepare(folder: Path) -> None:
        for preparation in preparations:
            preparation(folder)

    return prepare


def ran(command: str, *, shell: str = "") -> Preparation:
    """A preparation by cloche itself."""

    def prepare(folder: Path) -> None:
        run_cloche(command, folder, shell=shell)

    return prepare


def nothing(_: Path) -> None:
    """A preparation for what needs none."""


def row_file(row: str) -> Preparation:
    """A preparation with a bad second row."""
    return write("rows.jsonl", json.dumps({"text": TEXT}) + "\n" + row + "\n")


def pdf_without_text(folder: Path) -> None:
    """A PDF with one empty page, as a scanner's pages are without recognised text."""
    content = io.BytesIO()
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    writer.write(content)
    (folder / "scan.pdf").write_bytes(content.getvalue())


def one_line(folder: Path) -> None:
    """100 MB without a line end."""
    block = TEXT.replace("\n", " ").encode() * 120
    with (folder / "line.txt").open("wb") as file:
        for _ in range(100_000_000 // len(block)):
            file.write(block)


def changed_in_the_middle(folder: Path) -> None:
    """A preparation planned for a text that has changed when the work begins."""
    write("book.txt", TEXT)(folder)
    run_cloche("data prepare book.txt --plan-only", folder)
    write("book.txt", TEXT + "More.\n")(folder)


def other_tokenizer(folder: Path) -> None:
    """Tokens beside the tokenizer of another text."""
    both(write("book.txt", TEXT), write("other.txt", "abc def\n" * 900))(folder)
    run_cloche("data prepare book.txt", folder)
    run_cloche("data prepare other.txt", folder)
    saved = "tokenizer/tokenizer.json"
    (folder / "prepared/other" / saved).replace(folder / "prepared/book" / saved)


def other_tokenizer_in_a_checkpoint(folder: Path) -> None:
    """A run whose every checkpoint got the tokenizer of another text."""
    both(write("book.txt", TEXT), write("other.txt", "abc def\n" * 900))(folder)
    run_cloche(f"train book.txt {SMALL}", folder)
    run_cloche("data prepare other.txt", folder)
    content = (folder / "prepared/other/tokenizer/tokenizer.json").read_bytes()
    for place in (folder / "runs/book/checkpoints").glob("step-*"):
        (place / "tokenizer.json").write_bytes(content)


MIXED = both(
    write("texts/english.txt", TEXT),
    write("texts/gbk.txt", CHINESE.encode("gbk")),
    write("texts/gb18030.txt", FOUR_BYTES.encode("gb18030")),
    write("texts/hong-kong.txt", HKSCS.encode("big5hkscs")),
    write("texts/utf-16.txt", CHINESE.encode("utf-16-le")),
    write("texts/picture.txt", PICTURE),
    write("texts/photo.jpg", b"\xff\xd8\xff\xe0" + PICTURE),
)
BOOK = write("book.txt", TEXT)
FLIPPED = bytearray(gzip.compress(TEXT.encode(), mtime=0))
FLIPPED[len(FLIPPED) // 2] ^= 4

SOURCE_CASES = [
    Case("Mixed encodings and binary files in one folder", "data prepare texts", MIXED),
    Case(
        "Binary files alone",
        "data prepare texts",
        both(write("texts/picture.txt", PICTURE), write("texts/photo.jpg", PICTURE)),
    ),
    Case("A picture called .txt", "train a.txt", write("a.txt", PICTURE)),
    Case(
        "UTF-16 without a byte order mark, found",
        "data inspect book.txt",
        write("book.txt", CHINESE.encode("utf-16-be")),
    ),
    Case(
        "UTF-16 without a byte order mark, under a name that needs one",
        "train book.txt --text.encoding utf-16",
        write("book.txt", TEXT.encode("utf-16-le")),
    ),
    Case(
        "UTF-16 that ends in half a character",
        "train book.txt",
        write("book.txt", CHINESE.encode("utf-16-le")[:-1]),
    ),
    Case(
        "Western text in an old encoding (asked about, never guessed)",
        "train book.txt",
        write("book.txt", ("Straße über Größe, déjà vu.\n" * 50).encode("cp1252")),
    ),
    Case("A single line of 100 MB", "data prepare line.txt --text.tokenizer characters", one_line),
    Case("A flipped bit in a gzip", "train book.txt.gz", write("book.txt.gz", bytes(FLIPPED))),
    Case("Plain text called .gz", "train book.txt.gz", write("book.txt.gz", TEXT)),
    Case(
        "A damaged zstd",
        "train book.txt.zst",
        write("book.txt.zst", zstandard.compress(TEXT.encode())[:-7]),
    ),
    Case("A PDF without text", "train scan.pdf", pdf_without_text),
    Case(
        "A csv without a text column",
        "train rows.csv",
        write("rows.csv", "title,body\n" + "A fox,The fox saw two stones.\n" * 60),
    ),
]

PREPARATION_CASES = [
    Case(
        "A tokenizer that is not that of the tokens",
        f"train prepared/book {SMALL}",
        other_tokenizer,
    ),
    Case(
        "A tokenizer that is not that of the model",
        "generate runs/book The --seed 1",
        other_tokenizer_in_a_checkpoint,
    ),
    Case(
        "A preparation that was not finished",
        f"train prepared/book {SMALL}",
        both(BOOK, ran("data prepare book.txt --plan-only")),
    ),
    Case(
        "A preparation that was not finished, taken up again",
        "data prepare book.txt",
        both(BOOK, ran("data prepare book.txt --plan-only")),
    ),
    Case(
        "A text that changed after it was prepared, trained on",
        f"train prepared/book {SMALL} --train.sample-tokens 0",
        both(BOOK, ran("data prepare book.txt"), write("book.txt", TEXT + "More.\n")),
    ),
    Case(
        "A text that changed after it was prepared, prepared again",
        "data prepare book.txt",
        both(BOOK, ran("data prepare book.txt"), write("book.txt", TEXT + "More.\n")),
    ),
    Case(
        "A text that changes while it is prepared",
        "data prepare --out prepared/book",
        changed_in_the_middle,
    ),
    Case(
        "A disk that is full when tokens are written",
        "data prepare book.txt",
        write("book.txt", TEXT * 40),
        shell=TINY_DISK,
    ),
    Case(
        "A disk that is full when a preparation begins",
        "data prepare book.txt",
        BOOK,
        shell="ulimit -f 1; ",
    ),
    Case(
        "The same command once there is room again",
        "data prepare book.txt",
        both(write("book.txt", TEXT * 40), ran("data prepare book.txt", shell=TINY_DISK)),
    ),
    Case("Tokens into the folder of the texts", "data prepare texts --out texts", MIXED),
    Case(
        "Tokens into a folder of other files",
        "data prepare book.txt --out notes",
        both(BOOK, write("notes/to-do.md", "Read.")),
    ),
]

TYPING_CASES = [
    Case("A misspelt tokenizer", "train book.txt --text.tokenizer gtp2", BOOK),
    Case(
        "A tokenizer's file that is not there",
        "train book.txt --text.tokenizer mine/tokenizer.json",
        BOOK,
    ),
    Case(
        "A published tokenizer without a network",
        "train book.txt --text.tokenizer o200k_base",
        BOOK,
        shell=NO_NETWORK,
    ),
    Case(
        "A damaged tokenizer.json",
        "train book.txt --text.tokenizer mine",
        both(BOOK, write("mine/tokenizer.json", '{"version": "1.0", "model": {"type": "BPE"')),
    ),
    Case(
        "A tokenizer.json that holds something else",
        "train book.txt --text.tokenizer mine",
        both(BOOK, write("mine/tokenizer.json", '{"name": "my-project"}')),
    ),
    Case(
        "A damaged SentencePiece model",
        "train book.txt --text.tokenizer spiece.model",
        both(BOOK, write("spiece.model", b"\x0a\x0e\x0a\x05<unk>\x15\0" + b"\xff" * 50)),
    ),
    Case(
        "A word that is not in the vocabulary, without <|unk|>",
        "data prepare book.txt --text.tokenizer words --text.unknown off",
        write("book.txt", TEXT + "The dragon slept.\n"),
    ),
    Case(
        "A vocabulary of no size",
        "train book.txt --text.tokenizer bpe --text.vocab-size 20",
        BOOK,
    ),
    Case("Unknown cleaning steps", "data prepare book.txt --data.clean nfcc,min-length", BOOK),
    Case("Splitting one document by document", "train book.txt --data.split-by document", BOOK),
    Case("A way of splitting that is not there", "train book.txt --data.split-by line", BOOK),
    Case(
        "A data set by name without a network",
        "data prepare hf:roneneldan/TinyStories",
        nothing,
        shell="export HF_HUB_OFFLINE=1; ",
    ),
    Case("A data set without a name", "data prepare hf:", nothing),
    Case("Unknown tokenizers to compare", "tokenize hello --compare gpt3,words", nothing),
    Case(
        "A special token that is not there",
        "tokenize hello --tokenizer bpe --allow-special '<s>'",
        nothing,
    ),
]
