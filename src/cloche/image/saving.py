"""Pictures as PNG files, whole or absent, with what made them written inside."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloche.errors import SettingError

ENDING = ".png"
LONGEST_STEM = 60
LONGEST_STEM_BYTES = 200
"""File names may have 255 bytes; a temporary name is a little longer than the picture's."""


def files_for(out: Path, count: int) -> tuple[Path, ...]:
    """The files of `count` pictures: `out` itself, or numbered, sea-1.png and so on.

    Raises SettingError where they could not be written.
    """
    if out.suffix.lower() != ENDING:
        raise SettingError(
            f"out writes {ENDING} files, which hold how they were made, and {out} is none: take "
            f"{out.with_suffix(ENDING).name if out.name else 'a name'}"
        )
    if not out.parent.is_dir():
        raise SettingError(f"out {out}: there is no folder {out.parent}; make it first")
    if not os.access(out.parent, os.W_OK):
        raise SettingError(f"out {out}: the folder {out.parent} may not be written to")
    files = (out,) if count == 1 else tuple(numbered(out, number + 1) for number in range(count))
    for path in files:
        if path.is_dir():
            raise SettingError(f"out {path} is a folder; name a file")
    return files


def numbered(out: Path, number: int) -> Path:
    """`sea-2.png` of `sea.png`."""
    return out.with_name(f"{out.stem}-{number}{out.suffix}")


def name_from(prompt: str) -> str:
    """A file's name made of a prompt's words: `a-sea-at-dusk.png`."""
    kept = "".join(each if each.isalnum() else " " for each in prompt)
    stem = "-".join(kept.lower().split())[:LONGEST_STEM]
    while len(stem.encode("utf-8")) > LONGEST_STEM_BYTES:
        stem = stem[:-1]
    return f"{stem.strip('-') or 'picture'}{ENDING}"


def free_name(folder: Path, prompt: str, *, count: int) -> Path:
    """A name made of the prompt under which (and under whose numbers) there are no files yet."""
    first = folder / name_from(prompt)
    number, chosen = 1, first
    while any(path.exists() for path in files_for(chosen, count)):
        number += 1
        chosen = first.with_name(f"{first.stem}_{number}{ENDING}")
    return chosen


def save_picture(image: Any, path: Path, *, notes: Mapping[str, str]) -> None:
    """Write a picture whole or not at all, `notes` as text chunks of any script.

    Raises SettingError where the disk refuses.
    """
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for name, text in notes.items():
        chunks.add_itxt(name, text)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        try:
            with temporary.open("wb") as file:
                image.save(file, format="PNG", pnginfo=chunks)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise SettingError(f"{path} cannot be written: {exc.strerror or exc}") from exc
