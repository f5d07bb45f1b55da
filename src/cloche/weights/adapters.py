"""Adapters as folders on disk, as PEFT writes and reads them.

`adapter_config.json` and `adapter_model.safetensors` are PEFT's, which opens them over the base in
Hugging Face's format; `cloche_adapter.json` beside them says which base that was, and holds what
PEFT would warn of in its own file.

Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloche.errors import BaseModelError, CheckpointError, WrongKindError
from cloche.model.build import build_network
from cloche.model.config import ModelConfig
from cloche.model.lora import (
    LoraWeights,
    insert_lora,
    linear_layers,
    lora_weights,
    misfits,
    split_trained,
)
from cloche.model.lora_config import ALL_LINEAR, LoraConfig
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.adapter_config import from_peft_config, to_peft_config
from cloche.weights.adapter_names import listed_problems, own_tensors, stored_tensors
from cloche.weights.checkpoint import TOKENIZER_KEY, TrainerState, write_tokenizer, write_trainer
from cloche.weights.durable import move_into_place, put_on_disk, temporary_beside
from cloche.weights.folder import ADAPTER_CONFIG, CONFIG, read_json, read_json_if_any, write_json
from cloche.weights.hf import from_hf_config
from cloche.weights.layouts.layout import HEAD
from cloche.weights.layouts.values import Values
from cloche.weights.manifest import CARD, MANIFEST, verify_model, write_manifest
from cloche.weights.prompting import BEGINS_KEY, write_prompting
from cloche.weights.reading import listed
from cloche.weights.tensors import read_tensors, write_tensors

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"
ADAPTER_ORIGIN = "cloche_adapter.json"
BASE_HASH, TARGETS = "base_sha256", "targets"
SHOWN = 12
"""Characters of a hash that messages show."""
EMBEDDING = "embed_tokens.weight"


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter as it was read, by our names."""

    weights: LoraWeights
    source: Path
    """The folder, for messages."""
    base: str
    """Where its base lay or what it was called; empty where the adapter does not say."""
    base_hash: str | None
    """What the base's hash was; None for an adapter that cloche has not written."""

    @property
    def config(self) -> LoraConfig:
        """What the adapter is made of."""
        return self.weights.config

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All trained tensors, by their names in a model that has the adapter."""
        return self.weights.tensors | self.weights.replaced


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def save_adapter(
    folder: Path,
    model: nn.Module,
    config: LoraConfig,
    *,
    base: str | Path,
    base_hash: str | None,
    card: str = "",
) -> None:
    """Write a model's adapter to a folder of its own, whole or not at all.

    What else of the model is trained, such as its embedding, is written whole, as PEFT's
    `modules_to_save` are. `base` is where the base lies or what it is called, `base_hash` stands
    for its weights, `card` is the text of README.md (of few words when not given). Raises
    CheckpointError where the disk refuses: then nothing has changed.
    """
    described = getattr(model, "config", None)
    if not isinstance(described, ModelConfig):
        raise ValueError(f"a {type(model).__name__} does not say what model it is")
    weights = lora_weights(model, config)
    named = str(base)

    def write(temporary: Path) -> None:
        _write_adapter(temporary, weights, described, base=named, base_hash=base_hash)
        (temporary / CARD).write_text(card or _short_card(named), encoding="utf-8")

    _write_whole(folder, write)


def save_adapter_checkpoint(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: LoraConfig,
    *,
    base: Path,
    base_hash: str,
    tokenizer: Tokenizer,
    trainer: TrainerState | None = None,
    card: str,
    special_ids: SpecialIds | None = None,
    stop_ids: Sequence[int] = (),
    begins_with_bos: bool = False,
    chat_template: str | None = None,
    described: Path | None = None,
) -> None:
    """Write an adapter as a whole checkpoint: with tokenizer, prompting and training state.

    `tensors` are the trained ones by their names in the model, `base` is the folder of the base;
    its config.json lies in the checkpoint, too, or that of the folder `described` where the base
    is itself an adapter without one. All else as in `checkpoint.save_checkpoint`.
    """
    values = read_json((described or base) / CONFIG)
    model = from_hf_config(values)
    learned = special_ids or tokenizer.special_ids
    ids = {"bos_token_id": learned.bos, "eos_token_id": learned.eos, "pad_token_id": learned.pad}
    weights = split_trained(tensors, config)

    def write(temporary: Path) -> None:
        begins_with = learned.bos if begins_with_bos else None
        own = write_tokenizer(temporary, tokenizer, begins_with=begins_with)
        stale = {TOKENIZER_KEY, BEGINS_KEY}
        kept = {key: value for key, value in values.items() if key not in stale}
        write_json(temporary / CONFIG, kept | ids | own)
        write_prompting(
            temporary, special_ids=learned, stop_ids=stop_ids, chat_template=chat_template
        )
        named = str(base.absolute())
        _write_adapter(temporary, weights, model, base=named, base_hash=base_hash)
        if trainer is not None:
            write_trainer(temporary, trainer)
        (temporary / CARD).write_text(card, encoding="utf-8")

    _write_whole(folder, write)


def load_adapter(folder: Path) -> Adapter:
    """The adapter in a folder of ours or of PEFT's; its tensors in float32, on the CPU.

    A manifest, where there is one, is verified first. Raises CheckpointError for what is damaged,
    and for adapters of kinds that cloche does not compute, with all that it does not know.
    """
    if not is_adapter(folder) and (folder / CONFIG).exists():
        raise WrongKindError(
            f"{folder} holds no adapter but a whole model: open it by itself, or name a run of "
            "cloche tune --lora"
        )
    if not is_adapter(folder):
        raise CheckpointError(f"{folder} holds no adapter: there is no {ADAPTER_CONFIG} in it")
    if (folder / MANIFEST).exists():
        verify_model(folder)
    if not (folder / ADAPTER_WEIGHTS).exists() and (folder / ADAPTER_PICKLE).exists():
        raise CheckpointError(
            f"{folder / ADAPTER_PICKLE} may be a Python pickle, which can run any code when "
            f"opened: refused. Save the adapter as {ADAPTER_WEIGHTS}, which PEFT does by default"
        )
    values = read_json(folder / ADAPTER_CONFIG)
    source = folder / ADAPTER_WEIGHTS
    tensors, replaced = own_tensors(read_tensors(source), source=source)
    config = from_peft_config(Values(values, name=str(folder / ADAPTER_CONFIG)), tensors)
    origin = Values(read_json_if_any(folder / ADAPTER_ORIGIN), name=str(folder / ADAPTER_ORIGIN))
    weights = LoraWeights(_with_targets(config, origin), _usable(tensors, source), replaced)
    _usable(replaced, source)
    return Adapter(
        weights,
        folder,
        base=str(values.get("base_model_name_or_path") or ""),
        base_hash=origin.text(BASE_HASH, "") or None,
    )


def check_base(
    adapter: Adapter,
    model: nn.Module,
    *,
    base_hash: str | None,
    warn: Callable[[str], None],
) -> LoraWeights:
    """The adapter's weights, if the model is the base that they were learned over.

    Where both hashes are known they must be equal. Where one is not, names and shapes must fit,
    and `warn` is told that more cannot be known. Raises CheckpointError.
    """
    if adapter.base_hash and base_hash and adapter.base_hash != base_hash:
        named = f" ({adapter.base})" if adapter.base else ""
        raise BaseModelError(
            f"the adapter {adapter.source} was learned over another model: its base{named} has "
            f"the hash {adapter.base_hash[:SHOWN]}, this one {base_hash[:SHOWN]}. Open it over "
            "its own base"
        )
    weights = _tied(adapter, model)
    problems = misfits(model, weights)
    if problems:
        raise CheckpointError(
            f"the adapter {adapter.source} does not fit this model: {listed_problems(problems)}"
        )
    if not (adapter.base_hash and base_hash):
        warn(
            f"the adapter {adapter.source} does not say by a hash which model it was learned "
            f"over{f' ({adapter.base})' if adapter.base else ''}: names and shapes fit this one, "
            "and more cannot be known"
        )
    return weights


def apply_adapter(
    model: nn.Module,
    adapter: Adapter,
    *,
    base_hash: str | None,
    warn: Callable[[str], None],
) -> list[str]:
    """Put an adapter into its base, ready to be learned on; the names of its layers.

    `merge_lora` makes a plain model of it. Raises CheckpointError as `check_base` does.
    """
    return insert_lora(model, check_base(adapter, model, base_hash=base_hash, warn=warn))


def _write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a temporary sibling, which then becomes `folder`."""
    temporary = temporary_beside(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        write_manifest(temporary)
        put_on_disk(temporary, mode_of=temporary / ADAPTER_CONFIG)
        move_into_place(temporary, folder)
    except OSError as exc:
        raise CheckpointError(
            f"could not save the adapter {folder}: {exc}. What was saved before is untouched. Make "
            "room or choose another disk"
        ) from exc
    finally:  # also after Ctrl-C
        shutil.rmtree(temporary, ignore_errors=True)


def _write_adapter(
    folder: Path,
    weights: LoraWeights,
    described: ModelConfig,
    *,
    base: str,
    base_hash: str | None,
) -> None:
    """The three files of an adapter; equal adapters, equal bytes."""
    replaced = dict(weights.replaced)
    if described.tied and EMBEDDING in replaced:
        replaced[HEAD] = replaced[EMBEDDING]  # PEFT keeps a copy of each and ties none
    kept = LoraWeights(weights.config, weights.tensors, replaced)
    with torch.device("meta"):
        linear = list(linear_layers(build_network(described)))
    write_json(folder / ADAPTER_CONFIG, to_peft_config(kept, described, linear=linear, base=base))
    stored = stored_tensors(kept, described)
    write_tensors(
        folder / ADAPTER_WEIGHTS, {name: tensor.float().clone() for name, tensor in stored.items()}
    )
    targets = weights.config.targets
    origin = {
        "format": 1,
        BASE_HASH: base_hash,
        TARGETS: targets if isinstance(targets, str) else list(targets),
    }
    write_json(folder / ADAPTER_ORIGIN, origin)


def _with_targets(config: LoraConfig, origin: Values) -> LoraConfig:
    """The same with the targets as they were asked for, where that is known."""
    given: Any = origin.raw(TARGETS)
    if given is None:
        return config
    if given == ALL_LINEAR:
        return replace(config, targets=ALL_LINEAR)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise CheckpointError(f"{origin.name} is damaged: {TARGETS} must be a list of names")
    return replace(config, targets=tuple(given))


def _usable(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The tensors, all of them numbers; CheckpointError otherwise."""
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            f"{source} holds numbers that are none (NaN or infinite): in {listed(broken)}. Its "
            "training went wrong, or the file is damaged; take another"
        )
    return tensors


def _tied(adapter: Adapter, model: nn.Module) -> LoraWeights:
    """The weights without the head's where that is the embedding, in adapter and base."""
    weights = adapter.weights
    replaced = dict(weights.replaced)
    if not getattr(getattr(model, "config", None), "tied", False) or HEAD not in replaced:
        return weights
    head = replaced.pop(HEAD)
    if not torch.equal(replaced.setdefault(EMBEDDING, head), head):
        raise CheckpointError(
            f"the adapter {adapter.source} has an embedding and a head that differ, which are one "
            "in this model: open it over a base in which they are two"
        )
    return LoraWeights(weights.config, weights.tensors, replaced)


def _short_card(base: str | Path) -> str:
    return (
        f"---\nlibrary_name: peft\n---\n# An adapter\n\nLearned over `{base}`, which it needs. "
        "Written by cloche in PEFT's format.\n"
    )
