import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data.cleaning.clean import clean, write_cleaned
from cloche.data.cleaning.report import CleaningReport
from cloche.data.cleaning.rewriting import (
    compose,
    compose_plain,
    with_tidy_whitespace,
    without_controls,
)
from cloche.data.cleaning.steps import parse_steps
from cloche.errors import SettingError, TextError
from cloche.text.ingest import documents, inspect_source
from cloche.text.sources import find_sources

REWRITING = [compose, compose_plain, without_controls, with_tidy_whitespace]
FRENCH = "Il était une fois une petite fille qui vivait dans un village près de la forêt."
ENGLISH = "Once upon a time there was a little girl who lived in a village near the wood."
CHINESE = "从前有一个小女孩，住在森林边的村子里，大家都很喜欢她，外婆送给她一顶红帽子。"

texts = st.text(st.sampled_from("ab é\u0301ﬁＡ\u3000\xa0\t\n\r\v\f\x00\x85\u2028\u200b\ufeff字"))


def cleaned(rows, spec):
    steps = parse_steps(spec)
    report = CleaningReport.of(steps)
    return list(clean(rows, steps, report=report)), report


@pytest.mark.parametrize("rewrite", REWRITING)
@given(text=texts | st.text())
def test_rewriting_twice_is_rewriting_once(rewrite, text):
    once = rewrite(text)
    assert rewrite(once) == once


@given(text=st.text())
def test_whitespace_and_controls_leave_every_visible_character(text):
    def visible(text):
        return [c for c in text if not c.isspace() and c.isprintable()]

    assert visible(with_tidy_whitespace(text)) == visible(text)
    assert visible(without_controls(text)) == visible(text)


def test_whitespace_is_tidied_as_documented():
    text = "\r\n\n \n  one \t\r\n\r\n \r\n\u3000\n\u3000two\xa0three\u3000\rfour\u2028five\f\n\n\n"
    assert with_tidy_whitespace(text) == "  one\n\n\u3000two\xa0three\nfour\nfive\n"
    assert with_tidy_whitespace("a\n\n\nb") == "a\n\nb"
    assert with_tidy_whitespace(" \n\u3000\n") == ""


def test_many_spaces_take_no_quadratic_time():
    text = " " * 2_000_000 + "a"
    assert with_tidy_whitespace(text) == text


def test_controls_go_and_joiners_stay():
    assert without_controls("\ufeffa\x00b\u200bc\x1b[0m\td\ne") == "abc[0m\td\ne"
    family = "👩\u200d👧"
    assert without_controls(family) == family


def test_unicode_forms():
    assert compose("e\u0301") == "é"
    assert compose("Ａﬁ\u3000") == "Ａﬁ\u3000"
    assert compose_plain("Ａﬁ\u3000①") == "Afi 1"


rows = st.lists(st.tuples(st.sampled_from("xyz"), texts), max_size=8)
SPECS = [
    *("nfc", "nfkc", "controls", "whitespace", "exact-duplicates", "near-duplicates"),
    *("min-length=2", "max-length=9"),
]
some_steps = st.lists(st.sampled_from(SPECS), max_size=4).map(",".join)


@settings(max_examples=60, deadline=None)
@given(rows=rows, spec=some_steps)
def test_every_document_stays_or_a_step_says_it_removed_it(rows, spec):
    kept, report = cleaned(rows, spec)
    assert report.complete
    inflow = (len(rows), sum(len(text) for _, text in rows))
    for step in report.steps:
        assert (step.documents_in, step.characters_in) == inflow
        assert step.changed <= step.documents_out <= step.documents_in
        inflow = (step.documents_out, step.characters_out)
    assert inflow == (len(kept), sum(len(text) for _, text in kept))


@settings(max_examples=40, deadline=None)
@given(rows=rows, spec=some_steps)
def test_cleaning_is_the_same_each_time(rows, spec):
    first, second = cleaned(rows, spec), cleaned(rows, spec)
    assert first[0] == second[0]
    assert first[1].to_values() == second[1].to_values()


def test_no_step_passes_everything_along():
    rows = [("a", ""), ("b", " x ")]
    assert cleaned(rows, "")[0] == rows


def test_the_first_of_equal_documents_stays():
    rows = [("a", "one two"), ("b", "two"), ("c", " one\n\ttwo "), ("d", "onetwo")]
    kept, report = cleaned(rows, "exact-duplicates")
    assert [name for name, _ in kept] == ["a", "b", "d"]
    assert report.steps[0].examples[0].document == "c"


def test_near_duplicates_name_the_document_they_are_like():
    story = " ".join(f"The {n}th lantern hung over the quiet harbour." for n in range(60))
    edited = story.replace("30th", "thirtieth") + " The end."
    other = " ".join(f"Nobody counted {n} apples twice that day." for n in range(60))
    rows = [("a", story), ("b", other), ("c", edited.upper())]
    kept, report = cleaned(rows, "near-duplicates=0.8")
    assert kept == rows[:2]
    reason = report.steps[0].examples[0].reason
    assert reason is not None
    assert reason.endswith("like a")
    assert cleaned(rows, "near-duplicates=1")[0] == rows


def test_near_duplicates_are_found_in_chinese():
    poem = "".join(chr(0x4E00 + (n * 7919) % 8000) for n in range(400))
    changed = poem[:200] + "改" + poem[201:]
    unlike = "".join(chr(0x4E00 + (n * 6007) % 8000) for n in range(400))
    kept, _ = cleaned([("a", poem), ("b", changed), ("c", unlike)], "near-duplicates")
    assert [name for name, _ in kept] == ["a", "c"]


def test_short_documents_are_compared_whole():
    kept, _ = cleaned([("a", "yes"), ("b", "no"), ("c", "Yes "), ("d", "")], "near-duplicates")
    assert [name for name, _ in kept] == ["a", "b", "d"]


def test_languages_not_asked_for_are_removed_and_named():
    rows = [("en", ENGLISH), ("fr", FRENCH), ("zh", CHINESE), ("none", "12345 678")]
    kept, report = cleaned(rows, "language=zh,en")
    assert [name for name, _ in kept] == ["en", "zh"]
    reasons = [example.reason for example in report.steps[0].examples]
    assert reasons == ["the language is French", "no language recognised"]


def test_a_long_text_is_judged_by_more_than_its_beginning():
    text = "Préface. " + (ENGLISH + " ") * 200
    assert [name for name, _ in cleaned([("a", text)], "language=en")[0]] == ["a"]


def test_lengths_are_counted_in_characters():
    rows = [("a", "字" * 3), ("b", "字" * 4), ("c", "x" * 10)]
    assert [name for name, _ in cleaned(rows, "min-length=4,max-length=9")[0]] == ["b"]


def test_a_document_of_which_nothing_is_left_is_counted_as_removed():
    kept, report = cleaned([("a", "\n \n"), ("b", "text")], "whitespace,min-length=1")
    assert kept == [("b", "text")]
    assert (report.steps[0].documents_in, report.steps[0].documents_out) == (2, 1)
    assert report.steps[1].documents_in == 1


def test_the_report_shows_the_place_that_changed():
    text = "x" * 500 + " end  \nnext"
    _, report = cleaned([("book", text), ("same", "same")], "whitespace")
    (step,) = report.steps
    assert step.changed == 1
    assert step.characters_in - step.characters_out == 2
    (example,) = step.examples
    assert example.before.endswith(" end  \nnext")
    assert example.after is not None
    assert example.after.endswith(" end\nnext")
    written = report.to_text()
    assert "whitespace: removed 0 of 2 documents, changed 1; 2 characters fewer" in written
    assert json.loads(report.to_json())["steps"][0]["step"] == "whitespace"


def test_a_report_knows_that_it_is_not_to_the_end():
    report = CleaningReport.of(steps := parse_steps("nfc"))
    flow = clean([("a", "a"), ("b", "b")], steps, report=report)
    next(flow)
    assert not report.complete
    assert "not to the end" in report.to_text()
    list(flow)
    assert report.complete


def test_documents_are_taken_one_at_a_time():
    taken = []

    def source():
        for n in range(5):
            taken.append(n)
            yield str(n), "text " * n

    flow = clean(source(), parse_steps("whitespace,exact-duplicates"))
    next(flow)
    assert len(taken) <= 2


def test_a_cleaned_file_is_read_back_as_the_same_documents(tmp_path):
    rows = [("a", "one\u2028two\n"), ("b", 'say "hi"  \n'), ("c", "one two"), ("d", "汉字 😀")]
    report = write_cleaned(tmp_path / "cleaned.jsonl", rows, parse_steps("whitespace"))
    assert report.complete
    (source,) = find_sources([str(tmp_path)])
    found = [
        "".join(document.pieces())
        for document in documents(source, inspect_source(source).encoding)
    ]
    assert found == ["one\ntwo\n", 'say "hi"\n', "one two", "汉字 😀"]


def test_the_same_documents_give_the_same_file(tmp_path):
    rows = [("a", "x" * 50), ("b", "y" * 50), ("c", "x" * 49 + "z")]
    for name in ("1.jsonl", "2.jsonl"):
        write_cleaned(tmp_path / name, iter(rows), parse_steps("near-duplicates=0.7"))
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "cleaned.jsonl"
    write_cleaned(path, [("a", "kept")], ())
    before = path.read_bytes()

    def broken():
        yield "b", "new"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        write_cleaned(path, broken(), ())
    with pytest.raises(TextError, match="half a surrogate pair, U\\+D800"):
        write_cleaned(path, [("b", "\ud800")], ())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_cleaned_to_nothing_is_refused_with_the_report(tmp_path):
    with pytest.raises(TextError, match=r"left no document(.|\n)*min-length=100: removed 1 of 1"):
        write_cleaned(tmp_path / "c.jsonl", [("a", "short")], parse_steps("min-length=100"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "spec"), [("lingua", "language=en"), ("datasketch", "near-duplicates")]
)
def test_a_missing_extra_is_told_before_anything_is_read(monkeypatch, module, spec):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=r"cloche\[clean\]"):
        clean([("a", "a")], parse_steps(spec))
