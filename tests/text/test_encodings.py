import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import TextError
from cloche.text.encodings import BLOCK_BYTES, decode_blocks, decoder_name

CHINESE = "今天天气很好，小明和朋友们一起去公园里玩。\n他们看到了许多漂亮的花。\n"


class Trickle:
    """A stream that gives a few bytes at a time, so that characters fall apart."""

    def __init__(self, data: bytes, step: int):
        self.file, self.step = io.BytesIO(data), step

    def read(self, size: int = -1, /) -> bytes:
        return self.file.read(self.step)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()


def decoded(data: bytes, encoding: str, step: int = 7) -> str:
    return "".join(decode_blocks(Trickle(data, step), encoding, name="f.txt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "gb18030", "utf-32"])
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(max_examples=40, deadline=None)
def test_every_text_comes_back_from_every_unicode_encoding(encoding, text):
    text = text.removeprefix("\ufeff")  # a mark at the beginning is not part of the text
    for step in (1, 3, 1000):
        assert decoded(text.encode(encoding), encoding, step) == text


def test_line_ends_are_kept_as_they_are():
    assert decoded(b"a\r\nb\rc\n\r\n", "utf-8", 1) == "a\r\nb\rc\n\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "gb18030"])
def test_a_leading_byte_order_mark_is_no_text_and_a_later_one_is(encoding):
    data = "\ufeffa\ufeffb".encode(encoding.removesuffix("-sig"))
    assert decoded(data, encoding, 1) == "a\ufeffb"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk", "big5", "euc_jp"])
def test_undecodable_bytes_are_named_with_file_line_and_offset(encoding, step):
    good = "一二三\n好的 ok ".encode(encoding)
    with pytest.raises(TextError) as caught:
        decoded(good + b"\xff\xff tail", encoding, step)
    message = str(caught.value)
    assert f"f.txt: line 2, byte {len(good)}: FF" in message
    assert f"no text in {encoding}" in message
    assert "--text.encoding" in message


@pytest.mark.parametrize("step", [1, 3, 4, 1000])
def test_a_character_cut_off_at_the_end_is_an_error_at_its_first_byte(step):
    with pytest.raises(TextError, match=r"line 2, byte 3: E4 B8"):
        decoded(b"ok\n\xe4\xb8", "utf-8", step)


def test_bad_bytes_far_into_a_large_file_are_found_where_they_are():
    good = "好的\n".encode() * (BLOCK_BYTES // 7 + 1000)
    stream = io.BytesIO(good + b"\xe4" + good)
    with pytest.raises(TextError, match=f"line {BLOCK_BYTES // 7 + 1001}, byte {len(good)}: E4"):
        list(decode_blocks(stream, "utf-8", name="f.txt"))


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("encoding", "offset"), [("utf-8", 8), ("gb18030", 6), ("utf-16-le", 8), ("utf-16", 10)]
)
def test_a_nul_is_an_error_with_its_place(encoding, offset, step):
    with pytest.raises(TextError, match=f"line 2, byte {offset}: a NUL byte") as caught:
        decoded("一\n二b\0c".encode(encoding), encoding, step)
    assert "binary" in str(caught.value)


def test_half_a_surrogate_pair_in_utf16_is_an_error():
    with pytest.raises(TextError, match="line 2, byte 4: 3D D8"):
        decoded("a\n".encode("utf-16-le") + b"\x3d\xd8" + "b".encode("utf-16-le"), "utf-16-le")


def test_a_surrogate_that_a_lenient_codec_lets_through_is_an_error():
    with pytest.raises(TextError, match=r"line 1: the lone surrogate U\+D800"):
        decoded(b"+2AA-", "utf-7", 1000)


def test_utf16_without_a_mark_asks_for_the_byte_order():
    with pytest.raises(TextError, match="utf-16-le or utf-16-be"):
        decoded("ab".encode("utf-16-le"), "utf-16")


@pytest.mark.parametrize("name", ["latin-17", "rot13", "hex", "nonsense", ""])
def test_a_name_that_is_no_text_encoding_is_refused(name):
    with pytest.raises(TextError, match="no known encoding"):
        decoder_name(name)


def test_a_misspelt_encoding_gets_the_nearest_name():
    with pytest.raises(TextError, match="did you mean gb18030"):
        decoder_name("gb18303")


def test_the_smaller_names_of_a_family_read_its_larger_member():
    assert decoded("镕𠮷".encode("gb18030"), "gb2312") == "镕𠮷"
    assert decoded("着啲".encode("big5hkscs"), "big5") == "着啲"


def test_a_forced_encoding_is_obeyed():
    assert decoded(b"caf\xe9", "latin-1") == "café"
