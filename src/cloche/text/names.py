"""A tokenizer by its name or by its place: what a person types, opened."""

import difflib
from pathlib import Path

from cloche.errors import TokenizerError
from cloche.text.files import TOKENIZER_FILE
from cloche.text.kinds import PUBLISHED
from cloche.text.published import open_published
from cloche.text.saved import load_tokenizer_file
from cloche.text.sentencepiece import open_sentencepiece
from cloche.text.tokenizer import Tokenizer

# Where a run and a folder of prepared tokens keep theirs; of checkpoints, the newest.
_PLACES = ("", "tokenizer", "tokens/tokenizer", "best", "latest")
_CHECKPOINTS = "checkpoints/*"
_SENTENCEPIECE = ".model"


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of that name.

    That is a published encoding (gpt2, cl100k_base, o200k_base), or the path of a `tokenizer.json`,
    of a SentencePiece `.model`, of a folder that holds one of them, of a run, or of prepared
    tokens. Raises TokenizerError where it is nothing of this, or damaged.
    """
    if name in PUBLISHED:
        return open_published(name)
    path = Path(name)
    try:
        is_folder = bool(name) and path.is_dir()
    except (OSError, ValueError) as exc:  # too long for a name, or with a NUL
        raise TokenizerError(_unknown(name)) from exc
    if is_folder:
        path = _file_of(path)
    elif not path.is_file():
        raise TokenizerError(_unknown(name))
    if path.suffix == _SENTENCEPIECE:
        return open_sentencepiece(path)
    return load_tokenizer_file(path)


def _file_of(folder: Path) -> Path:
    """The file of the tokenizer in a folder. TokenizerError where there is none."""
    checkpoints = sorted(folder.glob(_CHECKPOINTS), key=lambda found: found.name, reverse=True)
    for place in (*(folder / place for place in _PLACES), *checkpoints):
        if (place / TOKENIZER_FILE).is_file():
            return place / TOKENIZER_FILE
    models = sorted(folder.glob(f"*{_SENTENCEPIECE}"))
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(model.name for model in models)
        raise TokenizerError(f"{folder} holds several models ({names}): name one of them")
    raise TokenizerError(
        f"{folder} holds no tokenizer: it has neither a {TOKENIZER_FILE} nor a SentencePiece "
        f"model, and is no run and no folder of prepared tokens"
    )


def _unknown(name: str) -> str:
    """What to say of a name that stands for nothing: what is like it, and what there is."""
    path = Path(name[:255].replace("\0", ""))
    near = difflib.get_close_matches(name.lower(), PUBLISHED, n=1)
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    near = near or [
        str(path.parent / entry) for entry in difflib.get_close_matches(path.name, beside, n=1)
    ]
    meant = f"; did you mean {near[0]}?" if near else "."
    return (
        f"there is no tokenizer {name[:255]!r}{meant} It may be {', '.join(PUBLISHED)}, or the "
        f"path of a {TOKENIZER_FILE}, of a SentencePiece model, of a Hugging Face folder, or of a "
        f"run"
    )
