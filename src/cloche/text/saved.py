"""A tokenizer from where it was saved: of which kind it is, the file itself tells."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairTokenizer
from cloche.text.characters import read_characters
from cloche.text.files import TOKENIZER_FILE
from cloche.text.hub import open_hub_tokenizer
from cloche.text.hub_roles import read_roles
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

    One that cloche saved comes back as what it was; any other, also one whose files name other
    tokens for its roles, is opened as a Hugging Face tokenizer. Raises TokenizerError where it is
    absent or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise TokenizerError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        saved = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise TokenizerError(f"{path} is damaged, or is no tokenizer: {exc}") from exc
    own = _own(saved, data)
    if own is None or not _has_roles(own, read_roles(path.parent)):
        return open_hub_tokenizer(path)
    return own


def _has_roles(tokenizer: Tokenizer, named: Mapping[str, str | None]) -> bool:
    """Whether its tokens have the roles that the files beside it give, as far as they do."""
    ids, special = tokenizer.special_ids, tokenizer.special_tokens
    own = {"bos": ids.bos, "eos": ids.eos, "pad": ids.pad}
    if ids.unk is not None:  # else nothing is unknown to it, and it does not matter
        own["unk"] = ids.unk
    wanted = {role: named[role] for role in own if role in named}
    return all(own[role] == (name and special.get(name, -1)) for role, name in wanted.items())


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
