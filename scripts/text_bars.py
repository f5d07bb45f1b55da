"""The long measurements of text and tokens; `bars.py` runs them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cloche.bench.tokenizing import make_text

CLOCHE = [sys.executable, "-m", "cloche"]
MEMORY_LIMIT_BYTES = 1 << 30


def prepare_kills(folder: Path, *, count: int = 10, size: int = 60_000_000) -> bool:
    """kill -9 of a whole preparation at random moments; then it ends in the same bytes."""
    text = make_text(folder / "stories.txt", size=size)
    options = [str(text), "--text.tokenizer", "bpe", "--text.vocab-size", "4096", "--workers", "2"]
    whole, killed = folder / "whole", folder / "killed"
    began = time.monotonic()
    _prepare(*options, "--out", str(whole))
    seconds = time.monotonic() - began
    generator = random.Random(os.environ.get("CLOCHE_BARS_SEED", "0"))
    done, moments = 0, []
    while done < count:
        process = subprocess.Popen(
            [*CLOCHE, "data", "prepare", *options, "--out", str(killed)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + generator.uniform(0.3, 0.9 * seconds)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            _kill_tree(process.pid)
            process.wait()
            done += 1
            moments.append(_state(killed))
        else:  # it finished before its moment: begin anew for the rest of the kills
            if process.returncode or _contents(killed) != _contents(whole):
                print(f"prepare-kills: status {process.returncode}, or other bytes")
                return False
            subprocess.run(["rm", "-rf", str(killed)], check=True)
    _prepare(*options, "--out", str(killed))
    same = _contents(killed) == _contents(whole)
    print(
        f"prepare-kills: {count} kill -9 of all its processes ({'; '.join(moments)}); shards "
        f"{'equal byte for byte' if same else 'DIFFER'}"
    )
    return same


def prepare_memory(folder: Path, *, size: int = 2_000_000_000) -> bool:
    """Resident memory of a preparation of 2 GB, all processes together, and of a single line."""
    part = make_text(folder / "part.txt", size=size // 10)
    text, line = folder / "stories.txt", folder / "line.txt"
    with text.open("wb") as file, line.open("wb") as single:
        content = part.read_bytes()
        for number in range(10):
            file.write(content)
            if number < 5:
                single.write(content.replace(b"\n", b" "))
    part.unlink()
    met = True
    for path, options in (
        (text, ["--text.tokenizer", "gpt2"]),
        (line, ["--text.tokenizer", "gpt2"]),
        (text, []),
    ):
        peak, seconds = _peak_memory([str(path), *options, "--out", str(folder / "tokens")])
        print(
            f"prepare-memory: {path.name}, {path.stat().st_size / 1e9:.2f} GB, "
            f"{' '.join(options) or 'no option'}: at most {peak / 1e6:.0f} MB resident in all "
            f"processes together (limit {MEMORY_LIMIT_BYTES / 1e6:.0f}), {seconds:.0f} s"
        )
        met = met and peak < MEMORY_LIMIT_BYTES
        subprocess.run(["rm", "-rf", str(folder / "tokens")], check=True)
    return met


def _prepare(*arguments: str) -> dict:
    command = [*CLOCHE, "data", "prepare", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _peak_memory(arguments: list[str]) -> tuple[int, float]:
    """Highest sum of resident bytes of all its processes, looked at 20 times a second."""
    began = time.monotonic()
    process = subprocess.Popen([*CLOCHE, "data", "prepare", *arguments], stdout=subprocess.DEVNULL)
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, sum(map(_resident, [process.pid, *_children(process.pid)])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    ended.set()
    watcher.join()
    if status:
        raise SystemExit(f"cloche data prepare {' '.join(arguments)} ended with {status}")
    return peak, time.monotonic() - began


def _children(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            yield child
            yield from _children(child)


def _resident(pid: int) -> int:
    """Resident bytes that are the process's own or shared with others."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _kill_tree(pid: int) -> None:
    for child in [*_children(pid), pid]:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _state(folder: Path) -> str:
    if not (folder / "spec.json").exists():
        return "before the plan was whole"
    return f"{len(list((folder / 'tasks').glob('*/[0-9]*')))} tasks done"


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("tasks", "tokenizer")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }
