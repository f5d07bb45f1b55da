"""How a byte-level BPE splits text before merging, and how it writes bytes as letters.

Three rules, by the names that llama.cpp knows them by, so that a model can be taken there:
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

import json

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from cloche.text.kinds import RULES, Rule

# As the published tokenizers of Llama 3 and DeepSeek-V3 have them. GPT-2's own is built into the
# engine's ByteLevel, where its published file leaves it.
_PATTERNS: dict[Rule, tuple[str, ...]] = {
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
        r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}


def pre_tokenizer(rule: Rule) -> pre_tokenizers.PreTokenizer:
    """The rule as the engine's pre-tokenizer, from text to bytes written as letters."""
    if rule == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _PATTERNS[rule]]
    to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*splits, to_letters])


def rule_of(saved: dict | None) -> Rule | None:
    """The rule that a `pre_tokenizer` entry of a `tokenizer.json` stands for, or None."""
    for rule in RULES:
        engine = Tokenizer(models.BPE())
        engine.pre_tokenizer = pre_tokenizer(rule)
        if json.loads(engine.to_str())["pre_tokenizer"] == saved:
            return rule
    return None


def byte_of_letter() -> dict[str, int]:
    """The byte that each of 256 letters stands for in the vocabulary of a byte-level BPE.

    Printable Latin-1 bytes are written as themselves, the others as letters from U+0100 on, as in
    GPT-2: https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in sorted(printable)}
    return letters | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}
