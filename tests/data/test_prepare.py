import json
import subprocess
import sys

import pytest

from cloche.data.options import DataOptions
from cloche.data.prepare import RECIPE, inspect_all, open_prepared, prepare_text
from cloche.errors import DataError, TextError
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

LINE = "The quick brown fox saw seven old hens.\n"


def prepare(folder, *paths, text=None, data=None, told=None):
    options = text or TextOptions()
    sources = find_sources([str(path) for path in paths])
    return prepare_text(
        folder,
        sources,
        inspect_all(sources, options),
        text=options,
        data=data or DataOptions(),
        tell=(told if told is not None else []).append,
    )


def text_of(prepared, part):
    shard = getattr(prepared, part)
    return prepared.tokenizer.decode([int(token) for token in shard.tokens])


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(LINE * 100, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_both_parts_together_are_the_text_cut_at_the_character(tmp_path, book, kind):
    text = LINE * 100
    prepared = prepare(tmp_path / "tokens", book, text=TextOptions(tokenizer=kind))
    cut = int(len(text) * 0.9)
    assert text_of(prepared, "train") == text[:cut]
    assert text_of(prepared, "validation") == text[cut:]
    assert prepared.train.metadata.characters == cut
    assert prepared.validation.metadata.utf8_bytes == len(text) - cut
    assert not prepared.train.separated


def test_another_split_cuts_elsewhere(tmp_path, book):
    prepared = prepare(tmp_path / "tokens", book, data=DataOptions(split=0.5))
    assert prepared.train.metadata.characters == len(LINE) * 50


def test_the_tokenizer_is_trained_on_the_training_part_only(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(LINE * 90 + "é" + LINE * 10, encoding="utf-8")
    prepared = prepare(tmp_path / "tokens", path, text=TextOptions(tokenizer="characters"))
    assert prepared.tokenizer.special_ids.unk is not None
    assert prepared.tokenizer.special_ids.unk in prepared.validation.tokens
    assert prepared.tokenizer.special_ids.unk not in prepared.train.tokens


def test_documents_end_with_an_end_of_text_token_and_one_may_be_cut_in_two(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [LINE * 4, LINE * 3, LINE * 3]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    prepared = prepare(tmp_path / "tokens", path, data=DataOptions(split=0.5))
    eos = prepared.tokenizer.special_ids.eos
    train, validation = prepared.train, prepared.validation
    assert (train.tokens == eos).sum() == 1  # the second document is cut
    assert (validation.tokens == eos).sum() == 2
    assert len(train.ends) == 2
    assert len(validation.ends) == 2
    assert train.tokens[train.ends[0] - 1] == eos
    assert text_of(prepared, "train") + text_of(prepared, "validation") == "".join(rows)


def test_several_files_are_documents_in_order(tmp_path):
    paths = []
    for name in "ab":
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text(f"{name}{LINE}" * 30, encoding="utf-8")
    prepared = prepare(tmp_path / "tokens", *paths)
    assert text_of(prepared, "train").startswith("aThe")
    assert text_of(prepared, "validation").endswith(f"b{LINE}")
    assert prepared.validation.separated


def test_tokens_are_made_once_and_reused_while_nothing_changes(tmp_path, book):
    folder, told = tmp_path / "tokens", []
    prepare(folder, book, told=told)
    made = (folder / RECIPE).stat().st_mtime_ns
    prepare(folder, book, told=told)
    assert (folder / RECIPE).stat().st_mtime_ns == made
    assert "made earlier" in told[-1]


@pytest.mark.parametrize("change", ["text", "split", "tokenizer", "a killed process"])
def test_tokens_are_made_anew_when_something_changes(tmp_path, book, change):
    folder, told = tmp_path / "tokens", []
    prepare(folder, book)
    text, data = TextOptions(), DataOptions()
    if change == "text":
        book.write_text(LINE * 101, encoding="utf-8")
    elif change == "split":
        data = DataOptions(split=0.8)
    elif change == "tokenizer":
        text = TextOptions(tokenizer="bpe", vocab_size=300)
    else:
        (folder / RECIPE).unlink()
    prepared = prepare(folder, book, text=text, data=data, told=told)
    assert not any("made earlier" in line for line in told)
    whole = text_of(prepared, "train") + text_of(prepared, "validation")
    assert whole == book.read_text(encoding="utf-8")


def test_shards_of_another_tokenizer_are_refused_naming_both(tmp_path, book):
    folder = tmp_path / "tokens"
    prepared = prepare(folder, book)
    metadata = folder / "train" / "tokens.ds.metadata"
    values = json.loads(metadata.read_text()) | {"tokenizer": "f" * 64}
    metadata.write_text(json.dumps(values))
    with pytest.raises(DataError, match=f"ffffffffffff.*{prepared.tokenizer.fingerprint[:12]}"):
        open_prepared(folder)


def test_a_text_of_one_character_cannot_be_cut(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("a")
    with pytest.raises(TextError, match="too few"):
        prepare(tmp_path / "tokens", path)


def test_tokens_that_are_not_there_are_told(tmp_path):
    with pytest.raises(DataError, match="no prepared tokens"):
        open_prepared(tmp_path)


def test_one_line_of_100_megabytes_is_prepared_in_bounded_memory(tmp_path):
    """In a process of its own: the peak of this one is not ours alone."""
    path = tmp_path / "line.txt"
    words = "The fox saw two stones near the river, and the old hen saw ten more. " * 1000
    with path.open("w") as file:
        for _ in range(100_000_000 // len(words)):
            file.write(words)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from cloche.data.options import DataOptions\n"
        "from cloche.data.prepare import inspect_all, prepare_text\n"
        "from cloche.text.options import TextOptions\n"
        "from cloche.text.sources import find_sources\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before, text = peak(), TextOptions(tokenizer='characters')\n"
        "sources = find_sources([sys.argv[1]])\n"
        "made = prepare_text(Path(sys.argv[2]), sources, inspect_all(sources, text), text=text,\n"
        "    data=DataOptions(), tell=lambda line: None)\n"
        "print(len(made.train) + len(made.validation), peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "tokens")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tokens, megabytes = done.stdout.split()
    assert int(tokens) == path.stat().st_size
    assert float(megabytes) < 100
