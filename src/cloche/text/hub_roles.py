"""Which token of a Hugging Face tokenizer has which role: read beside it, else known by name."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloche.errors import TokenizerError
from cloche.text.files import CONFIG_FILE

ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")
"""All that `transformers` treats as special; cloche itself uses the first four."""

_OLDER_FILE = "special_tokens_map.json"  # the roles alone, as older versions write them
_MARK = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")
_WELL_KNOWN = {
    "bos": (
        *("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>"),
        *("[BOS]", "[CLS]", "<|endoftext|>"),
    ),
    "eos": (
        *("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>"),
        *("[EOS]", "[SEP]", "<|im_end|>"),
    ),
    "pad": (
        *("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<｜▁pad▁｜>"),
        "<|endoftext|>",
    ),
    "unk": ("<unk>", "[UNK]", "<|unk|>", "<UNK>"),
}


def read_roles(folder: Path) -> dict[str, str | None]:
    """The token of each role that the files in `folder` speak of; None where they say: none.

    Raises TokenizerError where such a file is damaged.
    """
    roles: dict[str, str | None] = {}
    for name in (_OLDER_FILE, CONFIG_FILE):  # the newer one has the last word
        roles |= _roles_in(folder / name)
    return roles


def name_roles(
    named: Mapping[str, str | None],
    *,
    ids: Mapping[str, int],
    special: Iterable[str],
    unknown: str | None,
) -> dict[str, str]:
    """The token of each role there is: as named, else by well-known names among `special`.

    `ids` are those of all tokens, `unknown` the model's own token for what it does not know. Raises
    TokenizerError where a token is named that does not exist.
    """
    roles = {role: token for role, token in named.items() if token is not None}
    missing = [f"{token!r} ({role})" for role, token in roles.items() if token not in ids]
    if missing:
        raise TokenizerError(
            f"its {CONFIG_FILE} or {_OLDER_FILE} names {', '.join(missing)}, which its "
            f"tokenizer.json does not have; take that out, or add the token to tokenizer.json"
        )
    if "unk" not in named and unknown is not None:
        roles["unk"] = unknown
    among = set(special)
    for role, names in _WELL_KNOWN.items():
        found = [name for name in names if name in among]
        if role not in named and role not in roles and found:
            roles[role] = found[0]
    return roles


def is_mark(token: str) -> bool:
    """Whether a token is spelled as no text is: `<...>`, `[...]` and the like, not `!` or `the`."""
    return _MARK.fullmatch(token) is not None


def _roles_in(path: Path) -> dict[str, str | None]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise TokenizerError(f"{path} cannot be read: {exc.strerror}") from exc
    saved = parse_json(data, path=path)
    found: dict[str, str | None] = {}
    for role in ROLES:
        key = f"{role}_token"
        if key not in saved:
            continue
        value = saved[key]
        token = value.get("content") if isinstance(value, dict) else value
        if not (token is None or isinstance(token, str)) or (token is None and value):
            raise TokenizerError(f"{path} is damaged: {key} is no token, but {value!r}")
        found[role] = token or None
    return found


def parse_json(data: bytes, *, path: Path) -> dict:
    """The object in a JSON file. Raises TokenizerError that says where it is damaged."""
    try:
        saved = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as exc:
        raise TokenizerError(
            f"{path} is damaged at line {exc.lineno}, column {exc.colno}: {exc.msg}; fetch or "
            f"save it again"
        ) from exc
    except UnicodeDecodeError as exc:
        raise TokenizerError(
            f"{path} is damaged at byte {exc.start}: it is not UTF-8; fetch or save it again"
        ) from exc
    except RecursionError as exc:
        raise TokenizerError(f"{path} is damaged: it is nested too deeply") from exc
    if not isinstance(saved, dict):
        raise TokenizerError(f"{path} is no tokenizer file: it holds no JSON object")
    return saved
