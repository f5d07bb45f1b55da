"""What tokenizers there are, by the names that options use. Loads no engine."""

from typing import Literal, get_args

MADE = ("characters", "words", "bpe")
"""Those made from the text at hand."""
PUBLISHED = ("gpt2", "cl100k_base", "o200k_base")
"""Those whose vocabulary is published."""

Rule = Literal["gpt-2", "llama-bpe", "deepseek-v3"]
"""How a byte-level BPE splits text before merging, as llama.cpp calls it. gpt-2: words with the
space before them. llama-bpe: the same, with numbers in threes and marks joined to words.
deepseek-v3: runs of Chinese and kana apart from other letters, too."""

RULES: tuple[Rule, ...] = get_args(Rule)
