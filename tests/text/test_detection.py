import io

import pytest

from cloche.errors import TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import BLOCK_BYTES, decode_blocks

SIMPLIFIED = "今天天气很好，小明和他的朋友们一起去公园里玩。他们看到了许多漂亮的花。"
TRADITIONAL = "今天天氣很好，小明和他的朋友們一起去公園裡玩。他們看到了許多漂亮的花。"
JAPANESE = "今日は天気がいいので、友達と公園へ行きました。きれいな花が咲いていました。"
KOREAN = "오늘은 날씨가 아주 좋아서 친구들과 함께 공원에 갔습니다."
FRENCH = "Le résumé du café était très réussi, déjà vu à l'été."
RUSSIAN = "Сегодня хорошая погода, и мы пошли гулять в парк."


def detect(data: bytes) -> str:
    return detect_encoding(lambda: io.BytesIO(data), name="f.txt")


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("plain English", "ascii", "utf-8"),
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8-sig"),
        (SIMPLIFIED, "utf-16", "utf-16"),
        (FRENCH, "utf-32", "utf-32"),
        (SIMPLIFIED, "utf-16-le", "utf-16-le"),
        (TRADITIONAL, "utf-16-be", "utf-16-be"),
        (FRENCH, "utf-16-be", "utf-16-be"),
        (RUSSIAN, "utf-16-le", "utf-16-le"),
        ("Hello there\n", "utf-16-le", "utf-16-le"),
        (SIMPLIFIED, "gbk", "gbk"),
        (TRADITIONAL, "gbk", "gbk"),
        (SIMPLIFIED + "𠮷㐀", "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        (TRADITIONAL + "啲嘢", "big5hkscs", "big5hkscs"),
        (JAPANESE, "cp932", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (KOREAN, "cp949", "cp949"),
        ("你好", "gbk", "gbk"),
        ("联通", "gbk", "gbk"),
        ("你好，世界。", "big5", "big5"),
    ],
)
def test_encodings_are_told_apart(text, encoding, name):
    data = text.encode(encoding)
    assert detect(data) == name
    assert "".join(decode_blocks(io.BytesIO(data), name, name="f.txt")) == text


@pytest.mark.parametrize("size", [12, 24, 60])
@pytest.mark.parametrize("encoding", ["gbk", "big5hkscs"])
def test_short_passages_of_poems_are_hardly_ever_taken_for_another_encoding(
    shared_data, encoding, size
):
    poems = (shared_data / "tangshi-gbk.txt").read_bytes().decode("gb18030")
    family = {"gbk": {"gbk", "gb18030"}, "big5hkscs": {"big5", "big5hkscs"}}[encoding]
    wrong = 0
    for start in range(0, 1_600_000, 16_000):
        try:
            data = poems[start : start + size].encode(encoding)
            wrong += detect(data) not in family
        except (UnicodeEncodeError, TextError):  # asking is right; a wrong guess is not
            continue
    assert wrong <= (3 if size == 12 else 1)


def test_chinese_that_begins_far_into_a_file_is_still_found():
    assert detect(b"x" * (2 * BLOCK_BYTES + 1) + SIMPLIFIED.encode("gbk")) == "gbk"


@pytest.mark.parametrize("text", [FRENCH, "“Hello” he said — it’s fine", "Straße über Größe"])
def test_western_text_in_an_old_encoding_is_asked_about_and_never_guessed(text):
    data = text.encode("cp1252")
    with pytest.raises(TextError, match=r"not UTF-8.*--text.encoding \(such as cp1252\)") as caught:
        detect(data)
    assert "f.txt: line 1, byte" in str(caught.value)


def test_utf8_with_a_bad_byte_stays_utf8_so_that_the_place_is_told():
    assert detect(SIMPLIFIED.encode() + b"\xff" + SIMPLIFIED.encode()) == "utf-8"
    assert detect(SIMPLIFIED.encode() * 50_000 + b"\xd6\xd0" * 3) == "utf-8"


def test_gbk_with_a_bad_byte_stays_gbk_so_that_the_place_is_told():
    good = SIMPLIFIED.encode("gbk")
    assert detect(good * 20 + b"\xff\xff" + good) == "gbk"


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"abc\0defg", 3), (b"abc\0def", 3), (b"one\ntwo\n\0\0", 8), (bytes(range(256)) * 4, 0)],
)
def test_nul_bytes_that_are_not_utf16_are_an_error_with_their_place(data, offset):
    with pytest.raises(TextError, match=f"byte {offset}: a NUL byte"):
        detect(data)


def test_a_nul_far_into_english_text_is_an_error_with_line_and_offset():
    line = b"The quick brown fox jumps over the lazy dog\n"
    count = BLOCK_BYTES // len(line) + 10
    with pytest.raises(TextError, match=f"line {count + 1}, byte {count * len(line)}: a NUL"):
        detect(line * count + b"\0" + line)


def test_an_empty_source_is_utf8():
    assert detect(b"") == "utf-8"
