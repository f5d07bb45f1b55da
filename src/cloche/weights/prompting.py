"""How the model in a folder is spoken to: its special tokens, its stops, its chat template."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError
from cloche.text.files import CONFIG_FILE, TOKENIZER_FILE
from cloche.text.tokenizer import SpecialIds
from cloche.weights.folder import (
    CHAT_TEMPLATE,
    CONFIG,
    GENERATION_CONFIG,
    read_json,
    read_json_if_any,
    write_json,
)

BEGINS_KEY = "cloche_begins_with_bos"
"""In config.json: whether prompts begin with the beginning-of-text token."""
ADD_BOS = "add_bos_token"
DEFAULT_TEMPLATE = "default"
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")


def load_special_ids(folder: Path) -> SpecialIds:
    """The special ids that the model in this folder has learned to use, from its config.json."""
    path = folder / CONFIG
    values = read_json(path)
    first = {
        role: next(_ids_under(f"{role}_token_id", values, path), None)
        for role in ("bos", "eos", "pad")  # some models list several for one role
    }
    return SpecialIds(**first)


def load_stop_ids(folder: Path) -> tuple[int, ...]:
    """Every token that ends an answer of the model in this folder, none twice."""
    places = (folder / GENERATION_CONFIG, folder / CONFIG)
    found = [
        token
        for path in places
        for token in _ids_under("eos_token_id", read_json_if_any(path), path)
    ]
    return tuple(dict.fromkeys(found))


def load_begins_with_bos(folder: Path) -> bool:
    """Whether prompts of the model in this folder begin with its beginning-of-text token.

    A folder that cloche has not written says so in tokenizer_config.json, or in the post-processor
    of its tokenizer.json, as Llama 3 does.
    """
    own = read_json_if_any(folder / CONFIG).get(BEGINS_KEY)
    if isinstance(own, bool):
        return own
    bos = load_special_ids(folder).bos
    beside = read_json_if_any(folder / CONFIG_FILE)
    told = beside.get(ADD_BOS)
    if bos is None or isinstance(told, bool):
        return bos is not None and bool(told)
    if not (folder / TOKENIZER_FILE).exists():  # SentencePiece: Llama's class begins with bos
        return beside.get("tokenizer_class", LLAMA_CLASSES[0]) in LLAMA_CLASSES
    return bos in _put_first_by_tokenizer(folder)


def load_chat_template(folder: Path) -> str | None:
    """The chat template (Jinja) of the model in this folder; None where it has none.

    Of several that tokenizer_config.json names, the one named default.
    """
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as exc:
            raise CheckpointError(f"{path} is damaged: {exc}") from exc
    path = folder / CONFIG_FILE
    template = read_json_if_any(path).get("chat_template")
    if isinstance(template, list):
        named = {
            each.get("name"): each.get("template") for each in template if isinstance(each, dict)
        }
        template = named.get(DEFAULT_TEMPLATE)
    if not (template is None or isinstance(template, str)):
        raise CheckpointError(f"{path} is damaged: its chat_template is no text")
    return template or None


def write_prompting(
    folder: Path,
    *,
    special_ids: SpecialIds,
    stop_ids: Sequence[int],
    begins_with_bos: bool,
    chat_template: str | None,
) -> None:
    """Write generation_config.json, and beside the tokenizer what else other tools look for."""
    ids: dict[str, Any] = {
        "bos_token_id": special_ids.bos,
        "eos_token_id": special_ids.eos,
        "pad_token_id": special_ids.pad,
    }
    if stop_ids:
        ids["eos_token_id"] = stop_ids[0] if len(stop_ids) == 1 else list(stop_ids)
    write_json(folder / GENERATION_CONFIG, {k: v for k, v in ids.items() if v is not None})
    if begins_with_bos or _put_first_by_tokenizer(folder):  # what tokenizer.json says is overruled
        path = folder / CONFIG_FILE
        write_json(path, read_json(path) | {ADD_BOS: begins_with_bos})
    if chat_template is not None:
        path = folder / CHAT_TEMPLATE
        path.write_text(chat_template, encoding="utf-8", newline="")


def _ids_under(key: str, values: dict[str, Any], path: Path) -> Iterator[int]:
    """The ids that a key names: none, one, or a list of them."""
    named = values.get(key)
    for token in named if isinstance(named, list) else [named]:
        if token is None:
            continue
        if not isinstance(token, int) or isinstance(token, bool):
            raise CheckpointError(
                f"{path} is damaged: {key} is {json.dumps(named)}, which is no id"
            )
        if token >= 0:  # -1 stands for none in some files
            yield token


def _put_first_by_tokenizer(folder: Path) -> set[int]:
    """The ids that the tokenizer.json in a folder sets before a text."""
    return _ids_put_first(read_json_if_any(folder / TOKENIZER_FILE).get("post_processor"))


def _ids_put_first(processor: Any) -> set[int]:
    """The ids that a tokenizer.json's post-processor sets before a text."""
    if not isinstance(processor, dict):
        return set()
    if processor.get("type") == "Sequence":
        parts = processor.get("processors")
        return set().union(*map(_ids_put_first, parts if isinstance(parts, list) else []))
    steps = processor.get("single")
    if processor.get("type") != "TemplateProcessing" or not isinstance(steps, list) or not steps:
        return set()
    first = steps[0].get("SpecialToken") if isinstance(steps[0], dict) else None
    known = processor.get("special_tokens")
    if not isinstance(first, dict) or not isinstance(known, dict):
        return set()
    entry = known.get(str(first.get("id")))
    ids = entry.get("ids") if isinstance(entry, dict) else None
    return {token for token in ids if isinstance(token, int)} if isinstance(ids, list) else set()
