"""What docs/tokens.md shows is what the command prints."""

import re
import shlex
from pathlib import Path

import pytest

from cloche.cli.main import main

DOCUMENT = Path(__file__).parents[2] / "docs" / "tokens.md"
BLOCKS = re.findall(r"```\n(\$ cloche.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in block.removeprefix("$ ").split("\n$ ")]
EXAMPLES = [command for command in COMMANDS if "tangshi" not in command]  # ten seconds of training


def test_the_document_has_examples():
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0])
def test_the_document_shows_what_is_printed(example, shared_data, monkeypatch, capsys):
    monkeypatch.setenv("CLOCHE_DATA", str(shared_data))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken_cache"))
    monkeypatch.chdir(shared_data)
    command, *shown = example.rstrip().splitlines()
    assert main(shlex.split(command)[1:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed[: len(shown)] == shown  # the document may leave out the rest
