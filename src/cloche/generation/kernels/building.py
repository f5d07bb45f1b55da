"""The kernels' C++, compiled for this processor at first use and kept in the user's cache.

The library's name bears a digest of the source, the compiler and the processor, so another version
or another machine with the same home builds its own. It is written beside its place and renamed:
two programs that build at once do each other no harm.
"""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cloche.errors import ClocheError

SOURCES = Path(__file__).parent
MAIN = "forward.cpp"
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-shared", "-pthread", "-Wno-psabi")
COMPILERS = ("c++", "g++", "clang++")
_PATIENCE_SECONDS = 300


class KernelError(ClocheError):
    """The kernels cannot be had on this machine; the message says why."""


def default_folder() -> Path:
    """Where compiled kernels are kept."""
    return Path.home() / ".cache" / "cloche" / "kernels"


def load_library(folder: Path, *, tell: Callable[[str], None]) -> ctypes.CDLL:
    """The compiled kernels, built in `folder` first where they are not there yet.

    `tell` is told before the seconds that building takes. Raises KernelError.
    """
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    digest = _digest(compiler)
    path = folder / f"forward-{digest}.so"
    if not path.exists():
        if compiler is None:
            raise KernelError("there is no C++ compiler (g++ or clang++)")
        tell("compiling the kernels for this processor, once (about 10 seconds)")
        _build(compiler, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as exc:
        raise KernelError(f"{path} cannot be loaded: {exc}") from exc


def _build(compiler: str, path: Path) -> None:
    """Compile to `path`; it is there whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
            built = Path(folder) / path.name
            done = subprocess.run(
                [compiler, *FLAGS, "-o", str(built), str(SOURCES / MAIN)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
            if done.returncode:
                told = "\n".join(done.stderr.strip().splitlines()[:3])
                raise KernelError(f"{compiler} could not compile them: {told}")
            built.replace(path)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise KernelError(f"they could not be compiled into {path.parent}: {exc}") from exc


def _digest(compiler: str | None) -> str:
    """What a compiled library depends on, in 16 characters."""
    parts = [platform.machine(), _processor(), str(compiler), " ".join(FLAGS)]
    for source in sorted([*SOURCES.glob("*.hpp"), SOURCES / MAIN]):
        parts.append(source.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's model and abilities, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    found = {line.partition("\t")[0]: line for line in lines if line.startswith(wanted)}
    return "\n".join(found.values())
