from pathlib import Path

import pytest

from cloche.errors import TextError
from cloche.text.sources import find_sources


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.md", "deep/c.jsonl", "deep/er/d.txt.gz", "E.TXT", "notes.rst"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    for name in (".hidden.txt", ".git/e.txt", "model.pt", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, **options) -> list[str]:
    return [source.name for source in find_sources(given, **options)]


def test_a_folder_gives_its_visible_text_files_at_any_depth_in_order(books):
    assert names(".") == ["E.TXT", "a.md", "b.txt", "deep/c.jsonl", "deep/er/d.txt.gz"]


def test_files_keep_the_order_they_are_named_in_and_count_once(books):
    assert names("b.txt", "a.md", "./b.txt", str(books / "a.md"), "deep") == [
        *("b.txt", "a.md", "deep/c.jsonl", "deep/er/d.txt.gz")
    ]


def test_a_link_to_a_file_named_already_counts_once(books):
    (books / "link.txt").symlink_to(books / "b.txt")
    assert names("b.txt", "link.txt") == ["b.txt"]


def test_patterns_match_files_in_order(books):
    assert names("*.txt", "**/*.jsonl") == ["b.txt", "deep/c.jsonl"]


def test_a_name_with_brackets_that_exists_is_a_file_and_no_pattern(books):
    (books / "book[1].txt").write_text("text")
    assert names("book[1].txt") == ["book[1].txt"]


def test_kinds_are_told_by_the_ending(books):
    rows = {source.name: (source.rows, source.compressed) for source in find_sources(["."])}
    assert rows["deep/c.jsonl"] == (True, False)
    assert rows["deep/er/d.txt.gz"] == (False, True)
    assert rows["a.md"] == (False, False)


def test_another_ending_can_be_named_outright(books):
    assert names("notes.rst") == ["notes.rst"]


def test_standard_input_is_the_file_it_was_kept_in(books):
    (source,) = find_sources(["-"], stdin_file=books / "b.txt")
    assert (source.name, source.path) == ("-", books / "b.txt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pt", r"model.pt is not text: .pt is a binary format"),
        ("picture.png", r"\.png is a binary format"),
        ("empty", "the folder empty holds no text; files ending in .txt, .md, .jsonl"),
        ("bb.txt", r"bb.txt does not exist; did you mean b.txt\?"),
        ("zzzzz", r"zzzzz does not exist in \./"),
        ("nowhere/b.txt", "nowhere/b.txt does not exist, nor does the folder nowhere"),
        ("*.tex", r"no file matches '\*.tex'"),
        ("-", "- means standard input"),
    ],
)
def test_a_name_that_leads_to_no_text_is_an_error(books, name, message):
    (books / "empty").mkdir()
    (books / "empty" / "model.bin").write_text("")
    with pytest.raises(TextError, match=message):
        find_sources([name])


def test_no_name_at_all_is_an_error():
    with pytest.raises(TextError, match="no text was named"):
        find_sources([])


def test_a_file_that_cannot_be_opened_is_an_error(books):
    (source,) = find_sources(["b.txt"])
    (books / "b.txt").unlink()
    with pytest.raises(TextError, match=r"b\.txt cannot be read"):
        source.open_bytes()
