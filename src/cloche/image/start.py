"""The picture that a drawing begins from: read, turned upright, and brought to size."""

import math
import warnings
from pathlib import Path
from typing import Any

from cloche.errors import SettingError
from cloche.image.options import SIDE_STEP

DEEP_MODES = ("I", "F")
"""Beginnings of the names of modes with more than 8 bits a pixel."""


def read_start(path: Path) -> Any:
    """The picture as Pillow's RGB image: its first frame, upright, on white where it is clear.

    Raises SettingError where it is missing, no picture, damaged, or unreasonably large.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.mode.startswith(DEEP_MODES):
                    raise SettingError(
                        f"init {path} has more than 8 bits a pixel ({opened.mode}): save it with 8"
                    )
                upright = ImageOps.exif_transpose(opened)
                clear = upright.convert("RGBA")
    except FileNotFoundError as exc:
        raise SettingError(f"init {path} is missing") from exc
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise SettingError(f"init {path} is too large to be opened: {exc}") from exc
    except (OSError, ValueError, SyntaxError, EOFError) as exc:  # what Pillow's readers raise
        raise SettingError(f"init {path} cannot be read as a picture: {exc}") from exc
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def start_size(
    start: tuple[int, int], *, width: int | None, height: int | None, own: tuple[int, int] | None
) -> tuple[int, int]:
    """The size to draw in: as asked; of a side not asked for, in the picture's proportion.

    When neither is, the picture's own size, but no larger in area than the model's `own` pictures.
    """
    if width and height:
        return width, height
    if width:
        return width, _rounded(start[1] * width / start[0])
    if height:
        return _rounded(start[0] * height / start[1]), height
    area = start[0] * start[1]
    shrink = 1.0 if own is None else min(1.0, math.sqrt(own[0] * own[1] / area))
    return _rounded(start[0] * shrink), _rounded(start[1] * shrink)


def fit_start(image: Any, size: tuple[int, int]) -> Any:
    """The picture in that size, cut evenly where the proportions differ."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS)


def _rounded(side: float) -> int:
    return max(SIDE_STEP, round(side / SIDE_STEP) * SIDE_STEP)
