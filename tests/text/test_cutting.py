import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.cutting import safe_pieces
from cloche.text.kinds import RULES

CORPUS = (
    "It's a test: we'll see, they're here 12345 times!\n\n  Don't  stop...  now\t\tok\r\n"
    "今天天气很好，小明和3个朋友去公园里玩。\n“好的！”他说：「走吧」……\n今天天气好，很好。\n"
    "ひらがなとカタカナ、そして漢字。 한국어 문장입니다. Größe, éé naïve_name ==> x+=1;\n"
) * 6
ALPHABET = st.text(
    st.sampled_from("ab'stllré 1２345.,!?-\n\r\t\u3000\u00a0天气，。！“”のカ한\u0301_=😀\x1c\x85"),
    max_size=120,
)


@pytest.fixture(scope="module", params=RULES)
def tokenizer(request) -> BytePairTokenizer:
    return train_bpe([CORPUS], vocab_size=450, rule=request.param)


def ids_of_whole(tokenizer: BytePairTokenizer, text: str) -> list[int]:
    """What the engine gives without any cutting."""
    return tokenizer.engine.encode(text).ids


@given(text=ALPHABET, size=st.integers(1, 20), step=st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_pieces_have_the_ids_of_the_whole(tokenizer, text, size, step):
    given_pieces = [text[i : i + step] for i in range(0, len(text), step)]
    pieces = list(safe_pieces(given_pieces, size=size, most=None))
    assert "".join(pieces) == text
    assert all(pieces)
    joined = [number for piece in pieces for number in ids_of_whole(tokenizer, piece)]
    assert joined == ids_of_whole(tokenizer, text)


@pytest.mark.parametrize(
    ("name", "encoding"), [("shakespeare", "utf-8"), ("tangshi-gbk", "gb18030")]
)
def test_real_text_is_cut_into_pieces_of_the_asked_size(shared_data, tokenizer, name, encoding):
    text = (shared_data / f"{name}.txt").read_bytes().decode(encoding)[:50_000]
    pieces = list(safe_pieces([text], size=1000))
    assert max(map(len, pieces)) <= 1000
    assert len(pieces) < len(text) / 800
    joined = [number for piece in pieces for number in ids_of_whole(tokenizer, piece)]
    assert joined == ids_of_whole(tokenizer, text) == tokenizer.encode(text)


def test_a_run_without_a_safe_place_grows_up_to_the_most_and_is_then_cut():
    pieces = list(safe_pieces(["x" * 7] * 10, size=5, most=30))
    assert [len(piece) for piece in pieces] == [30, 30, 10]


def test_without_a_most_such_a_run_stays_whole():
    assert list(safe_pieces(["x" * 7] * 10, size=5, most=None)) == ["x" * 70]


def test_the_first_safe_place_after_a_long_run_is_used():
    assert list(safe_pieces(["x" * 20 + " yy"], size=5, most=None)) == ["x" * 20, " yy"]


def test_no_text_gives_no_pieces():
    assert list(safe_pieces([])) == list(safe_pieces([""])) == []
