"""Where a `tokenizer.json` surely splits text, as far as its pre-tokenizer is a known one."""

from collections.abc import Mapping
from typing import Any

from cloche.text.cutting import last_safe_place
from cloche.text.splitting import byte_of_letter, rule_of

# Qwen 2 and its successors: as Llama 3, with single digits.
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# o200k: words part where capitals begin.
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SAFE_PATTERNS = (_QWEN, _O200K)
_REACHING = ("single_word", "lstrip", "rstrip", "normalized")  # what an added token may ask for
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def splits_at_safe_places(saved: Mapping[str, Any]) -> bool:
    """Whether no token reaches over a place where `cutting.safe_pieces` cuts.

    Only what is known for certain: byte-level BPE under the patterns of GPT-2, Llama 3, Qwen 2,
    DeepSeek-V3 and o200k, with all bytes, and with no normalizer but NFC. Tokens that are found in
    plain text must hold no such place, and take nothing beside them along. (NFC never joins a
    space, a line end or a Chinese mark to what stands before it.)
    """
    model = saved["model"]
    normalizer = saved.get("normalizer") or {"type": "NFC"}
    added = saved.get("added_tokens") or []
    return (
        splits_bytes_alone(saved)
        and normalizer == {"type": "NFC"}
        and model["vocab"].keys() >= byte_of_letter().keys()
        and all(token["special"] or _holds_together(token) for token in added)
        and _is_known(saved.get("pre_tokenizer") or {})
    )


def splits_bytes_alone(saved: Mapping[str, Any]) -> bool:
    """Whether special tokens part the text and change nothing else.

    So it is in a byte-level BPE that sets no space before a text, if no special token takes the
    spaces beside it along or is found as a whole word only.
    """
    added = saved.get("added_tokens") or []
    return (
        saved["model"]["type"] == "BPE"
        and (saved.get("normalizer") or {"type": "NFC"}) == {"type": "NFC"}
        and _ends_in_bytes(saved.get("pre_tokenizer") or {})
        and not any(token.get(flag) for token in added if token["special"] for flag in _REACHING)
    )


def _holds_together(token: Mapping[str, Any]) -> bool:
    """Whether an added token is found or not, whatever stands beside it, and is never cut.

    A safe place is one by the two characters beside it. So where a token holds none, no place
    where text is cut lies within one, and both parts are searched as they are in the whole.
    """
    reaches = any(token.get(flag) for flag in _REACHING)
    return not reaches and last_safe_place(token["content"]) is None


def _ends_in_bytes(saved: Mapping[str, Any]) -> bool:
    """Whether a pre-tokenizer is ByteLevel, or splits by patterns and then is."""
    steps = saved.get("pretokenizers", []) if saved.get("type") == "Sequence" else [saved]
    last = steps[-1] if steps else {}
    before = {step.get("type") for step in steps[:-1]}
    return (
        last.get("type") == "ByteLevel"
        and not last.get("add_prefix_space", True)
        and before <= {"Split", "Digits", "Punctuation"}
    )


def _is_known(saved: Mapping[str, Any]) -> bool:
    """Whether the splits of a pre-tokenizer are known to fall on all safe places."""
    canonical = _canonical(saved)
    if canonical == _BYTE_LEVEL | {"use_regex": True} or rule_of(canonical) is not None:
        return True
    return any(
        canonical
        == {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _BYTE_LEVEL | {"use_regex": False},
            ],
        }
        for pattern in _SAFE_PATTERNS
    )


def _canonical(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with what does not change ids set to one value, and defaults written out."""
    if saved.get("type") == "Sequence":
        return {**saved, "pretokenizers": [_canonical(step) for step in saved["pretokenizers"]]}
    if saved.get("type") == "ByteLevel":
        return {"use_regex": True, **saved, "trim_offsets": True}
    return {"invert": False, **saved} if saved.get("type") == "Split" else dict(saved)
