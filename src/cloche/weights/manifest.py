"""The manifest of a checkpoint: each file's size and SHA-256, to tell whole from damaged."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError

MANIFEST = "manifest.json"
CARD = "README.md"
TRAINER = "trainer"


def write_manifest(folder: Path) -> None:
    """List every file below `folder` in its manifest.json."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_hash(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    text = json.dumps({"format": 1, "files": files}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def verify(folder: Path) -> None:
    """CheckpointError naming the first file of a checkpoint that is missing or damaged.

    The card (README.md) is for people, who may edit it: it is listed, not checked.
    """
    for name, listed in _listed_files(folder).items():
        if name != CARD:
            _verify_file(folder, name, listed)


def verify_model(folder: Path) -> None:
    """As `verify`, but for what the model needs: the training state is left out."""
    for name, listed in _listed_files(folder).items():
        if name != CARD and not name.startswith(f"{TRAINER}/"):
            _verify_file(folder, name, listed)


def _listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    try:
        return dict(sorted(json.loads(path.read_text(encoding="utf-8"))["files"].items()))
    except FileNotFoundError as exc:
        raise CheckpointError(f"{folder} is no whole checkpoint: it has no {MANIFEST}") from exc
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CheckpointError(f"{path} is damaged: {exc}") from exc


def _verify_file(folder: Path, name: str, listed: dict[str, Any]) -> None:
    path = folder / name
    try:
        size = path.stat().st_size
        if size != listed["bytes"]:
            raise CheckpointError(
                f"{path} is damaged: it holds {size} bytes instead of {listed['bytes']}"
            )
        if file_hash(path) != listed["sha256"]:
            raise CheckpointError(f"{path} is damaged: its contents changed since it was saved")
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc}") from exc


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
