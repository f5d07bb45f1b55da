import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TextError
from cloche.text.formats.html import html_text
from cloche.text.formats.reading import format_encoding, open_documents
from cloche.text.sources import SourceFile, find_sources


def text_of(*blocks: str) -> str:
    return "".join(html_text(blocks, name="page.html"))


def page(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    (source,) = find_sources([str(path)])
    return source


def read(source: SourceFile, encoding: str | None = None) -> str:
    ((name, pieces),) = open_documents(source, encoding=encoding)
    assert name == source.name
    return "".join(pieces)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<title>T</title><h1>Head</h1><p>a  b\n c</p>", "Head\n\na b c"),
        ("<div><div>a</div></div><div>b</div>", "a\nb"),
        ("a<br>b<br><br>c<br>", "a\nb\n\nc"),
        ("<ul><li>one<li>two</ul>three", "one\ntwo\n\nthree"),
        ("a <b>b </b> c<i>d</i>", "a b cd"),
        ("&lt;b&gt; &amp;amp; &#x4e2d;&nbsp;&eacute;", "<b> &amp; 中\xa0é"),
        ("a<script>var x = '<p>'</script><style>p{}</style>b", "ab"),
        ("<noscript><p>a</p></noscript><template>b</template>c", "c"),
        ("<table><tr><td>1<td>2<tr><td>3<td>4</table>5", "1\t2\n3\t4\n\n5"),
        ("<table><tr><td><td><p>2</p></td></tr><tr><td>3<td></table>", "\t2\n3"),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></table>", "a\n\nb\tc"),
        ("x<pre>\n  a\n\n\tb \n</pre>y", "x\n\n  a\n\n\tb \n\ny"),
        ("<title/><script src='a'/><p>a<a id='b'/>c</p>", "ac"),
        ("<!-- <p>a --><!DOCTYPE html><svg:p>b</svg:p>", "b"),
        ("no tags at all", "no tags at all"),
        ("<p> </p>\n<p>\u3000</p>", "\u3000"),
        ("", ""),
    ],
)
def test_a_page_is_laid_out_as_a_browser_shows_it(html, text):
    assert text_of(html) == text


def test_line_ends_between_chinese_characters_are_those_of_the_file_alone():
    assert (
        text_of("<p>床前\n  明月光 ，\nmoon\n光\n한국\n한국") == "床前明月光 ， moon 光 한국 한국"
    )


@given(
    st.lists(st.sampled_from(["<p>", "</p>", "<br>", "&amp;", "中", " ", "\n", "<td>", "<pre>"])),
    st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_the_text_does_not_depend_on_where_blocks_are_cut(parts, size):
    html = "".join(parts)
    blocks = [html[i : i + size] for i in range(0, len(html), size)]
    text = text_of(html)
    assert text_of(*blocks) == text
    assert text == text.strip("\n")


def test_deep_nesting_and_long_text_lose_nothing():
    assert text_of("<div>" * 5000 + "deep" + "</div>" * 5000 + "after") == "deep\nafter"
    assert len(text_of("<p>" + "x" * 11_000_000)) == 11_000_000


def test_a_large_page_is_read_in_bounded_memory():
    paragraph = "<p>" + "word " * 200 + "</p>"
    blocks = (paragraph * 50 for _ in range(30))
    tracemalloc.start()
    length = sum(map(len, html_text(blocks, name="page.html")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == 1_500 * (999 + 2) - 2
    assert peak < 1_000_000


CHINESE = "<p>今天天气很好，小明和朋友们去公园里玩。</p>"


@pytest.mark.parametrize(
    ("head", "codec", "encoding"),
    [
        ('<meta charset="gb2312">', "gb18030", "gb2312"),
        ("<META content='text/html; CHARSET=Big5' http-equiv=content-type>", "big5", "big5"),
        ('<?xml version="1.0" encoding="GBK"?>', "gbk", "gbk"),
        ("", "gbk", "gbk"),
        ("", "utf-16", "utf-16"),
        ("", "utf-8-sig", "utf-8-sig"),
        ("<meta charset=gbk>", "utf-8", "utf-8"),
        ("<meta charset=utf-8>", "gbk", "gbk"),
        ("<meta charset=big5>", "utf-16-le", "utf-16-le"),
        ("<meta charset=martian>", "gbk", "gbk"),
        ("<meta charset=utf-16>", "utf-8", "utf-8"),
    ],
)
def test_the_encoding_is_the_mark_or_what_is_declared_and_true_or_detected(
    tmp_path, head, codec, encoding
):
    text = CHINESE.replace("气", "氣") if codec == "big5" else CHINESE
    text = (
        text.replace("们", "們").replace("园", "園").replace("里", "裡") if "氣" in text else text
    )
    source = page(tmp_path / "a.html", (head + text).encode(codec))
    assert format_encoding(source) == encoding
    assert read(source) == text[3:-4]


def test_latin_1_is_read_as_browsers_read_it_and_only_where_declared(tmp_path):
    data = "<meta charset=iso-8859-1><p>“Größe”</p>".encode("cp1252")
    assert read(page(tmp_path / "a.html", data)) == "“Größe”"
    with pytest.raises(TextError, match=r"--text\.encoding"):
        read(page(tmp_path / "b.html", data[25:]))


def test_a_given_encoding_is_obeyed(tmp_path):
    source = page(tmp_path / "a.html", "<p>Größe".encode("latin-1"))
    assert read(source, "latin-1") == "Größe"
    with pytest.raises(TextError, match=r"a\.html: line 1, byte 5: F6"):
        read(source, "utf-8")


def test_a_nul_byte_in_a_page_is_an_error(tmp_path):
    source = page(tmp_path / "a.html", b"<p>abc\0def")
    with pytest.raises(TextError, match=r"a\.html: line 1, byte 6: a NUL byte"):
        read(source)
