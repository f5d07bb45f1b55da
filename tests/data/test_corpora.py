import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cloche.data import corpora
from cloche.data.corpora import CORPORA, Corpus, download, fetch, python_texts, resolve
from cloche.errors import DataError, TextError

TEXT = b"a small classic\n"


@pytest.fixture
def classic(tmp_path: Path) -> Corpus:
    """A corpus that is downloaded from a file of this machine."""
    served = tmp_path / "served.txt"
    served.write_bytes(TEXT)
    digest = hashlib.sha256(TEXT).hexdigest()
    return Corpus("classic", "a test", "en", "classic.txt", served.as_uri(), digest)


def test_every_corpus_has_a_name_of_its_own_and_says_what_it_is():
    assert len({corpus.name for corpus in CORPORA}) == len(CORPORA) == 5
    assert all(corpus.about for corpus in CORPORA)


@pytest.mark.parametrize("name", ["shakespeare", "verdict"])
def test_a_classic_is_found_in_the_data_folder_and_has_the_pinned_digest(
    shared_data, tmp_path, name
):
    path = fetch(name, data_folder=shared_data, cache_folder=tmp_path)
    assert path.parent == shared_data
    assert list(tmp_path.iterdir()) == []


def test_a_classic_is_found_in_the_cache(shared_data, tmp_path):
    (tmp_path / "the-verdict.txt").write_bytes((shared_data / "the-verdict.txt").read_bytes())
    path = fetch("verdict", data_folder=None, cache_folder=tmp_path)
    assert path == tmp_path / "the-verdict.txt"


def test_a_file_of_that_name_with_another_text_is_refused(tmp_path):
    (tmp_path / "shakespeare.txt").write_text("something else")
    with pytest.raises(DataError, match=r"shakespeare\.txt is not the shakespeare expected"):
        fetch("shakespeare", data_folder=tmp_path, cache_folder=tmp_path / "cache")


def test_a_download_is_checked_and_kept(classic, tmp_path):
    path = tmp_path / "cache" / "classic.txt"
    assert download(classic, path) == path
    assert path.read_bytes() == TEXT
    assert [found.name for found in path.parent.iterdir()] == ["classic.txt"]


def test_a_download_of_another_text_is_refused_and_not_kept(classic, tmp_path):
    path = tmp_path / "cache" / "classic.txt"
    with pytest.raises(DataError, match="another text than expected") as caught:
        download(replace(classic, sha256="0" * 64), path)
    assert "nothing was kept" in str(caught.value)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_without_a_network_the_error_says_what_to_put_where(classic, tmp_path):
    (tmp_path / "served.txt").unlink()
    path = tmp_path / "cache" / "classic.txt"
    with pytest.raises(DataError, match="classic cannot be downloaded") as caught:
        download(classic, path)
    message = str(caught.value)
    assert f"download {classic.address} yourself and save it as {path}" in message
    assert "CLOCHE_DATA" in message
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("name", "character"), [("stories", "T"), ("stories-zh", "的")])
def test_stories_are_made_once_in_their_language(tmp_path, monkeypatch, name, character):
    monkeypatch.setattr(corpora, "STORIES_BYTES", 20_000)
    (path,) = resolve([name], data_folder=None, cache_folder=tmp_path)
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    text = "".join(row["text"] for row in rows)
    assert 20_000 <= len(text.encode()) < 22_000
    assert character in text
    made = Path(path).stat().st_mtime_ns
    assert resolve([name], data_folder=None, cache_folder=tmp_path) == [path]
    assert Path(path).stat().st_mtime_ns == made
    assert [found.name for found in tmp_path.iterdir()] == [Path(path).name]


def test_the_python_library_is_its_sources_without_tests(tmp_path):
    for name in ("b.py", "a/b.py", "a/test_b.py", "test/c.py", "site-packages/d.py", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\n# caf\xe9\n")
    assert list(python_texts(tmp_path)) == [
        *("# a/b.py\n", "# b.py\n", "# coding: latin-1\n# café\n")
    ]


def test_python_is_made_of_the_library_of_this_machine(tmp_path):
    path = fetch("python", data_folder=None, cache_folder=tmp_path)
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) > 100
    assert any('"""JSON' in json.loads(line)["text"] for line in lines)


def test_what_exists_as_a_path_goes_before_the_name_of_a_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stories").mkdir()
    names = ["stories", "-", "*.txt"]
    assert resolve(names, data_folder=None, cache_folder=tmp_path / "cache") == names


def test_a_name_that_is_nothing_gets_the_nearest_file_and_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shakespear.txt").write_text("text")
    with pytest.raises(TextError) as caught:
        resolve(["shakespeare.tx"], data_folder=None, cache_folder=tmp_path)
    message = str(caught.value)
    assert "shakespeare.tx does not exist" in message
    assert "Did you mean shakespear.txt or shakespeare?" in message
    assert "stories, stories-zh, python, shakespeare, verdict" in message


def test_an_unknown_corpus_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no corpus 'bible'; there are stories"):
        fetch("bible", data_folder=None, cache_folder=tmp_path)
