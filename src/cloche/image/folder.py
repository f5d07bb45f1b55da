"""A pipeline's folder as diffusers writes it, checked before anything of it is loaded.

`model_index.json` names the components; each has a folder. Weights are taken from safetensors
files only: a pickle can run any code when it is opened. So can code of the folder's own; neither
is ever touched.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.tensors import StoredTensor, read_headers

INDEX = "model_index.json"
HALF = "fp16"
"""The variant that holds the weights in 16 bits."""
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?P<half>\.fp16)?(?:-(?P<part>\d{5})-of-(?P<parts>\d{5}))?"
    r"\.safetensors"
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NO_MODELS = ("Tokenizer", "TokenizerFast", "Processor", "Extractor", "Scheduler")
"""Classes of components without weights end so (or, of schedulers and fast ones, nearly so)."""
LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True)
class Component:
    """A part of a pipeline that has weights."""

    name: str
    home: Path
    plain: tuple[Path, ...]
    half: tuple[Path, ...]

    def files(self, variant: str | None) -> tuple[Path, ...]:
        """Those that are read: the variant's where there are any."""
        return (self.half or self.plain) if variant == HALF else self.plain


@dataclass(frozen=True)
class PipelineFolder:
    """A whole pipeline on this machine, and which of its files are read."""

    name: str
    """As the user called it."""
    path: Path
    kind: str
    """The pipeline's class in diffusers."""
    components: tuple[Component, ...]
    variant: str | None

    def headers(self) -> dict[str, list[StoredTensor]]:
        """The tensors of each component, as their files tell. Raises CheckpointError."""
        return {
            component.name: [
                tensor
                for path in component.files(self.variant)
                for tensor in read_headers(path).values()
            ]
            for component in self.components
        }

    def config(self, component: str) -> dict[str, Any]:
        """A component's own settings; empty where the pipeline has no such part."""
        for each in self.components:
            if each.name == component and (each.home / CONFIG).exists():
                return read_json(each.home / CONFIG)
        return {}


def open_folder(path: Path, *, name: str, prefer_half: bool) -> PipelineFolder:
    """The pipeline in a folder. Raises CheckpointError where it is none, not whole, or unsafe."""
    if not (path / INDEX).is_file():
        raise CheckpointError(_no_pipeline(path))
    index = read_json(path / INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise CheckpointError(
            f"{path / INDEX} asks for {kind!r}, code of its own: refused. Take a pipeline that is "
            "part of diffusers"
        )
    components, missing = [], []
    for part, (library, class_name) in _parts(index, path).items():
        _check_library(part, library, path)
        home = path / part if (path / part).is_dir() else path
        if class_name.removesuffix("Fast").endswith(NO_MODELS) or "Scheduler" in class_name:
            missing += [part] if home == path and not _has_files(path) else []
            continue
        component, absent = _find_weights(part, home)
        components.append(component)
        missing += absent
    if missing:
        raise CheckpointError(
            f"{path} is not whole: {', '.join(missing)} missing. Download it again, or the rest of "
            "it, with hf download"
        )
    if not components:
        raise CheckpointError(f"{path / INDEX} names no part that has weights")
    return PipelineFolder(
        name, path, kind, tuple(components), _variant(components, prefer_half=prefer_half)
    )


def _no_pipeline(path: Path) -> str:
    if (path / CONFIG).exists():
        return (
            f"{path} is a single model ({CONFIG}), and pictures need a whole pipeline ({INDEX}); "
            "a language model writes with: cloche generate"
        )
    return f"{path} is no pipeline of diffusers: there is no {INDEX} in it"


def _parts(index: dict[str, Any], path: Path) -> dict[str, tuple[str, str]]:
    """Library and class by component's name, of those that are there."""
    found = {}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2:
            continue
        library, class_name = value
        if library is None or class_name is None:
            continue
        if not (isinstance(library, str) and isinstance(class_name, str)):
            raise CheckpointError(f"{path / INDEX} is damaged: {name} is {value!r}")
        if name in (".", "..") or Path(name).name != name or "\\" in name:
            raise CheckpointError(f"{path / INDEX} leads out of its folder by {name!r}: refused")
        found[name] = (library, class_name)
    return found


def _check_library(part: str, library: str, path: Path) -> None:
    """CheckpointError for a component of code that is neither diffusers' nor transformers' own.

    Some pipelines have classes of their own inside diffusers, named by the pipeline's folder there.
    """
    if library in LIBRARIES:
        return
    spec = importlib.util.find_spec("diffusers")  # looked at, not imported
    places = (spec.submodule_search_locations or []) if spec else []
    own = library.isidentifier() and any(
        (Path(place) / "pipelines" / library / "__init__.py").is_file() for place in places
    )
    if not own:
        raise CheckpointError(
            f"{path / INDEX} takes {part} from {library!r}, code of its own: refused. Take a "
            "pipeline whose parts are of diffusers and transformers"
        )


def _has_files(path: Path) -> bool:
    """Whether parts lie in the pipeline's own folder, as a few lay them out."""
    return (path / CONFIG).is_file()


def _find_weights(part: str, home: Path) -> tuple[Component, list[str]]:
    """A component, and what of it is not there. Raises CheckpointError where all is pickled."""
    files: dict[bool, dict[Path, int]] = {False: {}, True: {}}
    for path in sorted(home.iterdir()):
        if (found := WEIGHTS.fullmatch(path.name)) and path.is_file():
            files[found["half"] is not None][path] = int(found["parts"] or 1)
    whole = {
        half: tuple(paths) if all(len(paths) == parts for parts in paths.values()) else ()
        for half, paths in files.items()
    }
    component = Component(part, home, plain=whole[False], half=whole[True])
    if component.plain or component.half:
        return component, []
    pickles = [path for path in sorted(home.iterdir()) if path.suffix.lower() in PICKLES]
    if pickles:
        raise CheckpointError(
            f"{pickles[0]} may be a Python pickle, which can run any code when opened: refused. "
            "Take the model's safetensors files"
        )
    torn = [path.name for paths in files.values() for path in paths]
    what = f"some of {part}'s files (there are only {', '.join(torn)})" if torn else part
    return component, [what]


def _variant(components: list[Component], *, prefer_half: bool) -> str | None:
    """Which files to read of all: those of 16 bits where wanted, or where there are no others."""
    wanted = prefer_half and any(component.half for component in components)
    needed = any(not component.plain for component in components)
    return HALF if wanted or needed else None
