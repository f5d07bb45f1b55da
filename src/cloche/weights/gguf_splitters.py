"""How llama.cpp's byte-level BPE splits text, by the names that GGUF files use.

A file says how text is split only by a name (`tokenizer.ggml.pre`). Here each name that we know
stands beside the same rule as a `pre_tokenizer` of `tokenizer.json`, taken from the tokenizers that
the name was made for. A name that is not here is refused: any other rule would give other ids.

Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models

from cloche.text.kinds import RULES, Rule
from cloche.text.splitting import pre_tokenizer

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_WORDS = _BYTES | {"use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_SMOLLM = {"type": "Sequence", "pretokenizers": [_DIGITS, _WORDS]}
_PATTERNS = {
    "qwen2": (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}",
    ),
    "qwen35": (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",
    ),
    "gpt-4o": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDINGS}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDINGS}?"
        rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
    ),
    "tekken": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
    ),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
}


@dataclass(frozen=True)
class Splitter:
    """What a name in a file stands for."""

    rule: str
    """The name of the first that split so."""
    looks_up_words: bool = False
    """Whether a whole word that is a token is taken as it is, without merging."""
    adds_bos: bool = False
    """Whether texts begin with the bos token where the file does not say."""
    composes: bool = False
    """Whether the tokenizers of that name compose characters (NFC) first; llama.cpp does not."""

    def to_json(self) -> Mapping[str, Any]:
        """The rule as the `pre_tokenizer` of a `tokenizer.json`."""
        if self.rule in _PATTERNS:
            return _split(*_PATTERNS[self.rule])
        if self.rule == "smollm":
            return _SMOLLM
        return _of_ours(next(known for known in RULES if known == self.rule))


SPLITTERS: Mapping[str, Splitter] = {
    "gpt-2": Splitter("gpt-2"),
    "phi-2": Splitter("gpt-2"),
    "mpt": Splitter("gpt-2", composes=True),
    "olmo": Splitter("gpt-2", composes=True),
    "exaone4": Splitter("gpt-2"),
    "smollm": Splitter("smollm"),
    "starcoder": Splitter("smollm"),
    "refact": Splitter("smollm"),
    "command-r": Splitter("smollm", composes=True),
    "codeshell": Splitter("smollm"),
    "exaone": Splitter("smollm"),
    "minerva-7b": Splitter("smollm"),
    "llama-bpe": Splitter("llama-bpe", looks_up_words=True, adds_bos=True),
    "llama3": Splitter("llama-bpe", looks_up_words=True, adds_bos=True),
    "llama-v3": Splitter("llama-bpe", looks_up_words=True, adds_bos=True),
    "falcon3": Splitter("llama-bpe", looks_up_words=True, adds_bos=True),
    "dbrx": Splitter("llama-bpe"),
    "smaug-bpe": Splitter("llama-bpe"),
    "glm4": Splitter("llama-bpe"),
    "chatglm-bpe": Splitter("llama-bpe"),
    "qwen2": Splitter("qwen2", composes=True),
    "deepseek-r1-qwen": Splitter("qwen2"),
    "megrez": Splitter("qwen2"),
    "stablelm2": Splitter("qwen2"),
    "hunyuan": Splitter("qwen2"),
    "qwen35": Splitter("qwen35", composes=True),
    "deepseek-v3": Splitter("deepseek-v3"),
    "hunyuan-dense": Splitter("deepseek-v3"),
    "deepseek-coder": Splitter("deepseek-coder"),
    "gpt-4o": Splitter("gpt-4o"),
    "llama4": Splitter("gpt-4o"),
    "tekken": Splitter("tekken", looks_up_words=True, adds_bos=True),
}
"""What is known, by the names in files."""

EXACT = (
    *("gpt-2", "llama-bpe", "dbrx", "deepseek-v3", "smollm", "deepseek-r1-qwen"),
    *("olmo", "command-r", "qwen2", "qwen35"),
)
"""The names to write. llama.cpp splits any text as these rules say, but for an apostrophe before
the long s of old prints (U+017F), which it does not take for an s; it only nears the other rules.
"""


def name_splitter(
    saved: Mapping[str, Any] | None, *, looks_up_words: bool, composes: bool
) -> str | None:
    """The name in EXACT for the `pre_tokenizer` of a `tokenizer.json`; None where there is none.

    Of those that split alike, the one that looks words up, and composes characters, as the
    tokenizer does. None stands for composing where the tokenizer does not.
    """
    wanted = _canonical(saved or {})
    alike = [
        name
        for name in EXACT
        if _canonical(SPLITTERS[name].to_json()) == wanted and SPLITTERS[name].composes <= composes
    ]

    def unlike(name: str) -> tuple[bool, bool]:
        splitter = SPLITTERS[name]
        return splitter.looks_up_words != looks_up_words, splitter.composes != composes

    return min(alike, key=unlike, default=None)


def _of_ours(rule: Rule) -> dict[str, Any]:
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizer(rule)
    return json.loads(engine.to_str())["pre_tokenizer"]


def _split(*patterns: str) -> dict[str, Any]:
    steps = [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        for regex in patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*steps, _BYTES]}


def _canonical(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with defaults written out, and with what does not change ids set to one value."""
    if saved.get("type") == "Sequence":
        return {**saved, "pretokenizers": [_canonical(step) for step in saved["pretokenizers"]]}
    if saved.get("type") == "ByteLevel":
        return {"use_regex": True, **saved, "trim_offsets": True}
    return {"invert": False, **saved} if saved.get("type") == "Split" else dict(saved)
