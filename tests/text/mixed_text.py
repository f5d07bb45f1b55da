"""Text of every kind that tokenizers split differently, for comparing them."""

import random
import sys
from pathlib import Path

_EMOJI = ("😀", "👍🏽", "👩‍👩‍👧‍👦", "🇨🇭", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☕️", "✍🏿", "🫠")
_OTHER = (
    "It's, they'LL we’re ſt 'S 12345 3.14 ½ ²③ Ⅷ ٣٤٥ १२३",
    "Größe café naïve e\u0301 Ångström Дом мир ελληνικά עברית العربية",
    "हिन्दी ไทย 한국어 ひらがな カタカナ",
    'http://example.org/?a=1&b=[x]  {"k": null}\t\t<|endoftext|>  --==>> ???!!!...',
    "\r\n \n\n\n   \t\x0b\x0c\x85\u2028\u3000\u00a0 \ufeff\u200b",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaAAAAAAAAAAAAAaa                                 x",
    "𝒜𝓁𝓅𝒽𝒶 𠮷野家 ㍿ ﬁﬂ \U000e0001 \ue000 ",
)


def mixed_text(characters: int, *, seed: int, data: Path) -> str:
    """About so many characters of English, Chinese, code, emoji and odd ones, in turn."""
    dice = random.Random(seed)
    sources = (
        (data / "shakespeare.txt").read_text(encoding="utf-8"),
        (data / "the-verdict.txt").read_text(encoding="utf-8"),
        (data / "tangshi-gbk.txt").read_bytes().decode("gb18030"),
        Path(random.__file__).read_text(encoding="utf-8"),
    )
    found: list[str] = []
    size = 0
    while size < characters:
        source = dice.choice(sources)
        start = dice.randrange(len(source))
        found += [
            source[start : start + dice.randrange(1, 2000)],
            dice.choice(("", " ", "\n", "  \n\n")).join(dice.choices(_EMOJI, k=3)),
            dice.choice(_OTHER),
            "".join(map(chr, dice.choices(_ANY, k=4))),
        ]
        size += sum(map(len, found[-4:]))
    return "".join(found)


_ANY = [code for code in range(1, sys.maxunicode) if not 0xD800 <= code <= 0xDFFF]
