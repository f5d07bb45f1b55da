"""`cloche export`: what other tools open, checked, or nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cloche.cli.main import main
from cloche.run import load


def test_a_run_becomes_a_folder_that_transformers_opens(tmp_path, random_run, capsys):
    out = tmp_path / "out"
    assert main(["export", str(random_run), "--to", "hf", "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["compared_with"] == ["cloche", "transformers"]
    assert told["largest_difference"] < 1e-4
    assert told["checkpoint"] == str(random_run / "checkpoints" / "step-000001")
    assert captured.err == ""
    theirs, lm = AutoModelForCausalLM.from_pretrained(out), load(random_run)
    ids = lm.tokenizer.encode("abc mno")
    assert AutoTokenizer.from_pretrained(out)("abc mno")["input_ids"] == ids
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(lm.logits(ids), logits, rtol=1e-4, atol=1e-5)


def test_a_run_of_words_is_exported_although_some_are_unknown(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("the old hen saw a fox near the river .\n" * 40 + "one " * 9)
    sizes = {"layers": "1", "width": "32", "context": "16"}
    model = [word for name, size in sizes.items() for word in (f"--model.{name}", size)]
    run = ["--out", str(tmp_path / "run"), "--train.steps", "2", "--train.batch", "2", *model]
    given = ["train", str(tmp_path / "a.txt"), "--text.tokenizer", "words", *run]
    assert main(given) == 0
    assert main(["export", str(tmp_path / "run"), "--to", "hf", "--out", str(tmp_path / "hf")]) == 0
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_precision_and_the_difference_are_told(tmp_path, random_run, capsys):
    arguments = ["export", str(random_run), "--to", "hf", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--precision", "bfloat16", "--checkpoint", "1"]) == 0
    assert "largest difference of logits" in capsys.readouterr().out
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "hf", "--type", "F16"], "--type belongs to --to gguf"),
        (["--to", "gguf", "--precision", "float16"], "--precision belongs to --to hf"),
        (["--to", "hf", "--checkpoint", "9"], "there is no checkpoint 9"),
        (["--to", "gguf", "--type", "Q9"], "Q9"),
    ],
)
def test_options_that_do_not_go_together_are_told(tmp_path, random_run, capsys, options, message):
    out = tmp_path / "out.gguf"
    assert main(["export", str(random_run), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_what_no_class_computes_is_refused_and_leaves_nothing(tmp_path, writing_run, capsys):
    out = tmp_path / "out"
    assert main(["export", str(writing_run), "--to", "hf", "--out", str(out)]) == 2
    assert "bigram model cannot be exported" in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_an_export_that_is_ended_leaves_nothing_under_its_name(
    tmp_path, random_run, number, status
):
    """It is stopped while it checks, when all is written already."""
    code = (
        "import sys, time\n"
        "from cloche.weights import exporting\n"
        "def wait(*_, **__):\n"
        "    print('checking', flush=True)\n"
        "    time.sleep(60)\n"
        "exporting._check = wait\n"
        "from cloche.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["export", str(random_run), "--to", "hf", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"checking\n"
    time.sleep(0.1)
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == status
    process.stdout.close()
    assert not (tmp_path / "out").exists()
    left = list(tmp_path.glob(".out*"))
    assert len(left) == (number == signal.SIGKILL)
    if left:
        assert main(arguments) == 0
        assert not left[0].exists()
