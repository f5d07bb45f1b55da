import json
import shutil

import pytest
from preparations import LINE, place_of, prepare, text_of

from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all, plan_text
from cloche.data.prepare import finish, open_prepared
from cloche.data.tasks import open_work, run_task
from cloche.errors import DataError, TextError
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources


def test_a_rank_that_began_before_a_new_plan_does_not_get_its_tokens_into_it(
    tmp_path, book, small_tasks
):
    folder = tmp_path / "tokens"
    sources, text = find_sources([str(book)]), TextOptions(tokenizer="bpe")

    def plan(split):
        found = inspect_all(sources, text)
        plan_text(folder, sources, found, text=text, data=DataOptions(split=split), tell=print)

    plan(0.9)
    stale = open_work(folder)
    plan(0.5)
    for number in range(len(stale.spec.tasks)):
        run_task(stale, number)
    made = finish(folder)
    expected = prepare(tmp_path / "other", book, text=text, data=DataOptions(split=0.5))
    assert text_of(made, "train") == text_of(expected, "train")


def test_a_part_of_a_task_that_was_removed_is_made_again(tmp_path, book, small_tasks):
    folder = tmp_path / "tokens"
    whole = text_of(prepare(folder, book), "train")
    tokens = place_of(folder, 1) / "train" / "tokens.ds"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(DataError, match=f"delete {tokens.parent}"):
        open_prepared(folder)
    shutil.rmtree(tokens.parent)
    assert text_of(prepare(folder, book), "train") == whole


def test_a_source_that_moved_is_read_where_it_lies_now(tmp_path, book, small_tasks):
    folder, sources = tmp_path / "tokens", find_sources([str(book)])
    text, data = TextOptions(), DataOptions()
    plan_text(folder, sources, inspect_all(sources, text), text=text, data=data, tell=print)
    moved = book.rename(tmp_path / "moved.txt")
    prepared = prepare(folder, moved)
    assert text_of(prepared, "train") + text_of(prepared, "validation") == LINE * 100


def test_a_plan_that_fails_leaves_the_earlier_preparation(tmp_path, book):
    folder = tmp_path / "tokens"
    before = text_of(prepare(folder, book), "train")
    for data in (DataOptions(clean="min-length=100000"), DataOptions(split_by="document")):
        with pytest.raises(TextError):
            prepare(folder, book, data=data)
        assert text_of(open_prepared(folder), "train") == before


def test_the_column_of_rows_is_that_of_the_sources_not_of_the_cleaned_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"body": LINE * 3}) + "\n" for _ in range(6)) + "bad\n")
    text = TextOptions(column="body", skip_bad=True, tokenizer="bpe")
    prepared = prepare(tmp_path / "tokens", path, text=text, data=DataOptions(clean="nfc"))
    assert text_of(prepared, "train") + text_of(prepared, "validation") == LINE * 18
    other = prepare(tmp_path / "other", path, text=text)
    assert other.train.metadata.sources == prepared.train.metadata.sources
    specs = [open_work(tmp_path / name).spec.fingerprint for name in ("tokens", "other")]
    assert specs[0] != specs[1]
