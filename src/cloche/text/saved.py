"""A tokenizer from the folder it was saved in: of which kind it is, the file itself tells."""

import json
from pathlib import Path

from cloche.errors import TokenizerError
from cloche.text.bpe import BytePairTokenizer
from cloche.text.characters import read_characters
from cloche.text.files import TOKENIZER_FILE
from cloche.text.published import read_published
from cloche.text.tokenizer import Tokenizer
from cloche.text.words import read_words


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer whose `tokenizer.json` lies in `folder`.

    Raises TokenizerError where there is none, it is damaged, or of a kind that is not supported.
    """
    path = folder / TOKENIZER_FILE
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise TokenizerError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        saved = json.loads(data)
        kind = saved["model"]["type"]
    except (ValueError, TypeError, KeyError) as exc:
        raise TokenizerError(f"{path} is damaged, or is no tokenizer: {exc}") from exc
    try:
        if kind == "WordLevel":
            words = (saved.get("pre_tokenizer") or {}).get("type") == "Sequence"
            return read_words(saved, data) if words else read_characters(saved, data)
        if kind == "BPE":
            return read_published(saved, data) or BytePairTokenizer(data)
    except TokenizerError as exc:
        raise TokenizerError(f"{path} cannot be used: {exc}. {_SUPPORTED}") from exc
    except Exception as exc:  # the engine raises plain Exception for what it cannot read
        raise TokenizerError(f"{path} is damaged: {exc!r}") from exc
    raise TokenizerError(f"{path} is a tokenizer of the kind {kind}. {_SUPPORTED}")


_SUPPORTED = (
    "Supported are character and word tokenizers made by cloche, and byte-level BPE under the "
    "rules gpt-2, llama-bpe and deepseek-v3"
)
