"""The model in any folder: whole, or an adapter that is merged into the base it was learned over.

The base may be an adapter's folder itself, with a base of its own, and so on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from cloche.errors import BaseModelError, CheckpointError
from cloche.model.build import LanguageModel
from cloche.model.config import ModelConfig
from cloche.model.lora import AdapterSet, merge_lora
from cloche.weights.adapters import (
    Adapter,
    apply_adapter,
    check_base,
    is_adapter,
    load_adapter,
)
from cloche.weights.checkpoint import load_model
from cloche.weights.folder import CONFIG
from cloche.weights.identity import model_hash
from cloche.weights.opening import folders_to_try, open_first_whole

MOST_BASES = 16
"""Adapters over one another; more are surely a circle."""


def load_any_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    broken: bool = False,
    warn: Callable[[str], None],
) -> tuple[LanguageModel, ModelConfig]:
    """The model in a folder on the CPU, whether its weights lie there or beside those of a base.

    Raises CheckpointError where the base of an adapter is not where it was, or is another one.
    Whole models of weights that are NaN or infinite are opened if `broken`, and `warn` is told.
    """
    adapters: list[Adapter] = []
    while is_adapter(folder):
        adapters.append(load_adapter(folder))
        if len(adapters) > MOST_BASES:
            raise CheckpointError(f"{folder} is an adapter over itself")
        folder = base_folder(adapters[-1])
    if not adapters:
        return load_model(folder, dtype=dtype, broken=warn if broken else None)
    model, config = load_model(folder)
    for adapter in reversed(adapters):
        apply_adapter(model, adapter, base_hash=model_hash(folder), warn=warn)
        merge_lora(model)
        folder = adapter.source
    return model.requires_grad_(True).to(dtype), config


def open_adapters(
    model: LanguageModel,
    folder: Path,
    named: Mapping[str, str | Path],
    *,
    warn: Callable[[str], None],
) -> tuple[AdapterSet, dict[str, Path]]:
    """Adapters over the model that was opened from `folder`, none active, and the folder of each.

    Each is a folder, or a run, whose best checkpoint is taken; the next older whole one, told to
    `warn`, where that is damaged. Raises CheckpointError where one does not fit, and SettingError
    for names that cannot be used.
    """
    base_hash = model_hash(folder)
    adapters = AdapterSet(model)
    found = {}
    for name, place in named.items():
        folders = folders_to_try(Path(place), "best", warn=warn)
        adapter = open_first_whole(folders, load_adapter, warn=warn)
        adapters.add(name, check_base(adapter, model, base_hash=base_hash, warn=warn))
        found[name] = adapter.source
    return adapters, found


def base_folder(adapter: Adapter) -> Path:
    """The folder of an adapter's base; BaseModelError where it is not there."""
    path = Path(adapter.base)
    if adapter.base and not path.is_dir() and not path.is_absolute():
        path = adapter.source / path
    if not adapter.base or not path.is_dir():
        named = f"{adapter.base}, which is no folder here" if adapter.base else "not named"
        raise BaseModelError(
            f"{adapter.source} holds an adapter, and its base is {named}: put the base back, or "
            f"open it by name and the adapter with it: --adapter {adapter.source}"
        )
    return path


def tokenizer_folder(folder: Path) -> Path:
    """The folder with the tokenizer of the model in a folder: an adapter's own, or its base's."""
    while is_adapter(folder) and not (folder / "tokenizer.json").is_file():
        folder = base_folder(load_adapter(folder))
    return folder


def whole_folder(folder: Path) -> Path:
    """The folder with the whole model under an adapter, or under several; the folder itself."""
    while is_adapter(folder):
        folder = base_folder(load_adapter(folder))
    return folder


def described_folder(folder: Path) -> Path:
    """The folder whose config.json describes the model in a folder: its own, or its base's."""
    return folder if (folder / CONFIG).is_file() else whole_folder(folder)
