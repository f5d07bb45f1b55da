"""Replays of text as tokens: words by a pattern, characters, and the published gpt2 encoding."""

from collections.abc import Mapping

from cloche.replays.materials import Materials
from cloche.replays.measured import Measure, Measured
from cloche.replays.published import Published
from cloche.text.characters import CharacterTokenizer
from cloche.text.visible import TokenReader
from cloche.text.words import distinct_words, split_words

VERDICT, SHAKESPEARE = "verdict", "shakespeare"
FIRST_TOKENS, FIRST_WORDS, LAST_WORDS = 30, 21, 5


def _split(published: Published, _: Materials) -> Measured:
    return Measured(split_words(published.inputs["text"], published.inputs["pattern"]))


def _verdict_characters(_: Published, materials: Materials) -> Measured:
    return Measured(len(materials.text(VERDICT)))


def _verdict_words(published: Published, materials: Materials) -> list[str]:
    return split_words(materials.text(VERDICT), published.inputs["pattern"])


def _count_words(published: Published, materials: Materials) -> Measured:
    return Measured(len(_verdict_words(published, materials)))


def _first_words(published: Published, materials: Materials) -> Measured:
    return Measured(_verdict_words(published, materials)[:FIRST_TOKENS])


def _count_distinct(published: Published, materials: Materials) -> Measured:
    text = materials.text(VERDICT)
    return Measured(len(distinct_words([text], pattern=published.inputs["pattern"])))


def _first_of_vocabulary(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.words(VERDICT, published.inputs["pattern"])
    return Measured([tokenizer.token_text(number) for number in range(FIRST_WORDS)])


def _vocabulary_size(published: Published, materials: Materials) -> Measured:
    return Measured(materials.words(VERDICT, published.inputs["pattern"]).vocab_size)


def _last_of_vocabulary(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.words(VERDICT, published.inputs["pattern"])
    last = range(tokenizer.vocab_size - LAST_WORDS, tokenizer.vocab_size)
    return Measured({tokenizer.token_text(number): number for number in last})


def _encode_words(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.words(VERDICT, published.inputs["pattern"])
    allowed = published.inputs["allowed"]
    return Measured(tokenizer.encode(published.inputs["text"], allowed_special=allowed))


def _decode_words(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.words(VERDICT, published.inputs["pattern"])
    return Measured(tokenizer.decode_with_special(published.inputs["ids"]))


def _encode_gpt2(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.tokenizer("gpt2")
    allowed = published.inputs["allowed"]
    return Measured(tokenizer.encode(published.inputs["text"], allowed_special=allowed))


def _decode_gpt2(published: Published, materials: Materials) -> Measured:
    return Measured(TokenReader(materials.tokenizer("gpt2")).together(published.inputs["ids"]))


def _count_gpt2(_: Published, materials: Materials) -> Measured:
    return Measured(len(materials.ids(VERDICT, "gpt2")))


def _characters(materials: Materials) -> CharacterTokenizer:
    return CharacterTokenizer(set(materials.text(SHAKESPEARE)))


def _shakespeare(_: Published, materials: Materials) -> Measured:
    distinct = len(_characters(materials).characters)
    return Measured({"characters": len(materials.text(SHAKESPEARE)), "distinct": distinct})


def _encode_characters(published: Published, materials: Materials) -> Measured:
    return Measured(_characters(materials).encode(published.inputs["text"]))


def _decode_characters(published: Published, materials: Materials) -> Measured:
    return Measured(_characters(materials).decode(published.inputs["ids"]))


ROWS: Mapping[str, Measure] = {
    "regex split, spaces kept then dropped": _split,
    "regex split, words and punctuation": _split,
    "the-verdict characters": _verdict_characters,
    "the-verdict word tokens, first pattern": _count_words,
    "the-verdict first 30 word tokens": _first_words,
    "the-verdict distinct words, first pattern": _count_distinct,
    "the-verdict vocabulary, first 21, first pattern": _first_of_vocabulary,
    "the-verdict vocabulary size, second pattern, with two special tokens": _vocabulary_size,
    "its last five": _last_of_vocabulary,
    "word encode": _encode_words,
    "word decode": _decode_words,
    "gpt2 encode": _encode_gpt2,
    "gpt2 decode": _decode_gpt2,
    "the-verdict gpt2 tokens": _count_gpt2,
    "Shakespeare": _shakespeare,
    'Shakespeare encode "hii there"': _encode_characters,
    'Shakespeare decode "hii there"': _decode_characters,
}
"""By the name of the published result."""
