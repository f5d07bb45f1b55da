"""Several processes learn what one does: the same samples, the same weights, nothing lost."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cloche.cli.main import main
from cloche.training import optim
from cloche.training.events import Event, Listener, StepDone
from cloche.training.start import train

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
    "eval-batches": 2,
    "save-every": 25,
    "sample-tokens": 4,
    "trackers": "none",
}
WAYS = {
    "ddp": ["--train.optimizer", "muon", "--train.accumulate", "4", "--train.checkpointing", "on"],
    "fsdp": ["--train.optimizer", "adamw", "--train.parallel", "fsdp"],
    "tensor": ["--train.optimizer", "muon", "--train.tensor-parallel", "2"],
}
AVERAGED = ["--train.optimizer", "adamw", "--train.average", "0.9"]
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


def start_processes(count: int, *words: str, **more: str) -> list[subprocess.Popen]:
    """So many processes, started without a launcher; `more` goes into their environment."""
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": count}
    return [
        subprocess.Popen(
            [sys.executable, SCRIPT, *words],
            env=environment(RANK=rank, **place, **more),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def what_they_say(started: list[subprocess.Popen], *, status: int = 0) -> list[str]:
    """What each says on standard error, when all have ended with this status."""
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [status] * len(said), "\n".join(said)
    return said


def step_losses(run: Path) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


def layer_figures(run: Path) -> dict[str, float]:
    """The last norms and update ratios by layer."""
    found: dict[str, float] = {}
    for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        found |= {name: value for name, value in row.items() if name.count("/") > 1}
    return found


def assert_same(run: Path, reference: Path, *, rtol: float) -> None:
    """The same losses and figures; weights that differ by no more than `rtol` of the largest."""
    found, expected = step_losses(run), step_losses(reference)
    assert found == pytest.approx(expected, rel=rtol)
    assert len(found) == STEPS
    figures = layer_figures(reference)
    assert {"train/grad_norm/layers.1", "train/update_ratio/layers.1"} <= figures.keys()
    assert layer_figures(run) == pytest.approx(figures, rel=100 * rtol)
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
    """The runs of one process, `muon`, `adamw` and `averaged`, in this folder."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        exact = partial(optim.Muon, newton_schulz_dtype=torch.float32)
        patch.setattr(optim, "Muon", exact)
        for name in ("muon", "adamw"):
            assert main(training(text, folder / name, "--train.optimizer", name)) == 0
    assert main(training(text, folder / "averaged", *AVERAGED)) == 0
    return folder


@pytest.fixture(scope="module")
def together(text, tmp_path_factory) -> Path:
    """The runs of two processes, by way of sharing, in this folder."""
    folder = tmp_path_factory.mktemp("together")
    words: list[str] = []
    for way, options in WAYS.items():
        words += ["--then", *training(text, folder / way, *options)]
    said = what_they_say(start_processes(2, *words[1:]))
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
    adamw = training(text, run, *AVERAGED)
    fsdp = [*adamw, "--train.parallel", "fsdp"]
    # the second is asked to stop, and all do, after the same step
    two = start_processes(2, *fsdp, SIGNAL_AT=f"15:{int(signal.SIGTERM)}")
    said = what_they_say(two, status=128 + signal.SIGTERM)
    assert "Stopped at step 15, all saved." in said[0]

    one = train(out=run, resume=True, listeners=[interrupt_at(30)])
    assert (one.step, one.finished, one.signal) == (30, False, signal.SIGINT)

    what_they_say(start_processes(3, *fsdp, "--resume"))
    assert_same(run, alone / "averaged", rtol=1e-5)


def interrupt_at(step: int) -> Listener:
    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return listen


def test_a_killed_process_is_started_again_and_the_run_ends_equal(text, together, tmp_path):
    run = tmp_path / "run"
    launcher = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", SCRIPT]
    command = [*launcher, *training(text, run, *WAYS["ddp"])]
    process = subprocess.run(
        command,
        env=environment(SIGNAL_AT=f"27:{int(signal.SIGKILL)}"),
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    said = process.stderr
    assert process.returncode == 0, said
    assert "from step 25" in said
    ends = [folder / "latest" / "model.safetensors" for folder in (run, together / "ddp")]
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
