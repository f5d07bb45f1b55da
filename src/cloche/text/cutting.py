"""Long text in pieces that tokenize to the same ids as the whole.

A byte-level BPE first splits text by a regular expression and never merges over those splits. So
text may be cut wherever every splitting rule of `bpe.py` (gpt-2, llama-bpe, deepseek-v3) splits
it, whatever comes before and after. Two kinds of places are used:

* before a space that follows anything but white space. In all three rules a space is only ever the
  beginning of a split or preceded by white space in it.
* between a letter or digit and a line end, a tab, or a Chinese punctuation mark. In all three rules
  a run of letters or digits ends there, and nothing after it belongs to it.

The rules look ahead only in white space, and never back. Since no piece ends in white space,
nothing in it depends on what follows; since it begins at a split, nothing depends on what came
before.
"""

import re
from collections.abc import Iterable, Iterator

from cloche.text.tokenizer import Tokenizer

PIECE_CHARACTERS = 65_536
"""Characters of a piece, about: enough for speed, few enough to share among processor cores."""
MOST_CHARACTERS = 1_000_000
"""Characters after which a text without a safe place is cut all the same."""

# Only letters and digits that every engine's Unicode tables agree on.
_LETTER = r"0-9A-Za-zÀ-ÖØ-öø-ɏа-яぁ-ゖァ-ヺ一-龥가-힣"
_MARK = r"\t\n\r、。，！？；：「」『』（）《》…—“”"
_SAFE_PLACE = re.compile(rf"(?<=\S)(?= )|(?<=[{_LETTER}])(?=[{_MARK}])")


def safe_pieces(
    pieces: Iterable[str], *, size: int = PIECE_CHARACTERS, most: int | None = MOST_CHARACTERS
) -> Iterator[str]:
    """The text of one document, cut anew into pieces whose ids, joined, are those of the whole.

    Each piece has at most `size` characters where a safe place to cut allows it, and up to `most`
    where it does not (a long run of letters without a space or a mark). After `most` it is cut
    anywhere, which can change the few tokens around that place; None never does that. All pieces
    joined are the text, and none is empty.
    """
    text = ""
    for piece in pieces:
        start, searched = 0, len(text)  # what is left holds no safe place after `size`
        text += piece
        while len(text) - start > size:
            place = _place_to_cut(text, start, size=size, most=most, searched=searched)
            if place is None:
                break
            yield text[start:place]
            start = searched = place
        text = text[start:]
    if text:
        yield text


def joinable_pieces(
    tokenizer: Tokenizer, pieces: Iterable[str], *, size: int = PIECE_CHARACTERS
) -> Iterator[str]:
    """The text of one document in pieces whose ids under `tokenizer`, joined, are the document's.

    About `size` characters each; all of it in one piece where the tokenizer needs documents whole.
    """
    if tokenizer.joinable:
        return safe_pieces(pieces, size=size, most=max(2 * size, MOST_CHARACTERS))
    whole = "".join(pieces)
    return iter((whole,) if whole else ())


def last_safe_place(text: str) -> int | None:
    """The last place in `text` where it may be cut, as an index, or None."""
    reach = 256
    while True:  # look back from the end, twice as far each time
        places = list(_SAFE_PLACE.finditer(text, max(1, len(text) - reach)))
        if places:
            return places[-1].start()
        if reach >= len(text):
            return None
        reach *= 2


def _place_to_cut(
    text: str, start: int, *, size: int, most: int | None, searched: int
) -> int | None:
    """Where the piece from `start` ends: the last safe place within `size`, else the first after.

    Before `searched` there is none after `size`. None where the next piece may bring one.
    """
    end = start + size
    if searched <= end:
        reach = 256
        while reach < 2 * size:  # look back from the end, twice as far each time
            places = list(_SAFE_PLACE.finditer(text, max(start + 1, end - reach), end + 1))
            if places:
                return places[-1].start()
            reach *= 2
    limit = len(text) if most is None else start + most
    match = _SAFE_PLACE.search(text, max(end, searched), limit + 1)
    if match:
        return match.start()
    return limit if len(text) > limit else None
