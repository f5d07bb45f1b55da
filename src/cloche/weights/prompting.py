"""How the model in a folder is spoken to: its special tokens, its stops, its chat template."""

import json
import sys
from collections.abc import Sequence
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
ROLES = ("bos", "eos", "pad")
ADD_BOS = "add_bos_token"
DEFAULT_TEMPLATE = "default"
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")


def load_special_ids(folder: Path) -> SpecialIds:
    """The special ids that the model in this folder has learned to use, from its config.json.

    Ids beyond its vocabulary, as some files have them, can never occur and are left out.
    """
    ids = _ids_in(folder, CONFIG)
    # some models list several for one role
    return SpecialIds(**{role: next(iter(ids[role]), None) for role in ROLES})


def load_stop_ids(folder: Path) -> tuple[int, ...]:
    """Every token that ends an answer of the model in this folder, none twice."""
    return tuple(
        dict.fromkeys([*_ids_in(folder, GENERATION_CONFIG)["eos"], *_ids_in(folder, CONFIG)["eos"]])
    )


def load_begins_with_bos(folder: Path) -> bool:
    """Whether prompts of the model in this folder begin with its beginning-of-text token.

    A folder that cloche has not written says so in the post-processor of its tokenizer.json, which
    is all that transformers 5 heeds, or in tokenizer_config.json.
    """
    own = read_json_if_any(folder / CONFIG).get(BEGINS_KEY)
    if isinstance(own, bool):
        return own
    bos = load_special_ids(folder).bos
    beside = read_json_if_any(folder / CONFIG_FILE)
    told = beside.get(ADD_BOS)
    if bos is None or told is True:
        return bos is not None
    if (folder / TOKENIZER_FILE).exists():
        return bos in _ids_put_first(_post_processor(folder))
    # SentencePiece alone: Llama's class begins with bos unless told otherwise
    return told is None and beside.get("tokenizer_class", LLAMA_CLASSES[0]) in LLAMA_CLASSES


def load_chat_template(folder: Path) -> str | None:
    """The chat template (Jinja) of the model in this folder; None where it has none.

    Of several that tokenizer_config.json names, the one named default.
    """
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        try:
            return path.read_bytes().decode("utf-8")
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
    chat_template: str | None,
) -> None:
    """Write generation_config.json, and the chat template where there is one."""
    ids: dict[str, Any] = {
        "bos_token_id": special_ids.bos,
        "eos_token_id": special_ids.eos,
        "pad_token_id": special_ids.pad,
    }
    if stop_ids:
        ids["eos_token_id"] = stop_ids[0] if len(stop_ids) == 1 else list(stop_ids)
    write_json(folder / GENERATION_CONFIG, {k: v for k, v in ids.items() if v is not None})
    if chat_template is not None:
        path = folder / CHAT_TEMPLATE
        path.write_text(chat_template, encoding="utf-8", newline="")


def make_begin_with(folder: Path, *, bos: int, name: str) -> None:
    """Have other tools, too, set the token of that id and name before a text.

    Changes tokenizer.json in `folder`, unless it does so already, and tokenizer_config.json.
    """
    path = folder / CONFIG_FILE
    write_json(path, read_json(path) | {ADD_BOS: True})
    if bos not in _ids_put_first(_post_processor(folder)):
        _add_post_processor(folder, _template(bos, name))


def make_begin_plainly(folder: Path) -> None:
    """Have other tools, too, set nothing before a text; changes tokenizer.json where it does."""
    if _ids_put_first(_post_processor(folder)):
        path = folder / CONFIG_FILE
        write_json(path, read_json(path) | {ADD_BOS: False})
        _add_post_processor(folder, None)


def _ids_in(folder: Path, name: str) -> dict[str, list[int]]:
    """The ids of each role that a file names: none, one, or several."""
    path = folder / name
    values = read_json_if_any(path)
    vocab_size = read_json_if_any(folder / CONFIG).get("vocab_size")
    most = vocab_size if isinstance(vocab_size, int) else sys.maxsize
    found: dict[str, list[int]] = {}
    for role in ROLES:
        named = values.get(f"{role}_token_id")
        listed = named if isinstance(named, list) else [] if named is None else [named]
        if any(not isinstance(token, int) or isinstance(token, bool) for token in listed):
            raise CheckpointError(
                f"{path} is damaged: {role}_token_id is {json.dumps(named)}, which is no id"
            )
        found[role] = [token for token in listed if 0 <= token < most]  # -1 stands for none
    return found


def _post_processor(folder: Path) -> Any:
    """What tokenizer.json says is added to a text's tokens."""
    return read_json_if_any(folder / TOKENIZER_FILE).get("post_processor")


def _add_post_processor(folder: Path, added: dict[str, Any] | None) -> None:
    """Put `added` in place of whatever adds tokens; what only counts characters stays."""
    path = folder / TOKENIZER_FILE
    saved = read_json(path)
    now = saved.get("post_processor")
    parts = now.get("processors", [now]) if isinstance(now, dict) else []
    kept = [part for part in parts if part.get("type") == "ByteLevel"]
    processors = kept + ([] if added is None else [added])
    if len(processors) > 1:
        saved["post_processor"] = {"type": "Sequence", "processors": processors}
    else:
        saved["post_processor"] = processors[0] if processors else None
    write_json(path, saved)


def _template(bos: int, name: str) -> dict[str, Any]:
    """A post-processor that sets one token before a text, and before the second of two."""
    first, second = ({"SpecialToken": {"id": name, "type_id": n}} for n in (0, 1))
    texts = [{"Sequence": {"id": letter, "type_id": n}} for n, letter in enumerate("AB")]
    return {
        "type": "TemplateProcessing",
        "single": [first, texts[0]],
        "pair": [first, texts[0], second, texts[1]],
        "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}},
    }


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
