"""Which model a folder holds, as a hash of its weights and tokenizer."""

import hashlib
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError
from cloche.text.files import TOKENIZER_FILE
from cloche.weights.folder import read_json_if_any
from cloche.weights.manifest import MANIFEST, file_hash

_WEIGHTS = (".safetensors", ".gguf")


def model_hash(folder: Path) -> str:
    """SHA-256 over the weight files and the tokenizer in a folder, and their names, in hexadecimal.

    What a manifest lists is not read again: opening the model verifies it. What belongs to the
    training is left out. CheckpointError where there are no weights.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and (path.suffix in _WEIGHTS or path.name == TOKENIZER_FILE)
    )
    if not any(path.suffix in _WEIGHTS for path in files):
        raise CheckpointError(f"{folder} holds no weights (*.safetensors)")
    listed: dict[str, Any] = read_json_if_any(folder / MANIFEST).get("files", {})
    found = hashlib.sha256()
    for path in files:
        known = listed.get(path.name, {}).get("sha256") or file_hash(path)
        found.update(f"{path.name} {known}\n".encode())
    return found.hexdigest()
