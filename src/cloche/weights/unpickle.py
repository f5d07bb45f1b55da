"""A foreign pickle's tensors as safetensors: runs as a process of its own, see `pickles`.

torch's `weights_only` loader builds tensors and plain values and calls nothing else. Should it have
a flaw, it is still another process that has no more to do than this.
"""

import json
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

NESTED = ("model", "state_dict", "model_state_dict", "module")
"""Where a training's file keeps the state dict."""
MOST_METADATA = 1_000_000
SEVERAL = 4
"""A file may name one tensor more than once, but it does not hold this many times its size."""
BUILDS = re.compile(r"GLOBAL ([\w.]+)")
"""How torch names what a pickle asks for beyond tensors: `posix.system`."""
REFUSED = 3


class RefusedError(Exception):
    """The file cannot be used; says why."""


def main(arguments: Sequence[str]) -> int:
    """Convert FILE... into the folder FOLDER; 0, or REFUSED with the reason on standard error."""
    *sources, folder = map(Path, arguments)
    for number, source in enumerate(sources):
        try:
            convert(source, folder / file_name(number))
        except (RefusedError, OSError, MemoryError) as exc:
            reason = str(exc) or type(exc).__name__
            print(f"{source} cannot be used: {reason}", file=sys.stderr)
            return REFUSED
    return 0


def file_name(number: int) -> str:
    """What the file made from the source of that number is called."""
    return f"{number:05}.safetensors"


def convert(source: Path, target: Path) -> None:
    """Write the state dict in `source` to `target`. Raises RefusedError."""
    tensors, beside = find_state_dict(load(source))
    check_sizes(tensors, limit=SEVERAL * source.stat().st_size)
    metadata = json.dumps(plain(beside))
    if len(metadata) > MOST_METADATA:
        metadata = "{}"
    save_file(independent(tensors), target, metadata={"format": "pt", "beside": metadata})


def load(path: Path) -> Any:
    """What the file holds, tensors on the CPU, and mapped where the format allows it."""
    try:
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None
        )
    except pickle.UnpicklingError as exc:
        raise RefusedError(refusal(str(exc))) from exc
    except OSError:
        raise
    except Exception as exc:  # the loader of a hostile file may raise anything
        raise RefusedError(
            f"it is damaged, or no PyTorch file ({type(exc).__name__}: {exc})"
        ) from exc


def refusal(said: str) -> str:
    """Why a file is refused, from what torch says of it.

    Torch's own words are left out: they advise to load the file without any protection.
    """
    more = "more than tensors and plain values, which could run code"
    found = BUILDS.search(said)
    what = (
        f"it is damaged, or no PyTorch file, or holds {more}. Fetch it again; if"
        if found is None
        else f"it holds {found[1]:.100}, {more}. If"
    )
    return f"{what} it is yours, save its state dict alone: torch.save(model.state_dict(), PATH)"


def find_state_dict(loaded: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and what lies beside the state dict in a training's file."""
    if is_state_dict(loaded):
        return dict(loaded), {}
    if isinstance(loaded, Mapping):
        for key in NESTED:
            if is_state_dict(loaded.get(key)):
                return dict(loaded[key]), {k: v for k, v in loaded.items() if k != key}
        found = ", ".join(str(key) for key in list(loaded)[:10])
        raise RefusedError(f"it holds no state dict: its keys are {found:.300}")
    raise RefusedError(f"it holds no state dict, but a {type(loaded).__name__}")


def is_state_dict(value: Any) -> bool:
    """Whether it is tensors by name, and at least one."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(each, Tensor) for name, each in value.items())
    )


def check_sizes(tensors: Mapping[str, Tensor], *, limit: int) -> None:
    """Refuse tensors that are no plain tables, or that claim to be larger than their file."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise RefusedError(f"{name} is no plain tensor (sparse, quantized or complex)")
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > limit:
        raise RefusedError(
            "its tensors claim to be several times larger than the file: it is damaged"
        )


def independent(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without shared memory, which safetensors refuses."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        shared = place in seen or not tensor.is_contiguous()
        seen.add(place)
        found[name] = tensor.detach().contiguous().clone() if shared else tensor.detach()
    return found


def plain(value: Any) -> Any:
    """Numbers, texts, lists and objects of them; None in place of anything else."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
