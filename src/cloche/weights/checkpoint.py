"""A model as a folder on disk: whole or absent, and readable wherever Hugging Face models are.

A checkpoint is written to a temporary sibling, put on the disk, read back and only then renamed.
A process that dies leaves the earlier checkpoints as they were, and at most a leftover that
`sweep` removes. Which checkpoints a run has, and which of them stay, is at the end of this file.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.text.files import TOKENIZER_FILE
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.hf import TIED_HEAD, from_hf_config, from_hf_name, to_hf_config, to_hf_name
from cloche.weights.manifest import CARD, MANIFEST, TRAINER, verify, verify_model, write_manifest
from cloche.weights.tensors import read_tensors, refuse_pickle, write_tensors

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TRAINER_TENSORS = f"{TRAINER}/state.safetensors"
TRAINER_VALUES = f"{TRAINER}/state.json"
CHECKPOINTS = "checkpoints"
TOKENIZER_KEY = "cloche_tokenizer"
"""In config.json: the fingerprint of the tokenizer that the model was trained with."""
LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?P<kind>tmp|old)")


@dataclass(frozen=True)
class TrainerState:
    """What a training needs to go on, beside the model itself."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Optimizer state and the like under flat names; float32, float64, integers or booleans."""
    values: dict[str, Any] = field(default_factory=dict)
    """Everything that is no tensor; JSON values."""


def save_checkpoint(
    folder: Path,
    *,
    model: LanguageModel,
    config: ModelConfig,
    tokenizer: Tokenizer,
    trainer: TrainerState | None = None,
    card: str,
    special_ids: SpecialIds | None = None,
) -> None:
    """Write a whole checkpoint to `folder`, replacing what is there; equal states, equal bytes.

    The weights are stored in float32, integers as they are. `card` is the text of README.md.
    `special_ids` are those the model has learned to use; the tokenizer's when not given. Raises
    CheckpointError where the disk refuses (full, read-only): then nothing has changed.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        learned = special_ids or tokenizer.special_ids
        tokenizer.save(temporary)
        own = {TOKENIZER_KEY: tokenizer.fingerprint}
        _write_model(temporary, model=model, config=config, special_ids=learned, own=own)
        if trainer is not None:
            _write_trainer(temporary, trainer)
        (temporary / CARD).write_text(card, encoding="utf-8")
        write_manifest(temporary)
        _put_on_disk(temporary)
        _move_into_place(temporary, folder)
    except OSError as exc:
        raise CheckpointError(_save_failure(folder, exc)) from exc
    finally:  # also after Ctrl-C; what cannot be removed now, `sweep` removes later
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32
) -> tuple[LanguageModel, ModelConfig]:
    """The model of a checkpoint, or of any Hugging Face folder of a known type, on the CPU.

    A manifest, where there is one, is verified first. Raises CheckpointError.
    """
    check_tokenizer(folder)
    if (folder / MANIFEST).exists():
        verify_model(folder)
    config = from_hf_config(_read_json(folder / CONFIG))
    with torch.device("meta"):  # no memory and no random numbers for weights replaced below
        model = build_model(config)
    tensors = {from_hf_name(name): tensor for name, tensor in _read_weights(folder).items()}
    if config.tied and "embed_tokens.weight" in tensors:
        tensors[TIED_HEAD] = tensors["embed_tokens.weight"]
    _check_fit(folder, model.state_dict(), tensors)
    learned = dict(model.named_parameters(remove_duplicate=False))
    own = {
        # counts and their tables are exact or wrong: only what was learned is rounded
        name: tensors[name].to(
            dtype if name in learned and learned[name].requires_grad else wanted.dtype, copy=True
        )
        for name, wanted in model.state_dict().items()
    }
    model.load_state_dict(own, assign=True)
    if isinstance(model, Decoder):
        model.tie_weights()
    return model, config


def check_tokenizer(folder: Path) -> None:
    """Raise CheckpointError, naming both, where the tokenizer is not the one the model knows.

    Folders that cloche has not written do not say which one that is.
    """
    expected = _read_json(folder / CONFIG).get(TOKENIZER_KEY)
    path = folder / TOKENIZER_FILE
    if expected is None or not path.is_file():
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged or another model's tokenizer: its SHA-256 is {found[:12]}, this "
            f"model was trained with {expected[:12]}. Put that one back"
        )


def load_special_ids(folder: Path) -> SpecialIds:
    """The special ids that the model in this folder has learned to use, from its config.json."""
    values = _read_json(folder / CONFIG)
    eos = values.get("eos_token_id")
    return SpecialIds(
        bos=values.get("bos_token_id"),
        eos=eos[0] if isinstance(eos, list) else eos,  # some models list several
        pad=values.get("pad_token_id"),
    )


def load_trainer(folder: Path) -> TrainerState:
    """The training state of a checkpoint; CheckpointError where it has none."""
    if not (folder / TRAINER_VALUES).exists():
        raise CheckpointError(
            f"{folder} holds no training state: it can write, but not be trained on with --resume"
        )
    tensors = read_tensors(folder / TRAINER_TENSORS)
    return TrainerState(
        tensors={name: tensor.clone() for name, tensor in tensors.items()},
        values=_read_json(folder / TRAINER_VALUES),
    )


def _write_model(
    folder: Path,
    *,
    model: LanguageModel,
    config: ModelConfig,
    special_ids: SpecialIds,
    own: dict[str, Any],
) -> None:
    described = to_hf_config(config, special_ids) | own
    _write_json(folder / CONFIG, described)
    if from_hf_config(_read_json(folder / CONFIG)) != config:
        raise CheckpointError(f"{folder / CONFIG} does not describe the model just written to it")
    special = {k: v for k, v in described.items() if k.endswith("_token_id") and v is not None}
    _write_json(folder / "generation_config.json", special)
    tensors = {
        to_hf_name(name): _as_stored(tensor.detach().cpu())
        for name, tensor in model.state_dict().items()
        if not (config.tied and name == TIED_HEAD)
    }
    write_tensors(folder / WEIGHTS, tensors)


def _as_stored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _write_trainer(folder: Path, trainer: TrainerState) -> None:
    for name, tensor in trainer.tensors.items():
        if tensor.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(f"{name} is {tensor.dtype}; a training state is kept in float32")
    (folder / TRAINER).mkdir()
    write_tensors(folder / TRAINER_TENSORS, trainer.tensors)
    _write_json(folder / TRAINER_VALUES, trainer.values)


def _put_on_disk(folder: Path) -> None:
    """Have the disk hold every file and folder below, so that a power cut loses none.

    safetensors makes files that only their owner may read: all get the mode of config.json.
    """
    mode = stat.S_IMODE((folder / CONFIG).stat().st_mode)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(mode)
        _sync(path)
    _sync(folder)


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Rename; a folder that is in the way is set aside meanwhile (`sweep` would bring it back)."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    _sync(folder.parent)
    _sync(folder.parent.parent)  # which may hold a new folder of checkpoints
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _save_failure(folder: Path, exc: OSError) -> str:
    earlier = [path.name for path in _steps(folder.parent) if path != folder]
    stays = (
        f"The earlier checkpoint {earlier[-1]} is untouched."
        if earlier
        else "There is no earlier checkpoint."
    )
    return f"could not save {folder}: {exc}. {stays} Make room or choose another disk."


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, from one file or from those its index lists."""
    if (folder / WEIGHTS).exists():
        return read_tensors(folder / WEIGHTS)
    if (folder / WEIGHTS_INDEX).exists():
        places = _read_json(folder / WEIGHTS_INDEX).get("weight_map", {})
        files = sorted({Path(name).name for name in places.values()})
        return {k: v for name in files for k, v in read_tensors(folder / name).items()}
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise CheckpointError(f"{folder} holds no weights: there is no {WEIGHTS} in it")


def _check_fit(folder: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing = sorted(wanted.keys() - found.keys())
    unknown = sorted(found.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointError(
            f"the weights in {folder} are not those of the model in its {CONFIG}: "
            f"missing {missing[:3] or 'none'}, unknown {unknown[:3] or 'none'}"
        )
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise CheckpointError(
                f"{name} in {folder} has the shape {tuple(found[name].shape)}, "
                f"but {CONFIG} asks for {tuple(tensor.shape)}"
            )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{path} is damaged: {exc}") from exc
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    return values


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first, whole or not."""
    return _steps(run / CHECKPOINTS)


def newest_whole(run: Path, *, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole, training state included; None where there is none.

    `warn` is told about each newer one that is damaged.
    """
    for folder in reversed(list_checkpoints(run)):
        try:
            verify(folder)
        except CheckpointError as exc:
            warn(f"{exc}; falling back to the checkpoint before {folder.name}")
        else:
            return folder
    return None


def newer_checkpoints(run: Path, folder: Path) -> list[Path]:
    """The run's checkpoints of later steps than that of `folder`."""
    existing = list_checkpoints(run)
    return existing[existing.index(folder) + 1 :]


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it no longer counts as one; where it lies now."""
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


def point(run: Path, name: Literal["best", "latest"], checkpoint: Path) -> None:
    """Make the run's link `name` lead to `checkpoint`: at every moment to the old or the new."""
    temporary = run / f".{name}.{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(checkpoint, run), target_is_directory=True)
    temporary.replace(run / name)
    _sync(run)


def prune(run: Path, *, keep: int = 2) -> list[Path]:
    """Remove all but the newest `keep` checkpoints (2 at least); the removed ones are returned.

    Those that `best` and `latest` lead to always stay.
    """
    kept = {(run / name).resolve() for name in ("best", "latest")}
    candidates = list_checkpoints(run)[: -max(keep, 2)]
    removed = [folder for folder in candidates if folder.resolve() not in kept]
    for folder in removed:
        # Renamed first: a process that dies here leaves a leftover, not half a checkpoint.
        trash = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        folder.rename(trash)
        shutil.rmtree(trash)
    return removed


def sweep(run: Path) -> list[Path]:
    """Remove what dead processes left in a run and its checkpoints; the names are returned.

    A checkpoint that was set aside while its successor never arrived is put back. Called by the
    process that owns the run, and not while it saves.
    """
    swept = []
    for parent in (run, run / CHECKPOINTS):
        for path in sorted(parent.iterdir()) if parent.is_dir() else []:
            leftover = LEFTOVER.fullmatch(path.name)
            if leftover is None or _is_other_process(int(leftover["pid"])):
                continue
            _remove_or_put_back(path, leftover)
            swept.append(path)
    return swept


def _remove_or_put_back(path: Path, leftover: re.Match[str]) -> None:
    original = path.with_name(leftover["name"])
    if leftover["kind"] == "old" and not original.exists():
        path.rename(original)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_other_process(pid: int) -> bool:
    """Whether a living process other than this one has this number."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _steps(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    numbered = [
        (int(match[1]), path)
        for path in parent.iterdir()
        if (match := re.fullmatch(r"step-(\d+)", path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered)]
