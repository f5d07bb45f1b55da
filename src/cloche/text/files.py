"""The two files of a saved tokenizer, as Hugging Face tools expect them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloche.text.tokenizer import SpecialIds

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"


def write_tokenizer(
    folder: Path,
    tokenizer_json: bytes,
    *,
    names: Mapping[str, int],
    special: SpecialIds,
    extra: Mapping[str, str],
) -> None:
    """Write both files into `folder`; `names` gives the special tokens' ids, `extra` more keys.

    `tokenizer_config.json` names the special tokens by role for `transformers`, and stops it from
    tidying spaces away on decoding.
    """
    token_of = {number: name for name, number in names.items()}
    roles = {"bos": special.bos, "eos": special.eos, "pad": special.pad, "unk": special.unk}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": None if n is None else token_of[n] for role, n in roles.items()},
        **extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_json)
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8", newline="\n")


def added_tokens(special: Mapping[str, int]) -> list[dict[str, Any]]:
    """The `added_tokens` entry of a `tokenizer.json`: special tokens, found as they are spelled."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": number, "content": name, **flags, "special": True}
        for name, number in special.items()
    ]
