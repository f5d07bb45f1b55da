"""Rows of an input are read line by line; a bad one is told and spoils no other."""

import json

import pytest

from cloche.cli.generate_rows import (
    MOST_SHOWN,
    RawRow,
    Row,
    RowReader,
    raw_rows,
    row_encoding,
    row_seed,
    survey,
)
from cloche.errors import TextError
from cloche.generation.request import GenerationRequest
from cloche.text.prompts import PromptLayout, make_layout
from cloche.text.sources import SourceFile, find_sources
from cloche.text.templates import Template

ASKED = GenerationRequest((0,), max_tokens=7, temperature=0.5, stop=("end",))


def read(values: object, *, layout: PromptLayout | None = None, encoding: str = "utf-8") -> Row:
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    reader = RowReader(
        layout or PromptLayout(), ASKED, seed=1, encoding=encoding, settings="settings"
    )
    return reader.row(RawRow(3, data))


def request(**fields) -> GenerationRequest:
    found = read({"prompt": "a", **fields})
    assert found.error is None
    assert found.request is not None
    return found.request


def source(path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return find_sources([str(path)])[0]


def test_a_row_has_the_settings_of_all_but_for_its_own():
    assert request().max_tokens == 7
    own = request(max_tokens=3, temperature=0, top_k=4, stop="x", seed=9, logprobs=2)
    assert (own.max_tokens, own.temperature, own.top_k, own.stop) == (3, 0.0, 4, ("x",))
    assert (own.seed, own.logprobs) == (9, 2)
    assert request(stop=["x", "y"]).stop == ("x", "y")
    assert request(top_k=None).top_k is None


def test_a_row_without_a_seed_gets_one_of_its_line():
    assert request().seed == request(seed=None).seed == row_seed(1, 3)
    assert len({row_seed(batch, line) for batch in range(9) for line in range(99)}) == 9 * 99


def test_fields_that_are_no_settings_are_the_users_own():
    found = read({"prompt": "a", "label": [1], "id": "x7"})
    assert (found.error, found.id, found.prompt) == (None, "x7", "a")


def test_a_field_that_the_template_names_is_the_templates():
    layout = make_layout(Template("{{ seed }} by {{ n }}", name="t"))
    found = read({"seed": "oak", "n": "me", "max_tokens": 2}, layout=layout)
    assert found.prompt == "oak by me"
    assert found.request is not None
    assert (found.request.n, found.request.max_tokens) == (1, 2)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (b'{"prompt": "a"', "no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"prompt": "\xff"}', "byte 12 is 0xFF, which is no text in utf-8"),
        (b'{"prompt": "a", "prompt": "b"}', "twice"),
        (b'{"prompt": "a", "temperature": NaN}', "NaN"),
        (b'{"prompt": "a", "temperature": 1e999}', "temperature must be"),
        ({}, "no 'prompt'"),
        ({"prompt": None}, "'prompt' is no text"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens must be at least 1"),
        ({"prompt": "a", "max_tokens": "5"}, "max_tokens must be a whole number, got '5'"),
        ({"prompt": "a", "max_tokens": True}, "a whole number, got True"),
        ({"prompt": "a", "top_p": "x", "stop": 3}, "2 settings"),
        ({"prompt": "a", "temprature": 1}, "did you mean temperature?"),
        ({"prompt": "a", "max_new_tokens": 1}, "did you mean max_tokens?"),
        ({"prompt": "a", "stop_ids": [1]}, "cannot be set by a row"),
        ({"prompt": "a", "id": [1]}, "'id' must be"),
        ({"prompt": "a", "temperature": 10**400}, "a number of usual size"),
        ({"prompt": "a", "n": 10**9}, "1000 answers at most"),
        ({"prompt": "a", "n": 2, "temperature": 0}, "n 2 repeats one"),
    ],
)
def test_a_bad_row_says_what_is_wrong(values, said):
    found = read(values)
    assert found.request is None
    assert said in (found.error or "")


def test_half_a_character_in_a_row_is_refused(writing_run):
    from cloche.cli.generate_batch import fitted
    from cloche.run import load

    half = read({"prompt": "\ud800"})
    assert "U+D800" in (next(iter(fitted(load(writing_run), [half], window=False))).error or "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_rows_are_read_in_any_encoding_that_is_detected(tmp_path, encoding):
    rows = [{"prompt": "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"}, {"prompt": "ab"}]
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    file = source(tmp_path / "in.jsonl", text.encode(encoding))
    found, codec = row_encoding(file, None)
    raw = list(raw_rows(file, found))
    assert [row.line for row in raw] == [1, 3]
    prompts = [read(row.data, encoding=codec).prompt for row in raw]
    assert prompts == [row["prompt"] for row in rows]


def test_a_damaged_byte_spoils_its_own_line_only(tmp_path):
    file = source(
        tmp_path / "in.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff\xfe"}\n{"prompt": "b"}'
    )
    encoding, codec = row_encoding(file, None)
    rows = [read(raw.data, encoding=codec) for raw in raw_rows(file, encoding)]
    assert [row.error is None for row in rows] == [True, False, True]


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cloche.cli.generate_rows._LINE_BYTES", 1000)
    file = source(tmp_path / "in.jsonl", b"a" * 2000)
    with pytest.raises(TextError, match="a line longer than 1,000 bytes"):
        list(raw_rows(file, "utf-8"))


def test_the_first_bad_rows_are_named_and_all_counted():
    rows = [Row(line, error="broken") for line in range(1, 14)] + [Row(14, request=ASKED)]
    found = survey(rows)
    assert (found.rows, found.bad, found.longest) == (14, 13, 8)
    with pytest.raises(TextError) as caught:
        found.refuse_bad(name="in.jsonl")
    message = str(caught.value)
    assert "in.jsonl: 13 of 14 rows cannot be answered" in message
    assert message.count("broken") == MOST_SHOWN
    assert "and 3 more" in message
    assert "--keep-going" in message


def test_rows_come_out_whole_wherever_blocks_end(tmp_path, monkeypatch):
    monkeypatch.setattr("cloche.cli.generate_rows._BLOCK_BYTES", 3)
    file = source(tmp_path / "in.jsonl", b"abcdef\n\n  \ngh\r\nijk")
    found = [(raw.line, raw.data) for raw in raw_rows(file, "utf-8")]
    assert found == [(1, b"abcdef"), (4, b"gh"), (5, b"ijk")]
