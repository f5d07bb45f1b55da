import gc
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.data import hub_datasets
from cloche.data.corpora import resolve
from cloche.data.hub_datasets import HubName, parse_hub_name
from cloche.errors import DataError


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and a cache of its own; warnings of `datasets` are not cloche's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
        monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", tmp_path / "modules")
        yield
        gc.collect()  # files that the library left open, before another test stumbles over them


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set as a folder: two splits, a column of texts and one of titles."""
    folder = tmp_path / "set"
    folder.mkdir()
    for split, size in (("train", 3), ("test", 1)):
        rows = [{"title": f"t{n}", "text": f"{split} {n} 中文\n"} for n in range(size)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines)
    return folder


def fetched(name: str, tmp_path: Path) -> tuple[list, list[str]]:
    told: list[str] = []
    (path,) = resolve([name], data_folder=None, cache_folder=tmp_path / "cache", tell=told.append)
    lines = Path(path).read_text("utf-8").splitlines()
    assert all(list(json.loads(line)) == ["text"] for line in lines)
    return [json.loads(line)["text"] for line in lines], told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:a/b", HubName("", "a/b")),
        ("hf:imdb:test", HubName("", "imdb", ("test",))),
        ("hf:a/b:c:d#e f", HubName("", "a/b", ("c", "d"), column="e f")),
        ("hf:a/b::d[:10]", HubName("", "a/b", ("", "d"), rows=10)),
        ("hf:a/b[:10]#正文", HubName("", "a/b", rows=10, column="正文")),
    ],
)
def test_a_name_is_taken_apart(name, expected):
    found = parse_hub_name(name)
    assert (found.path, found.parts, found.rows, found.column) == (
        *(expected.path, expected.parts, expected.rows, expected.column),
    )


@pytest.mark.parametrize("name", ["hf:", "hf:a/b:c:d:e", "hf:a/b[10:]", "hf:a/b#", "hf:#text"])
def test_what_is_no_name_of_a_data_set_is_an_error(name):
    with pytest.raises(DataError, match="names no data set; such names look like hf:OWNER/NAME"):
        parse_hub_name(name)


def test_every_name_has_a_file_of_its_own():
    names = ["hf:a/b", "hf:a-b", "hf:a/b:c", "hf:a/b#c", "hf:" + "x/" * 200]
    files = {parse_hub_name(name).file for name in names}
    assert len(files) == len(names)
    assert all(len(file) < 120 and "/" not in file for file in files)


@pytest.mark.parametrize(
    ("asked", "texts"),
    [
        ("", ["train 0 中文\n", "train 1 中文\n", "train 2 中文\n"]),
        (":test", ["test 0 中文\n"]),
        (":default:test", ["test 0 中文\n"]),
        (":train[:2]#title", ["t0", "t1"]),
    ],
)
def test_a_data_set_becomes_a_file_of_rows(data_set, tmp_path, asked, texts):
    found, told = fetched(f"hf:{data_set}{asked}", tmp_path)
    assert found == texts
    assert told[-1].endswith(f"{len(texts)} rows")


def test_a_data_set_is_fetched_once(data_set, tmp_path):
    first, _ = fetched(f"hf:{data_set}", tmp_path)
    for file in data_set.iterdir():
        file.unlink()
    assert fetched(f"hf:{data_set}", tmp_path) == (first, [])


def test_progress_is_told_on_standard_error_unless_somebody_listens(data_set, tmp_path, capsys):
    resolve([f"hf:{data_set}"], data_folder=None, cache_folder=tmp_path / "cache")
    assert "3 rows" in capsys.readouterr().err


def test_word_comes_every_few_seconds(data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_datasets, "_TOLD_EVERY_SECONDS", -1.0)
    _, told = fetched(f"hf:{data_set}", tmp_path)
    assert [line.rpartition(": ")[2] for line in told[1:3]] == ["1 rows so far", "2 rows so far"]


def test_the_only_column_of_strings_is_taken(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl").write_text('{"n": 1, "body": "a"}\n{"n": 2, "body": null}\n')
    assert fetched(f"hf:{tmp_path / 'set'}", tmp_path)[0] == ["a", None]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (":valid", r"has no split 'valid'; its splits are 'train', 'test'\. Name one: hf:.*:train"),
        ("#body", r"has no column 'body'; its columns are 'title', 'text'\. .*/set#COLUMN"),
    ],
)
def test_what_a_data_set_does_not_have_is_an_error_with_what_it_has(
    data_set, tmp_path, asked, message
):
    with pytest.raises(DataError, match=message):
        fetched(f"hf:{data_set}{asked}", tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_several_columns_of_strings_have_to_be_chosen_from(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.csv").write_text("question,answer\nwhy,because\n")
    with pytest.raises(DataError, match="has no column 'text'; its columns are 'question', 'ans"):
        fetched(f"hf:{tmp_path / 'set'}", tmp_path)


@pytest.mark.parametrize("name", ["hf:nobody/nothing", "hf:nobody/nothing:train"])
def test_a_data_set_that_cannot_be_had_says_what_was_tried_and_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as caught:
        fetched(name, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name} cannot be had from https://")
    assert "/datasets/nobody/nothing (" in message
    for advice in ("HF_ENDPOINT", "hf auth login", "by their paths"):
        assert advice in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_data_set_that_breaks_off_leaves_nothing_behind(data_set, tmp_path):
    with (data_set / "train.jsonl").open("a") as file:
        file.write('{"title": "t3", "te')
    with pytest.raises(DataError, match="cannot be had from"):
        fetched(f"hf:{data_set}", tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_library_is_named_with_its_extra(data_set, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'cloche\[datasets\]'"):
        fetched(f"hf:{data_set}", tmp_path)
