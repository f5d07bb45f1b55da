"""A tokenizer from where it was saved: of which kind it is, the file itself tells."""

import json
from pathlib import Path
from typing import Any

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairTokenizer
from cloche.text.characters import read_characters
from cloche.text.files import TOKENIZER_FILE
from cloche.text.hub import open_hub_tokenizer
from cloche.text.published import read_published
from cloche.text.tokenizer import Tokenizer
from cloche.text.words import read_words


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer whose `tokenizer.json` lies in `folder`.

    Raises TokenizerError where there is none, or it is damaged.
    """
    return load_tokenizer_file(folder / TOKENIZER_FILE)


def load_tokenizer_file(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, whatever the file is called.

    One that cloche saved comes back as what it was; any other is opened as a Hugging Face
    tokenizer. Raises TokenizerError where it is absent or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise TokenizerError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        saved = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise TokenizerError(f"{path} is damaged, or is no tokenizer: {exc}") from exc
    return _own(saved, data) or open_hub_tokenizer(path)


def _own(saved: Any, data: bytes) -> Tokenizer | None:
    """The tokenizer that cloche saved so; None for what it would have saved in any other way.

    What is missing or of the wrong type is left to the reader of all Hugging Face tokenizers, which
    tells what is wrong.
    """
    try:
        kind = saved["model"]["type"]
        if kind == "WordLevel":
            words = saved["pre_tokenizer"]["type"] == "Sequence"
            return read_words(saved, data) if words else read_characters(saved, data)
        if kind == "BPE":
            return read_published(saved, data) or BytePairTokenizer(data)
    except (TokenizerError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return None
