import gzip
import json

import pytest

from cloche.data.options import DataOptions
from cloche.data.pairs import Pair, describe_pairs, inspect_pairs, read_pairs
from cloche.errors import TextError
from cloche.text.sources import find_sources


def pairs_in(path, **options):
    sources = find_sources([str(path)])
    reports = inspect_pairs(sources, **options)
    columns = options.get("columns", ())
    return list(read_pairs(sources, reports, columns=columns)), reports[0]


WANTED = [Pair("Good morning.", "早上好。"), Pair('"Yes," he said.', "“是的。”他说。")]
TSV = 'Good morning.\t早上好。\n"Yes," he said.\t“是的。”他说。\n'
TURNED = "".join(f"{n}\t{pair.target}\t{pair.source}\n" for n, pair in enumerate(WANTED))
CSV = 'Good morning.,早上好。\n"""Yes,"" he said.",“是的。”他说。\n'
JSONL = "".join(json.dumps({"source": s.source, "target": s.target}) + "\n" for s in WANTED)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.tsv", TSV),
        ("plain.txt", TSV),
        ("windows.tsv", TSV.replace("\n", "\r\n")),
        ("noted.tsv", TSV.replace("\n", "\tCC-BY, from a collection\n")),
        ("blank.tsv", "\n" + TSV.replace("\n", "\n\n")),
        ("named.tsv", "source\ttarget\n" + TSV),
        ("turned.tsv", "id\ttarget\tsource\n" + TURNED),
        ("named.csv", "source,target\n" + CSV),
        ("unnamed.csv", CSV),
        ("semicolons.csv", "source;target\n" + CSV.replace(".,", ".;").replace('",', '";')),
        ("rows.jsonl", JSONL),
        ("list.json", json.dumps([json.loads(line) for line in JSONL.splitlines()])),
    ],
)  # fmt: skip
def test_pairs_are_read_from_every_format(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    found, report = pairs_in(tmp_path / name)
    assert found == WANTED
    assert (report.pairs, report.bad_rows) == (2, 0)


def test_the_encoding_is_detected_and_the_fingerprint_does_not_depend_on_it(tmp_path):
    (tmp_path / "a.tsv").write_bytes(TSV.encode("utf-8"))
    (tmp_path / "b.tsv").write_bytes(TSV.encode("gb18030"))
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(TSV.encode("utf-16")))
    found = [pairs_in(tmp_path / name) for name in ("a.tsv", "b.tsv", "c.tsv.gz")]
    assert all(pairs == WANTED for pairs, _ in found)
    assert len({report.utf8_sha256 for _, report in found}) == 1
    assert found[1][1].encoding in ("gbk", "gb18030")


@pytest.mark.parametrize("text", [TSV, JSONL, "\n" + JSONL])
def test_standard_input_is_a_table_or_lines_of_json(tmp_path, text):
    spooled = tmp_path / "spooled"
    spooled.write_text(text, encoding="utf-8")
    sources = find_sources(["-"], stdin_file=spooled)
    assert list(read_pairs(sources, inspect_pairs(sources))) == WANTED


def test_columns_are_taken_by_name_and_by_number(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("en\tzh\nyes\t是\n", encoding="utf-8")
    assert pairs_in(path, columns=("zh", "en"))[0] == [Pair("是", "yes")]
    assert pairs_in(path, columns=("2", "1"))[0] == [Pair("zh", "en"), Pair("是", "yes")]
    path = tmp_path / "x.jsonl"
    path.write_text('{"instruction": "say yes", "output": "yes"}\n', encoding="utf-8")
    assert pairs_in(path, columns=("instruction", "output"))[0] == [Pair("say yes", "yes")]
    with pytest.raises(TextError, match=r"data\.pair-columns"):
        pairs_in(path)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(TextError, match=r"no columns 'q' and 'a': its first row holds 'a', 'b'"):
        pairs_in(path, columns=("q", "a"))
    with pytest.raises(TextError, match="no columns '0' and '1'"):
        pairs_in(path, columns=("0", "1"))


def test_a_first_row_that_is_taken_for_a_pair_is_told(tmp_path):
    (tmp_path / "x.tsv").write_text("en\tzh\nyes\t是\n", encoding="utf-8")
    _, report = pairs_in(tmp_path / "x.tsv")
    assert "first row is taken for a pair" in describe_pairs([report])[0]


BAD_ROWS = [
    ("x.tsv", "a\tb\nalone\nc\td\n", "line 2 has 1 cell"),
    ("x.tsv", "a\tb\nc\t \n", "line 2 has no target"),
    ("x.tsv", "a\tb\n\td\n", "line 2 has no source"),
    ("x.csv", 'source,target\na,b\n"open,c\n', "line 3 is no CSV"),
    ("x.csv", "source,target\na\n", "line 2 has 1 cell"),
    ("x.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"}\n', "line 2 has no 'target'"),
    ("x.jsonl", '{"source": "a", "target": "b"}\n{oops\n', "line 2 is no JSON"),
    ("x.jsonl", '{"source": "a", "target": "b"}\n[1]\n', "line 2 is no JSON object"),
    ("x.jsonl", '{"source": "a", "target": 3}\n', "must both be strings"),
    ("x.jsonl", '{"source": "a", "target": "\\u0000"}\n', "half a character or a NUL"),
    ("x.jsonl", '{"source": "a\\ud800", "target": "b"}\n', "half a character or a NUL"),
    ("x.json", '[{"source": "a", "target": "b"}, 7]', "entry 2 is no JSON object"),
]


@pytest.mark.parametrize(("name", "text", "problem"), BAD_ROWS)
def test_a_bad_row_is_named_with_what_is_wrong(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TextError, match="rows are no pairs") as caught:
        pairs_in(tmp_path / name)
    assert problem in str(caught.value)
    assert "--text.skip-bad" in str(caught.value)


def test_bad_rows_are_all_counted_or_all_skipped(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n" + "alone\n" * 9 + "c\td\n", encoding="utf-8")
    with pytest.raises(TextError, match=r"9 of 11 rows.*(?s:.*)line 2.*(?s:.*)and 4 more"):
        pairs_in(path)
    found, report = pairs_in(path, skip_bad=True)
    assert found == [Pair("a", "b"), Pair("c", "d")]
    assert report.bad_rows == 9


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.tsv", b"", "no pairs in"),
        ("x.txt", b"Only a sentence.\n", "no two cells"),
        ("x.json", b'{"source": "a"}', "no JSON list"),
        ("x.json", b"[", "is no JSON"),
        ("x.html", b"<p>a</p>", "pairs are read from"),
        ("x.tsv", b"a\tb\nc\t\xff\xfe\xfd\x81\n", "x.tsv"),
        ("x.tsv", b"%PDF-1.7\n\x00\x00", "PDF"),
    ],
)
def test_what_holds_no_pairs_is_refused(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=problem):
        pairs_in(tmp_path / name)


def test_columns_must_be_two_different_ones():
    for columns in (("a",), ("a", "a"), ("a", "b", "c")):
        assert "two names" in DataOptions(pair_columns=columns).problems()[0]
    assert DataOptions(pair_columns=("a", "b")).problems() == []
