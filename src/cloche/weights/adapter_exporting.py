"""An adapter alone, as a folder for PEFT: without the training's state, checked before it stays."""

import shutil
from pathlib import Path

from cloche.errors import CheckpointError
from cloche.weights.adapters import is_adapter, load_adapter
from cloche.weights.durable import move_into_place, put_on_disk, remove, temporary_beside
from cloche.weights.importing import refuse_existing
from cloche.weights.manifest import MANIFEST, TRAINER

_LEFT_OUT = (TRAINER, MANIFEST, "config.json", "generation_config.json")
"""The base has the latter two."""


def export_adapter(folder: Path, out: Path) -> int:
    """Write the adapter in a checkpoint to the new folder `out`; how many tensors it has.

    Tokenizer and chat template come with it. CheckpointError where the folder holds no adapter,
    and where the disk refuses: then nothing is left.
    """
    if not is_adapter(folder):
        raise CheckpointError(
            f"{folder} holds a whole model and no adapter: write it with --to hf or --to gguf"
        )
    refuse_existing(out)
    read = load_adapter(folder)
    temporary = temporary_beside(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        shutil.copytree(folder, temporary, ignore=lambda _folder, _names: set(_LEFT_OUT))
        written = load_adapter(temporary)
        if written.tensors.keys() != read.tensors.keys():
            raise CheckpointError(f"{temporary} does not hold the adapter just written to it")
        put_on_disk(temporary, mode_of=temporary / "adapter_config.json")
        move_into_place(temporary, out)
    except OSError as exc:
        raise CheckpointError(
            f"could not write {out}: {exc}. Nothing was left there: make room, or name another "
            "place with --out"
        ) from exc
    finally:
        remove(temporary)
    return len(read.tensors)
