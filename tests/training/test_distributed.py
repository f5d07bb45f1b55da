"""Several processes learn what one does: the same samples, the same weights, nothing lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = str(Path(__file__).with_name("exact_muon.py"))
COMMAND = [sys.executable, "-m", "cloche"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
STEPS = 50
TEXT = "".join(f"{number} green bottles hang on wall {number * 7 % 13}.\n" for number in range(400))
SIZES = {"layers": 2, "width": 32, "heads": 4, "context": 16}
SETTINGS = {
    "steps": STEPS,
    "batch": 8,
    "precision": "float32",
    "eval-every": 25,
    "save-every": 25,
    "sample-tokens": 4,
    "trackers": "none",
}
WAYS = {
    "ddp": ["--train.optimizer", "muon", "--train.accumulate", "4", "--train.checkpointing", "on"],
    "fsdp": ["--train.optimizer", "adamw", "--train.parallel", "fsdp"],
    "tensor": ["--train.optimizer", "muon", "--train.tensor-parallel", "2"],
}
CLOSE = {"ddp": 1e-4, "fsdp": 1e-5, "tensor": 1e-4}


def training(text: Path, run: Path, *more: str) -> list[str]:
    words = ["train", str(text), "--out", str(run), "--text.tokenizer", "characters"]
    for name, value in SIZES.items():
        words += [f"--model.{name}", str(value)]
    for name, value in SETTINGS.items():
        words += [f"--train.{name}", str(value)]
    return [*words, *more]


def environment(**more: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "RANK"}
    return kept | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in more.items()}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def run_processes(count: int, *words: str, timeout: float = 120) -> list[str]:
    """What each of so many processes, started without a launcher, says on standard error."""
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": count}
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, *words],
            env=environment(RANK=rank, **place),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=timeout)[1] for process in started]
    assert [process.returncode for process in started] == [0] * count, "\n".join(said)
    return said


def run_alone(*words: str) -> None:
    subprocess.run(
        [sys.executable, SCRIPT, *words], env=environment(), check=True, capture_output=True
    )


def step_losses(run: Path) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


def steps_done(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("train/loss") if path.exists() else 0


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    while steps_done(run) < step:
        assert process.poll() is None, "it ended before"
        time.sleep(0.002)


def assert_same(run: Path, reference: Path, *, rtol: float) -> None:
    """The same losses, and weights that differ by no more than `rtol` of the largest."""
    found, expected = step_losses(run), step_losses(reference)
    assert found == pytest.approx(expected, rel=rtol)
    assert len(found) == STEPS
    weights, whole = (
        load_file(folder / "latest" / "model.safetensors") for folder in (run, reference)
    )
    assert weights.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(
            weights[name], tensor, rtol=0.0, atol=rtol * float(tensor.abs().max()), msg=name
        )


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory) -> Path:
    """The runs of one process, `muon` and `adamw`, in this folder."""
    folder = tmp_path_factory.mktemp("alone")
    muon, adamw = (
        training(text, folder / name, "--train.optimizer", name) for name in ("muon", "adamw")
    )
    run_alone(*muon, "--then", *adamw)
    return folder


@pytest.fixture(scope="module")
def together(text, tmp_path_factory) -> Path:
    """The runs of two processes, by way of sharing, in this folder."""
    folder = tmp_path_factory.mktemp("together")
    words: list[str] = []
    for way, options in WAYS.items():
        words += ["--then", *training(text, folder / way, *options)]
    said = run_processes(2, *words[1:])
    (folder / "said-by-second").write_text(said[1])
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_equal_one(way, alone, together):
    reference = alone / WAYS[way][1]
    assert_same(together / way, reference, rtol=CLOSE[way])


def test_only_the_first_process_tells(together):
    assert (together / "said-by-second").read_text() == ""


def test_a_sharded_checkpoint_holds_no_pickle_and_each_process_wrote_its_part(together):
    folder = together / "fsdp" / "latest"
    names = sorted(path.name for path in (folder / "trainer" / "optimizer").iterdir())
    assert [name[:11] for name in names] == ["shard-00001", "shard-00002"]
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {".safetensors", ".json", ".md", ".jinja"}


def test_two_then_one_then_three_processes_see_the_same_samples(text, alone, tmp_path):
    run = tmp_path / "run"
    adamw = ["--train.optimizer", "adamw"]
    fsdp = [*adamw, "--train.parallel", "fsdp"]
    command = [*COMMAND, *training(text, run, *fsdp), "--nproc", "2"]
    begun = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for_step(run, 5, begun)
    begun.send_signal(signal.SIGTERM)
    said = begun.communicate(timeout=60)[1]
    assert begun.returncode == 128 + signal.SIGTERM, said
    stopped_at = steps_done(run)
    assert f"Stopped at step {stopped_at}, all saved." in said
    assert said.count("Stopped at") == 1

    again = [*COMMAND, *training(text, run, *adamw), "--resume"]
    single = subprocess.Popen(again, env=environment(), stderr=subprocess.DEVNULL)
    wait_for_step(run, stopped_at + 5, single)
    single.send_signal(signal.SIGINT)
    assert single.wait(timeout=60) == 128 + signal.SIGINT

    run_processes(3, *training(text, run, *fsdp), "--resume")
    assert_same(run, alone / "adamw", rtol=1e-5)


def test_a_killed_process_is_started_again_and_the_run_ends_equal(text, together, tmp_path):
    run = tmp_path / "run"
    launcher = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", SCRIPT]
    command = [*launcher, *training(text, run, *WAYS["fsdp"])]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for_step(run, 27, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not tell the children of a process")
    os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
    said = process.communicate(timeout=90)[1]
    assert process.returncode == 0, said
    assert "from step 25" in said
    ends = [folder / "latest" / "model.safetensors" for folder in (run, together / "fsdp")]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def test_a_mistake_is_told_once_and_the_status_is_2(text, tmp_path):
    command = [*COMMAND, *training(text, tmp_path / "run", "--model.heads", "2")]
    done = subprocess.run(
        [*command, "--nproc", "2", "--train.tensor-parallel", "4"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("does not divide the number of processes, 2") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
