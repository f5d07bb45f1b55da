"""BPE as SentencePiece has it, back from a `tokenizer.json`: a score for each piece.

SentencePiece joins the two neighbours whose joint piece has the best score. A `tokenizer.json`
lists merges instead: all ways to put a piece together, the best piece first. So scores are the
order of the pieces, if every way is there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cloche.errors import CheckpointError

SPACE = "▁"
"""How SentencePiece writes a space."""
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}


def is_sentencepiece(saved: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` writes spaces as SentencePiece does."""
    steps = [*_steps(saved.get("normalizer")), *_steps(saved.get("pre_tokenizer"))]
    return _REPLACE in steps or any(step["type"] == "Metaspace" for step in steps)


def sets_space_first(saved: Mapping[str, Any]) -> bool:
    """Whether a space is set before every text."""
    if _PREPEND in _steps(saved.get("normalizer")):
        return True
    return any(
        step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never"
        for step in _steps(saved.get("pre_tokenizer"))
    )


def piece_scores(saved: Mapping[str, Any], *, among: Collection[str]) -> dict[str, float]:
    """The score of each piece in `among`; the higher one is joined first.

    Raises CheckpointError where scores cannot say what the merges do, or llama.cpp would not read
    text in the same way.
    """
    model = saved["model"]
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    outcomes = ["".join(pair) for pair in merges]
    ranks = {piece: rank for rank, piece in enumerate(dict.fromkeys(outcomes))}
    in_order = [ranks[piece] for piece in outcomes]
    crossing = [piece for piece in among if SPACE in piece.lstrip(SPACE)]
    problems = {
        "it changes text otherwise than by its spaces": not _reads_plainly(saved),
        "it looks words up before it merges": bool(model.get("ignore_merges")),
        "it lacks tokens for some of the 256 bytes": any(
            f"<0x{byte:02X}>" not in model["vocab"] for byte in range(256)
        ),
        "its merges are not in the order of their outcomes": in_order != sorted(in_order),
        "it splits text at spaces, and has pieces that hold one": bool(
            crossing and _splits_at_spaces(saved)
        ),
        "it cannot put its pieces together in every way": (
            set(merges) != set(_all_merges(ranks, among))
        ),
    }
    found = [problem for problem, holds in problems.items() if holds]
    if found:
        raise CheckpointError(
            f"this tokenizer cannot go to llama.cpp with the same ids: {'; '.join(found)}. Export "
            f"the run as a Hugging Face folder"
        )
    return {piece: float(-ranks.get(piece, len(ranks))) for piece in among}


def _all_merges(ranks: Mapping[str, int], among: Collection[str]) -> Iterator[tuple[str, str]]:
    for piece in ranks:
        for place in range(1, len(piece)):
            if piece[:place] in among and piece[place:] in among:
                yield piece[:place], piece[place:]


def _reads_plainly(saved: Mapping[str, Any]) -> bool:
    normalizing = all(step in (_REPLACE, _PREPEND) for step in _steps(saved.get("normalizer")))
    splitting = all(
        step["type"] == "Metaspace" or _is_split_at_spaces(step)
        for step in _steps(saved.get("pre_tokenizer"))
    )
    return normalizing and splitting


def _splits_at_spaces(saved: Mapping[str, Any]) -> bool:
    return any(
        _is_split_at_spaces(step) or step.get("split", True)
        for step in _steps(saved.get("pre_tokenizer"))
    )


def _is_split_at_spaces(step: Mapping[str, Any]) -> bool:
    return step["type"] == "Split" and step["pattern"] == {"String": SPACE}


def _steps(saved: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, one after the other."""
    if saved is None:
        return []
    inner = saved.get("normalizers") or saved.get("pretokenizers") or []
    if saved["type"] == "Sequence":
        return [step for part in inner for step in _steps(part)]
    return [dict(saved)]
