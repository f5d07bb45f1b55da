"""Foreign PyTorch files, which may hold code: opened only where the user said so, and elsewhere.

Another process reads them by torch's `weights_only` loader and leaves safetensors; only those are
opened here.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from cloche.errors import CheckpointError
from cloche.model.decoder import Decoder
from cloche.weights.checkpoint import fill_network, require_language_model
from cloche.weights.folder import CONFIG, WEIGHTS, WEIGHTS_INDEX, read_json
from cloche.weights.imported import Imported
from cloche.weights.importing import describe_folder, dtype_names, open_lone_tokenizer
from cloche.weights.reading import open_weights, read_into, require_enough_tensors, shard_files
from cloche.weights.state_dicts import recognise
from cloche.weights.unpickle import REFUSED, file_name

PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
_PACKAGES = Path(__file__).resolve().parents[2]
# Where this very package lies, last: nothing beside it is imported instead of anything installed.
_LAUNCH = (
    "import sys; sys.path.append(sys.argv[1]); from cloche.weights.unpickle import main; "
    "sys.exit(main(sys.argv[2:]))"
)


def import_pickled_folder(folder: Path, *, tokenizer: str | None = None) -> Imported:
    """The model of a Hugging Face folder whose weights are pickled; see `importing.import_folder`.

    Only for files whose origin the user trusts.
    """
    values = read_json(folder / CONFIG)
    if (folder / PICKLED_INDEX).exists():
        places = shard_files(folder, PICKLED_INDEX)
        files = sorted(set(places.values()))
    else:
        files = [folder / PICKLED]
    with _converted(files) as converted:
        weights = open_weights(folder, converted)
        model, _ = fill_network(values, weights)
    return describe_folder(
        folder, require_language_model(model, source=folder), weights, tokenizer=tokenizer
    )


def import_pickle(
    path: Path,
    *,
    tokenizer: str | None = None,
    heads: int | None = None,
    tell: Callable[[str], None],
) -> Imported:
    """The model in a PyTorch file of known kind, with the tokenizer named (GPT-2's if it fits).

    `heads` is used where the file does not say their number; `tell` is told what was assumed. Only
    for files whose origin the user trusts. Raises CheckpointError.
    """
    with _converted([path]) as (converted,):
        return import_state_dict(
            converted, source=path, tokenizer=tokenizer, heads=heads, tell=tell
        )


def import_state_dict(
    file: Path,
    *,
    source: Path,
    tokenizer: str | None = None,
    heads: int | None = None,
    tell: Callable[[str], None],
) -> Imported:
    """The same for a state dict that lies in a safetensors file; `source` is what it is called."""
    weights = open_weights(source, [file])
    found = recognise(weights, _beside(file), heads=heads)
    config = found.config
    if found.heads_assumed:
        tell(
            f"{source.name} does not say how many heads it has: taken are {config.heads}, "
            f"{config.head_dim} wide. If that is wrong, name the number with --heads"
        )
    opened = open_lone_tokenizer(tokenizer, vocab_size=config.vocab_size, source=str(source))
    require_enough_tensors(config, weights)
    with torch.device("meta"):
        model = Decoder(config)
    read_into(model, config, found.names, weights, dtype=torch.float32)
    model.tie_weights()
    special = opened.special_ids
    return Imported(
        model=model,
        config=config,
        tokenizer=opened,
        special_ids=special,
        stop_ids=() if special.eos is None else (special.eos,),
        begins_with_bos=False,
        chat_template=None,
        origin=f"file {source.name} ({found.kind}, {dtype_names(weights)})",
    )


def holds_only_pickles(folder: Path) -> bool:
    """Whether a folder's weights are pickled, and there are no others."""
    others = (WEIGHTS, WEIGHTS_INDEX)
    return not any((folder / name).exists() for name in others) and any(
        (folder / name).exists() for name in (PICKLED, PICKLED_INDEX)
    )


@contextmanager
def _converted(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The same tensors in safetensors files, which are gone afterwards."""
    for path in files:
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
    with tempfile.TemporaryDirectory(prefix="cloche-import-") as folder:
        # Warnings would stand before the reason that it ends with.
        launch = [sys.executable, "-P", "-W", "ignore", "-c", _LAUNCH, str(_PACKAGES)]
        command = [*launch, *map(str, files), folder]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        _raise_failure(done, ", ".join(map(str, files)))
        yield [Path(folder) / file_name(number) for number in range(len(files))]


def _raise_failure(done: subprocess.CompletedProcess[str], names: str) -> None:
    """CheckpointError where the process did not end well."""
    if done.returncode == REFUSED:
        raise CheckpointError(done.stderr.strip())
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise CheckpointError(
            f"{names:.300} cannot be used: the process that read it ended with status "
            f"{done.returncode} ({last[0]:.300}): the file is damaged, or memory too small"
        )


def _beside(file: Path) -> dict[str, Any]:
    """What lay beside the state dict, as `unpickle` stored it; nothing in other files."""
    with safe_open(file, framework="pt") as opened:
        stored = (opened.metadata() or {}).get("beside", "{}")
    try:
        values = json.loads(stored)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
