"""Where a pipeline is: a folder, the Hugging Face cache, or the Hub it is then fetched from.

The Hub is asked once, with a time limit, before anything else; what cannot be had is told with the
command that downloads it elsewhere. Only safetensors and settings are fetched.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError, ClocheError, SettingError
from cloche.image.folder import HALF, INDEX, WEIGHTS, PipelineFolder, open_folder
from cloche.planning.wording import format_bytes

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
TIMEOUT_SECONDS = 10.0
SETTINGS = (".json", ".txt", ".model", ".jinja")
"""Endings of what configures components and tokenizers."""


@dataclass(frozen=True)
class HubFiles:
    """What of a pipeline on the Hub would be fetched."""

    revision: str
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())

    def weights(self) -> dict[str, int]:
        """Bytes of each file of weights."""
        return {path: size for path, size in self.sizes.items() if _is_weights(path)}


def find_pipeline(
    model: str,
    *,
    prefer_half: bool,
    tell: Callable[[str], None],
    check: Callable[[HubFiles], None],
) -> PipelineFolder:
    """The pipeline called `model`, on this machine when this returns.

    `check` sees what would be fetched before it is, and may refuse. Raises CheckpointError where
    it is neither here nor to be had, and SettingError for what names no pipeline.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return open_folder(path, name=model, prefer_half=prefer_half)
    if path.is_file():
        raise CheckpointError(_single_file(path))
    if not HUB_NAME.fullmatch(model) or ".." in model:
        raise SettingError(
            f"there is no folder {model}, and it is no name of the Hugging Face Hub either, which "
            "look like stabilityai/sdxl-turbo"
        )
    kept = _cached(model)
    if kept is not None:
        try:
            return open_folder(kept, name=model, prefer_half=prefer_half)
        except CheckpointError as exc:
            tell(f"{model} is in the cache, but cannot be used as it is ({exc}): asking the Hub")
    return _fetch(model, prefer_half=prefer_half, tell=tell, check=check)


def fetched_files(names: dict[str, int], *, prefer_half: bool) -> dict[str, int]:
    """Those of a repository's files that a pipeline is loaded from, with their sizes.

    Of each component the safetensors of 16 bits, where wanted and there, or else the plain ones.
    """
    found = {}
    homes: dict[str, dict[bool, list[str]]] = {}
    for path in names:
        folder, _, file = path.rpartition("/")
        if path == INDEX or (folder and folder.count("/") == 0 and file.endswith(SETTINGS)):
            found[path] = names[path]
        elif folder and (weights := WEIGHTS.fullmatch(file)):
            by_half = homes.setdefault(folder, {False: [], True: []})
            by_half[weights["half"] is not None].append(path)
    for by_half in homes.values():
        chosen = by_half[prefer_half] or by_half[not prefer_half]
        found |= {path: names[path] for path in chosen}
    return found


def download_command(model: str, *, prefer_half: bool) -> str:
    """What downloads the pipeline into a folder of its own name, on a machine with a network."""
    folder = model.rpartition("/")[2]
    included = [INDEX, "*/*.json", "*/*.txt", "*/*.model"]
    included.append(f"*/*.{HALF}*.safetensors" if prefer_half else "*/*.safetensors")
    options = [f'--include "{pattern}"' for pattern in included]
    if not prefer_half:
        options.append(f'--exclude "*.{HALF}*"')
    return f"hf download {model} {' '.join(options)} --local-dir {folder}"


def _is_weights(path: str) -> bool:
    return WEIGHTS.fullmatch(path.rpartition("/")[2]) is not None


def _single_file(path: Path) -> str:
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin", ".pkl"):
        return (
            f"{path} may be a Python pickle, which can run any code when opened: refused. Give a "
            "pipeline's folder with safetensors"
        )
    return (
        f"{path} is a file, and a pipeline of diffusers is a folder with {INDEX} in it: give that"
    )


def _cached(model: str) -> Path | None:
    """The folder of the Hugging Face cache that holds (some of) the pipeline."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, INDEX)
    return Path(found).parent if isinstance(found, str) else None


def _fetch(
    model: str,
    *,
    prefer_half: bool,
    tell: Callable[[str], None],
    check: Callable[[HubFiles], None],
) -> PipelineFolder:
    from huggingface_hub import HfApi, snapshot_download

    try:
        found = _listed(HfApi(), model, prefer_half=prefer_half)
        check(found)
        tell(f"downloading {model}: {format_bytes(found.total)}, kept for the next time")
        folder = snapshot_download(
            model,
            revision=found.revision,
            allow_patterns=sorted(found.sizes),
            etag_timeout=TIMEOUT_SECONDS,
        )
    except ClocheError:
        raise
    except Exception as exc:  # of the hub's library, its HTTP library and the disk: many kinds
        raise _unreachable(model, exc, prefer_half=prefer_half) from exc
    return open_folder(Path(folder), name=model, prefer_half=prefer_half)


def _listed(api: Any, model: str, *, prefer_half: bool) -> HubFiles:
    """What the Hub has of the pipeline, asked once."""
    info = api.model_info(model, files_metadata=True, timeout=TIMEOUT_SECONDS)
    names = {each.rfilename: each.size or 0 for each in info.siblings or []}
    if INDEX not in names:
        raise CheckpointError(
            f"{model} is on the Hub, but is no pipeline of diffusers: there is no {INDEX} in it"
        )
    sizes = fetched_files(names, prefer_half=prefer_half)
    if not any(map(_is_weights, sizes)):
        raise CheckpointError(
            f"{model} has no weights as safetensors; what is pickled is refused. Take another model"
        )
    return HubFiles(info.sha, sizes)


def _unreachable(model: str, exc: Exception, *, prefer_half: bool) -> CheckpointError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(exc, GatedRepoError):
        return CheckpointError(
            f"{model} asks for an account that has agreed to its terms: agree at "
            f"{constants.ENDPOINT}/{model}, then run hf auth login"
        )
    if isinstance(exc, RepositoryNotFoundError):
        return CheckpointError(
            f"{constants.ENDPOINT} has no model {model}, or shows it to its members only: check "
            "the name, or run hf auth login"
        )
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    folder = model.rpartition("/")[2]
    return CheckpointError(
        f"{model} is neither a folder here nor in the cache ({constants.HF_HUB_CACHE}), and cannot "
        f"be had from {constants.ENDPOINT} ({reason}).\n"
        f"On a machine with a network, run\n"
        f"  {download_command(model, prefer_half=prefer_half)}\n"
        f"copy the folder {folder} here, and give --model {folder} (or its path). Where only "
        f"that address is blocked, set HF_ENDPOINT to a mirror (such as https://hf-mirror.com)"
    )
