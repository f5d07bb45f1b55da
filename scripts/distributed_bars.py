"""The bars of many processes: the same samples on any number of them, and a host that comes back.

Run by `make bars`; alone: `python scripts/distributed_bars.py [ranks] [hosts]`. `hosts` lays out
two network namespaces as two machines, which takes Linux and root; elsewhere it is skipped.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloche.data.corpora import resolve

STEPS = 300
CLOSE = 1e-3
"""Largest difference of two losses. Rounding grows to about 4e-5 in these steps; other samples
differ by more than 1e-2."""
PORT = 29411
OPTIONS = {
    "--train.steps": STEPS,
    "--train.batch": 12,
    "--train.optimizer": "adamw",
    "--train.precision": "float32",
    "--train.eval-every": 100,
    "--train.save-every": 20,
    "--train.sample-tokens": 0,
    "--train.trackers": "none",
    "--train.compile": "off",
    "--model.layers": 4,
    "--model.width": 128,
    "--model.heads": 4,
    "--model.context": 64,
    "--model.dropout": 0,
}
HOSTS = {"cloche-a": "10.77.0.1", "cloche-b": "10.77.0.2"}


def ranks(folder: Path) -> bool:
    """Two processes, then one, then three, stopped in between: the loss curve of one alone."""
    alone = folder / "alone"
    _wait(_start(_training(alone), folder / "alone.log"), 0)
    met = True
    for way in ("ddp", "fsdp"):
        run = folder / way
        for count, until in ((2, STEPS // 3), (1, 2 * STEPS // 3), (3, None)):
            more = ["--resume"] if run.exists() else []
            more += ["--nproc", str(count), "--train.parallel", way] if count > 1 else []
            process = _start([*_training(run), *more], folder / f"{way}.log")
            if until is None:
                _wait(process, 0)
            else:
                _wait_for_step(run, until, process)
                process.send_signal(signal.SIGTERM)
                _wait(process, 128 + signal.SIGTERM)
        difference = _difference(run, alone)
        print(f"ranks, {way}: 2 -> 1 -> 3 processes, loss curve within {difference:.1e} of one's")
        met = met and difference <= CLOSE
    return met


def hosts(folder: Path) -> bool:
    """Two hosts train together; one is killed, the other goes on alone; the first comes back."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        print("hosts: skipped, network namespaces take Linux, root and iproute2")
        return True
    alone, run = folder / "alone", folder / "run"
    _wait(_start(_training(alone), folder / "alone.log"), 0)
    with _two_hosts():
        first = _start_host("cloche-a", run, folder / "a.log")
        second = _start_host("cloche-b", run, folder / "b.log")
        _wait_for_step(run, STEPS // 4, first)
        _kill_host("cloche-b")
        second.wait()
        killed_at = _steps(run)
        _wait_for(lambda: "from step" in (folder / "a.log").read_text(), first)
        _wait_for_step(run, killed_at + STEPS // 6, first)
        back = _start_host("cloche-b", run, folder / "b.log")
        _wait(first, 0)
        _wait(back, 0)
    sittings = (folder / "a.log").read_text() + (folder / "b.log").read_text()
    difference = _difference(run, alone)
    print(
        f"hosts: one of two killed at step {killed_at} and back later, "
        f"{sittings.count('from step')} resumptions, loss curve within {difference:.1e} of one "
        "process's"
    )
    return difference <= CLOSE and sittings.count("from step") >= 2


def _training(run: Path) -> list[str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cloche"
    named = os.environ.get("CLOCHE_DATA")
    data = Path(named) if named else None
    source = resolve(["shakespeare"], data_folder=data, cache_folder=cache)[0]
    words = [word for name, value in OPTIONS.items() for word in (name, str(value))]
    return [sys.executable, "-m", "cloche", "train", source, "--out", str(run), *words]


def _start(command: list[str], log: Path) -> subprocess.Popen:
    with log.open("a") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


def _start_host(name: str, run: Path, log: Path) -> subprocess.Popen:
    """torchrun on one host, as a cluster would start it: one or two hosts, restarts allowed."""
    launcher = [
        *("--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "5"),
        *("--rdzv-backend", "c10d", "--rdzv-id", "bars", "--local-addr", HOSTS[name]),
        *("--rdzv-endpoint", f"{HOSTS['cloche-a']}:{PORT}"),
        # a namespace has no name of its own, by which torchrun would know who is the meeting place
        *("--rdzv-conf", f"is_host={name == 'cloche-a'},last_call_timeout=3,join_timeout=300"),
    ]
    # torch 2.13: a host that comes back asks in vain for the address of a store kept from before
    settings = [f"GLOO_SOCKET_IFNAME={name}", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"]
    inside = ["ip", "netns", "exec", name, "env", *settings]
    python, _, _, *words = _training(run)
    torchrun = [python, "-m", "torch.distributed.run", *launcher, "-m", "cloche", *words]
    return _start([*inside, *torchrun], log)


@contextlib.contextmanager
def _two_hosts() -> Iterator[None]:
    """Two network namespaces joined by a cable, removed with all that runs in them."""
    first, second = HOSTS
    for name in HOSTS:
        _ip("netns", "add", name)
    try:
        _ip("link", "add", first, "netns", first, "type", "veth", "peer", second, "netns", second)
        for name, address in HOSTS.items():
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in HOSTS:
            _kill_host(name)
            _ip("netns", "del", name)


def _kill_host(name: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for number in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _wait(process: subprocess.Popen, status: int) -> None:
    found = process.wait()
    if found != status:
        raise SystemExit(f"{process.args} ended with {found}, not {status}")


def _wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    _wait_for(lambda: _steps(run) >= step, process)


def _wait_for(reached: Callable[[], bool], process: subprocess.Popen) -> None:
    while not reached():
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode} too soon")
        time.sleep(0.05)


def _steps(run: Path) -> int:
    return len(_losses(run))


def _losses(run: Path) -> dict[int, float]:
    """The training loss by step."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return {}
    *whole, _unfinished = path.read_text().split("\n")
    rows = map(json.loads, whole)
    return {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}


def _difference(run: Path, reference: Path) -> float:
    """The largest relative difference of two loss curves; infinite where steps are missing."""
    found, expected = _losses(run), _losses(reference)
    if found.keys() != expected.keys() or len(found) != STEPS:
        return float("inf")
    return max(abs(found[step] - loss) / loss for step, loss in expected.items())


BARS = {"ranks": ranks, "hosts": hosts}


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(BARS)
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as place:
        (missed,) = [[n for n in wanted if not BARS[n](Path(tempfile.mkdtemp(dir=place)))]]
    sys.exit(1 if missed else 0)
