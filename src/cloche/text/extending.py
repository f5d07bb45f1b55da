"""A tokenizer with more special tokens: at the end of its ids, so that all others stay as they are.

Whatever kind it is, it has a `tokenizer.json`. The new tokens are written there, and it is opened
again as the kind that its file now is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cloche.errors import TokenizerError, join_problems
from cloche.text.encodings import find_lone_surrogate
from cloche.text.files import TOKENIZER_FILE, added_tokens
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import Tokenizer


def with_special_tokens(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    """The tokenizer with these special tokens, too; its `vocab_size` grows by the new ones.

    Ids of all other tokens stay. Names that are special tokens already are left alone. A tokenizer
    of characters, of words or of a published encoding becomes an ordinary Hugging Face one, which
    gives the same ids. Raises TokenizerError where a name cannot be a special token, or is one that
    stands for plain text.
    """
    new = [name for name in dict.fromkeys(names) if name not in tokenizer.special_tokens]
    if problems := [problem for name in new if (problem := _problem(name))]:
        raise TokenizerError(join_problems(problems))
    if not new:
        return tokenizer
    with TemporaryDirectory(prefix="cloche-tokenizer-") as temporary:
        folder = Path(temporary)
        tokenizer.save(folder)
        path = folder / TOKENIZER_FILE
        saved: dict[str, Any] = json.loads(path.read_bytes())
        known = _vocabulary(saved)
        if taken := [name for name in new if name in known]:
            raise TokenizerError(
                f"{', '.join(map(repr, taken))} cannot become a special token: the tokenizer has "
                "it as a token of plain text, which would lose it; choose another name"
            )
        ids = {name: tokenizer.vocab_size + place for place, name in enumerate(new)}
        if len(known) < tokenizer.vocab_size and isinstance(saved["model"]["vocab"], dict):
            saved["model"]["vocab"] |= ids  # the engine would number them from the first free id
        saved["added_tokens"] = [*(saved.get("added_tokens") or []), *added_tokens(ids)]
        text = json.dumps(saved, ensure_ascii=False, indent=2) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")
        extended = load_tokenizer(folder)
    found = {name: extended.special_tokens.get(name) for name in new}
    if found != ids:
        raise TokenizerError(
            f"the tokenizer cannot be extended: its engine would number the new tokens {found}, "
            f"not {ids}, as it leaves out ids or has some twice"
        )
    return extended


def _problem(name: str) -> str:
    """Why a name can be none of a special token; empty where it can."""
    if not name or any(map(str.isspace, name)):
        return f"{name!r} cannot be a special token: a name holds something, and no white space"
    if len(name) < 2:
        return f"{name!r} cannot be a special token: it would be found in any text"
    if find_lone_surrogate(name):
        return f"{name!r} cannot be a special token: it holds half a character"
    return ""


def _vocabulary(saved: dict[str, Any]) -> set[str]:
    """All tokens of a parsed `tokenizer.json`."""
    vocab = saved["model"]["vocab"]
    own = vocab if isinstance(vocab, dict) else [piece for piece, _ in vocab]
    return {*own, *(token["content"] for token in saved.get("added_tokens") or [])}
