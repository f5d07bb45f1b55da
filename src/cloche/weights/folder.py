"""The files of a model folder, as Hugging Face names them, and their JSON."""

import json
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
GENERATION_CONFIG = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object; equal values give equal bytes."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; CheckpointError where it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is damaged: {exc}") from exc
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    return values


def read_json_if_any(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one where there is no such file."""
    return read_json(path) if path.exists() else {}
