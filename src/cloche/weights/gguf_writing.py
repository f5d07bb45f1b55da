"""A model as a GGUF file for llama.cpp and Ollama: whole and checked, or absent."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError, SettingError
from cloche.model.build import LanguageModel
from cloche.model.config import ModelConfig
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.checking import ExportCheck
from cloche.weights.durable import remove, sweep_beside, sync, temporary_beside
from cloche.weights.gguf_architecture import Expressed, express
from cloche.weights.gguf_checking import check_gguf
from cloche.weights.gguf_file import write_gguf
from cloche.weights.gguf_quantizing import QUANTIZED_TYPES, find_quantizer, quantize_file
from cloche.weights.gguf_tensors import STORED_TYPES, StoredType
from cloche.weights.gguf_vocabulary import vocabulary_keys
from cloche.weights.ollama import modelfile

SUFFIX = ".gguf"
TYPES = (*STORED_TYPES, *QUANTIZED_TYPES)
"""What `--type` may be."""
_MISREAD_NAMES = ("phi-3", "phi3", "modern-bert")
"""llama.cpp changes the special tokens of a model whose name holds one of these."""


def export_gguf(
    out: Path,
    *,
    model: LanguageModel,
    config: ModelConfig,
    tokenizer: Tokenizer,
    special_ids: SpecialIds,
    stop_ids: Sequence[int] = (),
    begins_with_bos: bool = False,
    chat_template: str | None = None,
    kind: str = "F16",
    name: str | None = None,
    description: str | None = None,
) -> ExportCheck:
    """Write a model in float32 to `out`, a new `.gguf` file, and a Modelfile beside it.

    `kind` is one of TYPES; norms, biases, routers and positions stay F32. What was written is read
    back and held against the model, by llama.cpp too where `xllamacpp` is installed; it takes its
    name only then, and an export that fails or is interrupted leaves nothing. `name` and
    `description` go into the file.

    Raises CheckpointError where llama.cpp has no such model or tokenizer, with the reasons, where
    the check fails, and where the disk refuses; SettingError for an unknown type.
    """
    beside = out.with_suffix(".Modelfile")
    write = _writer(kind)
    _refuse_target(out, beside)
    expressed = express(model, config)
    keys = _general_keys(name or out.stem, description) | vocabulary_keys(
        tokenizer,
        rows=config.vocab_size,
        special_ids=special_ids,
        stop_ids=stop_ids,
        begins_with_bos=begins_with_bos,
        chat_template=chat_template,
    )
    stops = [tokenizer.token_text(number) for number in stop_ids]
    text = modelfile(out.name, chat_template=chat_template, stops=stops, context=config.context)
    was_training = model.training
    places = (out, _unquantized(out), beside)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for place in places:
            sweep_beside(place)
        write(out, expressed, keys)
        check = check_gguf(
            temporary_beside(out), model=model.eval(), tokenizer=tokenizer, kind=kind
        )
        _write_text(temporary_beside(beside), text)
        _put_in_place(out, beside)
    except OSError as exc:
        raise CheckpointError(
            f"could not write {out}: {exc}. Nothing was left there: make room, or name another "
            "place with --out"
        ) from exc
    finally:
        model.train(was_training)
        for place in places:
            remove(temporary_beside(place))
    return check


def _writer(kind: str) -> Callable[[Path, Expressed, dict[str, Any]], None]:
    """What writes a file of that type beside its place; an error where nothing here does."""
    for stored in STORED_TYPES:
        if kind == stored:
            return partial(_write, kind=stored)
    if kind not in QUANTIZED_TYPES:
        raise SettingError(f"{kind!r} is no type of GGUF export; use one of {', '.join(TYPES)}")
    return partial(_write_quantized, kind=kind, quantizer=find_quantizer(kind))


def _write(out: Path, expressed: Expressed, keys: dict[str, Any], *, kind: StoredType) -> None:
    write_gguf(temporary_beside(out), expressed, kind=kind, keys=keys)


def _write_quantized(
    out: Path, expressed: Expressed, keys: dict[str, Any], *, kind: str, quantizer: Path
) -> None:
    source, target = temporary_beside(_unquantized(out)), temporary_beside(out)
    write_gguf(source, expressed, kind="F32", keys=keys)
    quantize_file(quantizer, source, target, kind=kind)
    remove(source)
    sync(target)


def _unquantized(out: Path) -> Path:
    """What a file is called that a smaller one is made from; it never lies there for long."""
    return out.with_name(f"{out.name}.f32")


def _refuse_target(out: Path, beside: Path) -> None:
    if out.suffix != SUFFIX:
        raise CheckpointError(f"{out} is no place for a GGUF file: let its name end in {SUFFIX}")
    for path in (out, beside):
        if path.exists() or path.is_symlink():
            raise CheckpointError(f"{path} exists already: remove it, or choose another name")


def _general_keys(name: str, description: str | None) -> dict[str, Any]:
    keys = {"general.type": "model"}
    if not any(misread in name.lower() for misread in _MISREAD_NAMES):
        keys["general.name"] = name
    return keys | ({"general.description": description} if description else {})


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    sync(path)


def _put_in_place(out: Path, beside: Path) -> None:
    """Give both files their names; neither keeps it without the other."""
    temporary_beside(beside).replace(beside)
    try:
        temporary_beside(out).replace(out)
    except BaseException:
        remove(beside)
        raise
    sync(out.parent)
