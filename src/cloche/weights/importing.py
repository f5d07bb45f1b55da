"""A foreign model folder opened as a whole, and any foreign model saved as a checkpoint of ours."""

from dataclasses import replace
from pathlib import Path

import torch

from cloche.errors import CheckpointError, TokenizerError
from cloche.model.build import LanguageModel, build_model, parameter_count
from cloche.model.config import Family, ModelConfig
from cloche.model.decoder import Decoder
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.checkpoint import TOKENIZER_KEY, check_tokenizer, load_model, save_checkpoint
from cloche.weights.durable import sweep_beside
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.imported import Imported
from cloche.weights.prompting import (
    load_begins_with_bos,
    load_chat_template,
    load_special_ids,
    load_stop_ids,
)
from cloche.weights.reading import Weights, find_weights

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
GPT2_VOCABULARIES = (50257, 50304)
"""GPT-2's, and the same with rows added until it divides by 64."""


def import_folder(folder: Path, *, tokenizer: str | None = None) -> Imported:
    """The model of a Hugging Face folder, with its tokenizer, stops and chat template.

    `tokenizer` names another than the one in the folder, as `text.names.open_tokenizer` takes it.
    Raises CheckpointError or TokenizerError.
    """
    model, _ = load_model(folder)
    return describe_folder(folder, model, find_weights(folder), tokenizer=tokenizer)


def describe_folder(
    folder: Path, model: LanguageModel, weights: Weights, *, tokenizer: str | None
) -> Imported:
    """The same for a model that was read already, from weights that may lie elsewhere."""
    values = read_json(folder / CONFIG)
    opened = _tokenizer_of(folder, named=tokenizer)
    check_vocabulary(opened, model.config.vocab_size, source=str(folder))
    special = load_special_ids(folder)
    if TOKENIZER_KEY not in values:  # else what config.json does not name was never learned
        special = _completed(special, opened.special_ids)
    special = replace(special, unk=opened.special_ids.unk)
    stops = load_stop_ids(folder) or (() if special.eos is None else (special.eos,))
    return Imported(
        model=model,
        config=model.config,
        tokenizer=opened,
        special_ids=special,
        stop_ids=stops,
        begins_with_bos=load_begins_with_bos(folder),
        chat_template=load_chat_template(folder),
        origin=f"Hugging Face folder {folder.resolve().name} "
        f"({values.get('model_type')}, {dtype_names(weights)})",
    )


def dtype_names(weights: Weights) -> str:
    """The kinds of numbers that are stored, as torch calls them: `bfloat16, float32`."""
    return ", ".join(DTYPES.get(dtype, dtype) for dtype in weights.dtypes())


def open_lone_tokenizer(named: str | None, *, vocab_size: int, source: str) -> Tokenizer:
    """The tokenizer for weights that come without one: the one named, or GPT-2's where it fits.

    Raises CheckpointError where none is named and the vocabulary is not GPT-2's.
    """
    if named is None and vocab_size not in GPT2_VOCABULARIES:
        raise CheckpointError(
            f"{source} has a vocabulary of {vocab_size} and brings no tokenizer: name one with "
            "--tokenizer (gpt2, the path of a tokenizer.json, of a run, ...)"
        )
    opened = open_tokenizer(named or "gpt2")
    check_vocabulary(opened, vocab_size, source=source)
    return opened


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, *, source: str) -> None:
    """CheckpointError where the tokenizer has ids that the model has no row for."""
    if tokenizer.vocab_size > vocab_size:
        raise CheckpointError(
            f"{source} does not fit together: its tokenizer has {tokenizer.vocab_size} tokens, "
            f"its model's embedding {vocab_size}. Name the tokenizer it was trained with, by "
            "--tokenizer"
        )


def as_family(imported: Imported, family: Family) -> Imported:
    """The same model in another family that computes the same: GPT-2 as `gpt`.

    Raises CheckpointError where the family is another model.
    """
    config = imported.config
    if family == config.family:
        return imported
    if (config.family, family) != ("gpt2", "gpt"):
        raise CheckpointError(
            f"a {config.family} model cannot become a {family}: only gpt2 can become gpt, which "
            "computes the same. Leave --family out"
        )
    changed = replace(config, family=family)
    return replace(imported, model=_rebuilt(imported.model, changed), config=changed)


def save_imported(imported: Imported, out: Path, *, card: str) -> None:
    """Write a checkpoint folder, whole or absent. CheckpointError where `out` exists already."""
    refuse_existing(out)
    sweep_beside(out)
    save_checkpoint(
        out,
        model=imported.model,
        config=imported.config,
        tokenizer=imported.tokenizer,
        card=card,
        special_ids=imported.special_ids,
        stop_ids=imported.stop_ids,
        begins_with_bos=imported.begins_with_bos,
        chat_template=imported.chat_template,
    )


def refuse_existing(out: Path) -> None:
    """CheckpointError where something of this name exists: nothing is ever written over."""
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists already: name another with --out")


def import_card(imported: Imported) -> str:
    """The README.md of an imported model: where it came from, and what it is."""
    config = imported.config
    rows = {
        "imported from": imported.origin,
        "family": config.family,
        "parameters": f"{parameter_count(imported.model):,}",
        "layers, width, heads": f"{config.layers}, {config.width}, {config.heads}",
        "context": f"{config.context:,} tokens",
        "vocabulary": f"{imported.tokenizer.vocab_size:,} ({imported.tokenizer.kind})",
        "chat template": "yes" if imported.chat_template else "none",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\npipeline_tag: text-generation\ntags: [cloche]\n---\n"
        "# A language model, imported with cloche\n\n"
        "cloche did not train it: what it learned from, and how it may be used, is said where it "
        f"came from.\n\n| | |\n| --- | --- |\n{table}\n"
    )


def _tokenizer_of(folder: Path, *, named: str | None) -> Tokenizer:
    if named is not None:
        return open_tokenizer(named)
    check_tokenizer(folder)
    try:
        return open_tokenizer(str(folder))
    except TokenizerError as exc:
        raise TokenizerError(f"{exc}. Another one can be named with --tokenizer") from exc


def _completed(special: SpecialIds, known: SpecialIds) -> SpecialIds:
    """The roles that the model names, and the tokenizer's for those it leaves open."""
    return SpecialIds(
        bos=known.bos if special.bos is None else special.bos,
        eos=known.eos if special.eos is None else special.eos,
        pad=known.pad if special.pad is None else special.pad,
    )


def _rebuilt(model: LanguageModel, config: ModelConfig) -> LanguageModel:
    """The same weights in a model of another description."""
    with torch.device("meta"):
        rebuilt = build_model(config)
    rebuilt.load_state_dict(model.state_dict(), assign=True)
    if isinstance(rebuilt, Decoder):
        rebuilt.tie_weights()
    return rebuilt
