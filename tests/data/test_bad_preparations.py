"""What goes wrong around a preparation: full disks, kills, folders of other files, lost texts."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from cloche.cli.main import main
from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all
from cloche.data.prepare import open_prepared, prepare_text
from cloche.data.shards import ShardWriter
from cloche.errors import DataError, TokenizerError
from cloche.text.characters import CharacterTokenizer
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

LINE = "The quick brown fox saw seven old hens.\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "book.txt").write_text(LINE * 200, encoding="utf-8")
    return tmp_path


@contextlib.contextmanager
def files_of_at_most(size):
    """Every file that would grow beyond `size` bytes cannot be written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def prepare(folder, path, *, data=None, text=None, told=None):
    options, sources = text or TextOptions(), find_sources([str(path)])
    return prepare_text(
        folder,
        sources,
        inspect_all(sources, options),
        text=options,
        data=data or DataOptions(),
        tell=(told if told is not None else []).append,
    )


@pytest.mark.parametrize("clean", ["", "nfc"])
@pytest.mark.parametrize("size", [0, 200, 700, 1500, 5000])
def test_wherever_the_disk_is_full_it_is_told_and_the_same_command_goes_on(here, clean, size):
    data = DataOptions(clean=clean)
    prepare(here / "whole", "book.txt", data=data)
    with files_of_at_most(size), pytest.raises(DataError, match=r"cannot be written.*File too"):
        prepare(here / "full", "book.txt", data=data)
    assert not list((here / "full").rglob("*.tmp"))
    with pytest.raises(DataError, match=r"not finished|no prepared tokens"):
        open_prepared(here / "full")
    prepare(here / "full", "book.txt", data=data)
    for part in ("tasks", "tokenizer"):
        assert contents(here / "full" / part) == contents(here / "whole" / part) != {}


@pytest.mark.parametrize("number", range(8))
def test_a_disk_that_fails_at_any_flush_leaves_nothing_half_done(here, monkeypatch, number):
    prepare(here / "whole", "book.txt")
    original, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == number + 1:
            raise OSError(28, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(DataError, match=r"No space left on device\. What is done is kept"):
            prepare(here / "full", "book.txt")
    assert not list((here / "full").rglob("*.tmp"))
    assert not (here / "full/prepared.json").exists()
    prepare(here / "full", "book.txt")
    assert contents(here / "full") == contents(here / "whole")


def test_a_token_file_that_cannot_grow_says_why(tmp_path):
    writer = ShardWriter(tmp_path / "shard", vocab_size=9, tokenizer="f" * 64)
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        writer.append([1] * 1_000_000)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_on_the_command_line_is_a_message(here, capsys):
    with files_of_at_most(0):
        assert main(["data", "prepare", "book.txt", "--out", "p"]) == 2
    told = capsys.readouterr().err
    assert "cloche: the tokens cannot be written to p: File too large" in told
    assert (here / "book.txt").read_text(encoding="utf-8") == LINE * 200


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["texts", "--out", "texts"], "texts/a.txt lies in texts, where its tokens would go"),
        (["texts", "--out", "."], "lies in ., where its tokens would go"),
        (["book.txt", "--out", "texts"], "texts holds other files, and tokens need a folder"),
        (["book.txt", "--out", "book.txt"], "book.txt is a file; tokens need a folder"),
        (["book.txt", "--out", "mine"], "mine holds other files"),
    ],
)
def test_no_file_that_is_not_of_a_preparation_is_ever_removed(here, capsys, arguments, told):
    (here / "texts").mkdir()
    (here / "texts/a.txt").write_text(LINE * 50)
    CharacterTokenizer(LINE).save(here / "mine/tokenizer")  # named as a preparation's own
    before = contents(here)
    assert main(["data", "prepare", *arguments]) == 2
    assert told in capsys.readouterr().err
    after = {name: data for name, data in contents(here).items() if not name.endswith(".lock")}
    assert after == before


def test_notes_beside_the_tokens_stay_when_they_are_made_anew(here):
    prepare(here / "p", "book.txt")
    (here / "p/notes.md").write_text("from the library")
    prepare(here / "p", "book.txt", data=DataOptions(split=0.5))
    assert (here / "p/notes.md").read_text() == "from the library"


def test_a_text_that_is_cleaned_tokens_of_the_same_folder_is_refused(here):
    prepare(here / "p", "book.txt", data=DataOptions(clean="nfc"))
    before = contents(here / "p")
    with pytest.raises(DataError, match="lies in"):
        prepare(here / "p", "p/cleaned.jsonl")
    assert contents(here / "p") == before


def test_kill_9_at_any_moment_ends_in_the_same_bytes(here):
    """Real kills of a real command; the long form, with several processes, is among the bars."""
    (here / "long.txt").write_text(LINE * 60_000, encoding="utf-8")
    command = [sys.executable, "-m", "cloche", "data", "prepare", "long.txt"]
    command += ["--text.tokenizer", "bpe", "--text.vocab-size", "280", "--workers", "1"]

    def begin(folder):
        return subprocess.Popen(
            [*command, "--out", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    began = time.monotonic()
    assert begin("whole").wait() == 0
    seconds = time.monotonic() - began
    chance = random.Random(4)
    for _ in range(3):
        process = begin("killed")
        time.sleep(chance.uniform(0.3, 0.95) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert begin("killed").wait() == 0
    assert contents(here / "killed") == contents(here / "whole")
    assert not list((here / "killed").rglob("*.tmp"))


def test_a_text_changed_after_it_was_prepared_is_prepared_again(here, capsys):
    """Also where its size stayed the same, and back to what it was."""
    for content in (LINE * 200, LINE.replace("fox", "cat") * 200, LINE * 200):
        (here / "book.txt").write_text(content, encoding="utf-8")
        assert main(["data", "prepare", "book.txt", "--out", "p"]) == 0
        prepared = open_prepared(here / "p")
        ids = [*map(int, prepared.train.tokens[:]), *map(int, prepared.validation.tokens[:])]
        assert prepared.tokenizer.decode(ids) == content
    assert "preparing it again" in capsys.readouterr().err


def test_a_text_that_only_looks_changed_keeps_its_tokens(here, capsys):
    main(["data", "prepare", "book.txt", "--out", "p"])
    made = (here / "p/prepared.json").stat().st_mtime_ns
    os.utime("book.txt", (1, 1))
    capsys.readouterr()
    assert main(["data", "prepare", "book.txt", "--out", "p"]) == 0
    assert "text and tokenizer are unchanged" in capsys.readouterr().err
    assert (here / "p/prepared.json").stat().st_mtime_ns == made


def test_another_tokenizer_put_beside_the_tokens_is_refused_naming_both(here, capsys):
    prepared = prepare(here / "p", "book.txt")
    other = CharacterTokenizer("abc")
    other.save(here / "p/tokenizer")
    assert main(["train", "p", "--out", "run"]) == 2
    told = capsys.readouterr().err
    assert other.fingerprint[:12] in told
    assert prepared.tokenizer.fingerprint[:12] in told
    assert not (here / "run/checkpoints").exists()


def test_an_unknown_word_without_a_token_for_it_stops_the_preparation_by_name(here):
    (here / "book.txt").write_text(LINE * 200 + "The dragon slept.\n")
    text = TextOptions(tokenizer="words", unknown="off")
    with pytest.raises(TokenizerError, match=r"the word 'dragon'.*--text\.unknown on"):
        prepare(here / "p", "book.txt", text=text)
    with pytest.raises(DataError, match="not finished"):
        open_prepared(here / "p")
    text = TextOptions(tokenizer="words", unknown="on")
    assert "<|unk|>" in prepare(here / "p", "book.txt", text=text).tokenizer.special_tokens
