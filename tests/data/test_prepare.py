import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from preparations import LINE, files_of, place_of, prepare, text_of

from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all, plan_text
from cloche.data.prepare import PREPARED, finish, open_prepared, run_rank
from cloche.data.shards import ShardWriter
from cloche.data.tasks import SPEC, open_work, run_task
from cloche.data.workers import Workers
from cloche.errors import DataError, TextError
from cloche.text.characters import CharacterTokenizer
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources


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
    assert prepared.tokenizer.special_ids.unk in prepared.validation.tokens[:]
    assert prepared.tokenizer.special_ids.unk not in prepared.train.tokens[:]


def test_documents_end_with_an_end_of_text_token_and_one_may_be_cut_in_two(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [LINE * 4, LINE * 3, LINE * 3]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    prepared = prepare(tmp_path / "tokens", path, data=DataOptions(split=0.5))
    eos = prepared.tokenizer.special_ids.eos
    train, validation = prepared.train, prepared.validation
    assert (train.tokens[:] == eos).sum() == 1  # the second document is cut
    assert (validation.tokens[:] == eos).sum() == 2
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
    made = (folder / PREPARED).stat().st_mtime_ns
    prepare(folder, book, told=told)
    assert (folder / PREPARED).stat().st_mtime_ns == made
    assert "made earlier" in told[-1]


@pytest.mark.parametrize("change", ["text", "split", "tokenizer", "a plan never written"])
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
        (folder / SPEC).unlink()
    prepared = prepare(folder, book, text=text, data=data, told=told)
    assert not any("made earlier" in line for line in told)
    whole = text_of(prepared, "train") + text_of(prepared, "validation")
    assert whole == book.read_text(encoding="utf-8")


def test_what_a_killed_process_has_done_stays_and_the_rest_is_done(tmp_path, book, small_tasks):
    whole, folder = prepare(tmp_path / "whole", book), tmp_path / "tokens"
    prepare(folder, book)
    shutil.rmtree(place_of(folder, 1))
    (folder / PREPARED).unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    dead = place_of(folder, 1).with_name(f".00001.{host}.{ended.pid}.ab")
    working = place_of(folder, 1).with_name(f".00001.{host}.{os.getppid()}.cd")
    dead.mkdir()
    working.mkdir()
    kept = place_of(folder, 0).stat().st_mtime_ns
    prepared = prepare(folder, book)
    assert place_of(folder, 0).stat().st_mtime_ns == kept
    assert not dead.exists()
    assert working.exists()
    assert files_of(folder) == files_of(tmp_path / "whole")
    assert text_of(prepared, "train") == text_of(whole, "train")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to ask on this system")
def test_what_a_dead_process_left_is_removed_though_nobody_asked_how_it_ended(tmp_path, book):
    folder = tmp_path / "tokens"
    prepare(folder, book)
    (folder / PREPARED).unlink()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        name = f".00000.{socket.gethostname()}.{ended.pid}.ab"
        left = place_of(folder, 0).with_name(name)
        left.mkdir()
        prepare(folder, book)
        assert not left.exists()


def test_unfinished_tokens_are_not_opened(tmp_path, book):
    folder = tmp_path / "tokens"
    prepare(folder, book)
    (folder / PREPARED).unlink()
    with pytest.raises(DataError, match="was not finished"):
        open_prepared(folder)


def test_several_processes_make_the_bytes_that_one_makes(tmp_path, book, small_tasks):
    one = prepare(tmp_path / "one", book)
    done = []
    with Workers(2) as workers:
        several = prepare(
            tmp_path / "several",
            book,
            workers=workers,
            progress=lambda *counts: done.append(counts),
        )
    assert files_of(tmp_path / "one") == files_of(tmp_path / "several")
    assert text_of(one, "train") == text_of(several, "train")
    total = len(open_work(tmp_path / "several").spec.tasks)
    assert total > 3
    assert done == [(count, total) for count in range(1, total + 1)]


def test_ranks_share_the_tasks_and_the_last_step_closes_them(tmp_path, book, small_tasks):
    whole, folder = prepare(tmp_path / "whole", book), tmp_path / "tokens"
    sources = find_sources([str(book)])
    text, data = TextOptions(), DataOptions()
    plan_text(folder, sources, inspect_all(sources, text), text=text, data=data, tell=print)
    with pytest.raises(DataError, match="not finished"):
        open_prepared(folder)
    counts = [run_rank(folder, rank=rank, world_size=3) for rank in (2, 0, 1)]
    assert sum(counts) == len(open_work(folder).spec.tasks)
    assert run_rank(folder, rank=0, world_size=3) == 0
    assert text_of(finish(folder), "train") == text_of(whole, "train")
    assert files_of(folder) == files_of(tmp_path / "whole")
    with pytest.raises(DataError, match="from 0 to 2, got 3"):
        run_rank(folder, rank=3, world_size=3)


def test_a_source_that_changes_while_it_is_prepared_is_noticed(tmp_path, book, small_tasks):
    folder = tmp_path / "tokens"
    sources = find_sources([str(book)])
    text, data = TextOptions(), DataOptions()
    plan_text(folder, sources, inspect_all(sources, text), text=text, data=data, tell=print)
    book.write_text(LINE * 99, encoding="utf-8")
    with pytest.raises(DataError, match=r"book\.txt has changed"):
        finish(folder)
    prepared = prepare(folder, book)
    assert prepared.train.metadata.characters + prepared.validation.metadata.characters == (
        99 * len(LINE)
    )


def test_a_task_twice_done_at_the_same_time_is_done_once(tmp_path, book):
    folder = tmp_path / "tokens"
    prepare(folder, book)
    work = open_work(folder)
    before = files_of(folder)
    place = place_of(folder, 0)
    hidden = place.rename(folder / "hidden")
    original = os.rename

    def rename(old, new):  # another worker is faster by a moment
        if new == place and hidden.exists():
            original(hidden, place)
        return original(old, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", rename)
        assert run_task(work, 0)
    assert files_of(folder) == before
    assert not run_task(work, 0)


def test_a_full_disk_is_told_and_what_is_done_stays(tmp_path, book, small_tasks, monkeypatch):
    folder = tmp_path / "tokens"
    whole = text_of(prepare(tmp_path / "whole", book), "train")
    original = ShardWriter.append

    def append(writer, ids):
        if "00002" in str(writer.folder):
            raise OSError(28, "No space left on device")
        original(writer, ids)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "append", append)
        with pytest.raises(DataError, match="00002: No space left on device"):
            prepare(folder, book)
    made = place_of(folder, 0).parent
    assert sorted(path.name for path in made.iterdir()) == ["00000", "00001"]
    assert text_of(prepare(folder, book), "train") == whole


def test_documents_and_files_stay_whole_in_one_part(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(f"{number:02} {LINE}" * (1 + number))
    for by in ("document", "file"):
        data = DataOptions(split=0.8, split_by=by)
        prepared = prepare(tmp_path / by, tmp_path, data=data, text=TextOptions(tokenizer="bpe"))
        validation = {text_of(prepared, "validation")[i : i + 2] for i in (0,)}
        assert validation == {"04"}
        assert len(prepared.validation.ends) == 4
        assert len(prepared.train.ends) == 16
        for number in range(20):
            inside = f"{number:02} The" in text_of(prepared, "validation")
            assert inside == (number % 5 == 4)


def test_one_document_cannot_be_split_by_document(tmp_path, book):
    with pytest.raises(TextError, match="at least two of them, and there is 1"):
        prepare(tmp_path / "tokens", book, data=DataOptions(split_by="document"))


def test_cleaned_text_is_what_is_tokenized_and_the_report_is_told(tmp_path):
    path, told = tmp_path / "rows.jsonl", []
    rows = [LINE * 4, LINE * 4, LINE * 3, "short"]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    data = DataOptions(split=0.5, clean="exact-duplicates,min-length=10")
    prepared = prepare(tmp_path / "tokens", path, data=data, told=told)
    whole = text_of(prepared, "train") + text_of(prepared, "validation")
    assert whole == LINE * 7
    assert any("exact-duplicates" in line for line in told)
    assert prepared.train.metadata.sources[0]["characters"] == len(LINE) * 11 + 5


def test_a_tokenizer_named_by_its_path_that_changed_is_noticed(tmp_path, book):
    folder, told = tmp_path / "tokens", []
    path = tmp_path / "mine"
    CharacterTokenizer(LINE).save(path)
    text = TextOptions(tokenizer=str(path / "tokenizer.json"))
    prepare(folder, book, text=text)
    prepare(folder, book, text=text, told=told)
    assert "made earlier" in told[-1]
    CharacterTokenizer(LINE + "!").save(path)
    prepared = prepare(folder, book, text=text, told=told)
    assert prepared.tokenizer.fingerprint == CharacterTokenizer(LINE + "!").fingerprint
    assert prepared.train.metadata.tokenizer == prepared.tokenizer.fingerprint


def test_shards_of_another_tokenizer_are_refused_naming_both(tmp_path, book):
    folder = tmp_path / "tokens"
    prepared = prepare(folder, book)
    metadata = place_of(folder, 0) / "train" / "tokens.ds.metadata"
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
        "from cloche.data.plan import inspect_all\n"
        "from cloche.data.prepare import prepare_text\n"
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
