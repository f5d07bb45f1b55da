import builtins
import gzip
import zipfile

import pytest
import zstandard

from cloche.errors import TextError
from cloche.text.formats.reading import open_documents
from cloche.text.sources import SourceFile, find_sources


def read_all(source: SourceFile) -> list[str]:
    return ["".join(pieces) for _, pieces in open_documents(source, encoding=None)]


@pytest.mark.parametrize("ending", [".html.gz", ".csv.gz", ".html.zst", ".csv.zst"])
def test_compressed_pages_and_tables_are_read(tmp_path, ending):
    data = b"<p>words" if "html" in ending else b"text\nwords\n"
    pack = gzip.compress if ending.endswith("gz") else zstandard.compress
    (tmp_path / f"a{ending}").write_bytes(pack(data))
    (source,) = find_sources([str(tmp_path)])
    assert read_all(source) == ["words"]


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("a.html", "lxml"),
        ("a.epub", "lxml"),
        ("a.pdf", "pypdf"),
        ("a.docx", "docx"),
        ("a.parquet", "pyarrow"),
        ("a.html.zst", "zstandard"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra_when_a_file_is_read(
    tmp_path, monkeypatch, name, library
):
    really_import = builtins.__import__

    def without(module, *arguments):
        if module.partition(".")[0] == library:
            raise ImportError(module)
        return really_import(module, *arguments)

    (tmp_path / name).write_bytes(b"text")
    if name == "a.epub":
        zipfile.ZipFile(tmp_path / name, "w").close()
    monkeypatch.setattr(builtins, "__import__", without)
    (source,) = find_sources([str(tmp_path)])
    with pytest.raises(TextError, match=r"pip install 'cloche\[formats\]'. To leave such files"):
        read_all(source)


def test_plain_text_is_not_read_here(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (source,) = find_sources([str(tmp_path)])
    with pytest.raises(ValueError, match="plain text"):
        open_documents(source, encoding=None)
